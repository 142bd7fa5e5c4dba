"""OfflineTrainer: learning from given completions, with the same loss on every rung."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toykit._checks import at_least, finite, one_of, positive
from toykit.objectives import KTO, Reference
from toykit.objectives.offline import OfflineMethod, Read, check_batch, offline_method, row_losses, shared
from toykit.policies import check_fits, device_of
from toykit.policies.critic import make_critic
from toykit.policies.heads import ValueHeads, split_heads
from toykit.rewards import scores
from toykit.rollouts import Rollouts, Strategy, chosen, outputs, token_logps
from toykit.rollouts.examples import Examples, Pairs, moved, take
from toykit.tasks.base import Task
from toykit.training import checkpoint, loop
from toykit.training.evaluate import evaluate
from toykit.training.memory import explained
from toykit.training.processes import Processes
from toykit.training.reference import first
from toykit.training.spread import Spread, with_last

Source = Callable[[nn.Module, torch.Generator], Examples]  # makes a batch with the policy as it is


@dataclass(frozen=True)
class OfflineConfig:
    """How the data are followed.

    lr           learning rate
    optimizer    adam (AdamW without decay) or sgd
    batch        rows a step, drawn without replacement; None takes all of the data, in order
    micro_size   rows that are differentiated at once; changes memory, not results
    max_grad_norm  gradient norm above which a step is scaled down; None for no limit
    autocast     compute in bf16 (log-probabilities stay float32)
    seed         of everything random in the run
    """

    lr: float = 1e-3
    optimizer: str = "adam"
    batch: int | None = None
    micro_size: int | None = None
    max_grad_norm: float | None = None
    autocast: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        positive("lr", self.lr)
        one_of("optimizer", self.optimizer, ("adam", "sgd"))
        for name in ("batch", "micro_size"):
            if getattr(self, name) is not None:
                at_least(name, getattr(self, name), 1)
        if self.max_grad_norm is not None:
            positive("max_grad_norm", self.max_grad_norm)


class OfflineTrainer:
    """An iterator of steps on given completions; each gives its figures as a dict.

    `policy` is what is trained, in place and in evaluation mode: a policy, for the losses of a reward model a model of
    `toykit.rewards.reward_model`, for those of values a policy whose logits are Q (V is a critic beside it), for those
    of a policy and its values a `ValueHeads`. `method` is a name of `OFFLINE` or an OfflineMethod. `data` is a batch of
    the kind that the loss takes, or a `Source` that makes a new one for every step with the policy as it is (see
    `fresh`), which makes the method an on-policy one. `largest_norm` is that of the gradients of all steps so far.

    A row of the data counts by its weight; of n rows a step takes `config.batch`, each then n / batch times, which
    leaves the expected step that of all rows.
    """

    def __init__(
        self,
        policy: nn.Module,
        task: Task,
        method: str | OfflineMethod,
        data: Examples | Source,
        config: OfflineConfig | None = None,
        reference: nn.Module | None = None,
        processes: Processes | None = None,
    ) -> None:
        """`reference` defaults to the policy as it is now; it is kept where the loss needs one and the data lack it.

        Raises ValueError for an unknown method, data or a policy of another kind than its loss takes, and a task that
        does not fit.
        """
        given = offline_method(method) if isinstance(method, str) else method
        self.policy, self.task, self.method, self.loss = policy, task, given, given.loss
        self.config, self.processes = config or OfflineConfig(), processes or Processes.here()
        policy.eval()  # dropout would make another policy of the one that the reference was
        self.device = device_of(policy)
        self.source = data if callable(data) else None
        self.data = None if callable(data) else moved(data, self.device)
        if self.data is not None:
            check_batch(self.loss, self.data)
            reads: Any = getattr(policy, "body", policy)  # of a model with another head
            check_fits(reads, task.vocab, self.data.prompts.shape[1], self.data.completions.shape[-1])
        if given.loss.reads == "logp, q and v" and not isinstance(policy, ValueHeads):
            raise ValueError(
                f"policy must be a ValueHeads for {type(given.loss).__name__}, got {type(policy).__name__}"
            )
        self._check_batch_size()
        known = self.data is not None and self.data.ref_logp is not None
        needs = self.loss.needs_reference and not known
        self.reference = first(reference or policy, Reference()) if needs else None
        self.critic = make_critic(policy) if self.loss.reads == "q and v" else None
        self.models = Spread(self.processes, list(self._modules().values()))
        self.parameters = [p for m in (policy, self.critic) if m is not None for p in m.parameters() if p.requires_grad]
        make: Any = torch.optim.SGD
        if self.config.optimizer == "adam":
            make = partial(torch.optim.AdamW, weight_decay=0.0, fused=True)
        self.optimizer = make(self.parameters, self.config.lr)
        self.generator = torch.Generator(self.device).manual_seed(self.config.seed)
        self.done, self.largest_norm = 0, 0.0

    def __iter__(self) -> Iterator[dict[str, float]]:
        while True:
            yield self.step()

    def step(self) -> dict[str, float]:
        """One batch and one update; returns its figures: the weighted means over the batch.

        Raises ValueError naming the prompt where something is not finite, before anything is changed, and MemoryError
        where the step does not fit.
        """
        state, done = self.generator.get_state(), self.done
        try:
            with explained(self.device, "set micro_size to a number of rows, such as 8"):
                return self._step()
        except MemoryError:
            if self.done == done:
                self.generator.set_state(state)
            raise

    def _step(self) -> dict[str, float]:
        began = time.perf_counter()
        batch = self._with_reference(self._batch())
        whole = self._shared(batch)
        for p in self.parameters:
            p.grad = None
        sums: dict[str, float] = {}
        mine = self._mine(len(batch.prompt_ids))
        for rows, last in with_last(mine.split(self.config.micro_size or len(mine))):
            value, figures = self.models.add_gradient(partial(self._loss, take(batch, rows), whole), last)
            for name, figure in {"loss": value, **figures}.items():
                sums[name] = sums.get(name, 0.0) + float(figure)
        limit = float("inf") if self.config.max_grad_norm is None else self.config.max_grad_norm
        norm = float(checkpoint.full(nn.utils.clip_grad_norm_(self.parameters, limit)))
        if not math.isfinite(norm):
            raise ValueError(f"gradient must be finite, got a norm of {norm} in step {self.done + 1}")
        self.optimizer.step()
        self.done, self.largest_norm = self.done + 1, max(self.largest_norm, norm)
        made = {"step": self.done, **self.processes.sum(sums), "grad_norm": norm}
        return made | {"seconds": time.perf_counter() - began}

    def evaluate(self) -> dict[str, float]:
        """The rewards of the policy as it is, on the test split: see `toykit.training.evaluate`."""
        return self.models.whole(partial(evaluate, self.policy, self.task, seed=self.config.seed))

    def plain_policy(self) -> nn.Module:
        """The policy as one process alone would hold it: itself, or where it is sharded a copy on the CPU."""
        return self.models.plain()

    def run(
        self,
        steps: int,
        out: str | Path | None = None,
        save_every: int = 50,
        progress: bool = True,
        tensorboard: bool = False,
    ) -> list[dict[str, float]]:
        """Goes on until `steps` steps are done in all; see `toykit.training.loop.run` for logs and checkpoints."""
        return loop.run(self, steps, out, save_every, progress, "offline", tensorboard, processes=self.processes)

    def save(self, path: str | Path) -> None:
        """Writes all that the next step depends on but the data, so that a resumed run is the same bit for bit."""
        tensors: dict[str, Tensor] = {}
        for name, module in self._modules().items():
            tensors |= checkpoint.module_tensors(name, module)
        tensors |= checkpoint.optimizer_tensors(self.optimizer)
        tensors["generator"] = self.generator.get_state()
        meta = {"kind": "offline", "step": self.done, "largest_norm": self.largest_norm, **self._made_with()}
        checkpoint.save(path, tensors, meta | checkpoint.frozen(self.policy), self.processes)

    def load(self, path: str | Path) -> OfflineTrainer:
        """Restores what `save` wrote into a trainer that was built with the same arguments, and returns it.

        Raises ValueError where the file is truncated, foreign, or of another policy, configuration, loss or data.
        """
        tensors, meta = checkpoint.load(path, "offline")
        if differ := sorted(k for k, v in self._made_with().items() if meta.get(k) != v):
            raise ValueError(f"checkpoint {str(path)!r} was made with another setting; {', '.join(differ)} differ")
        if (frozen := checkpoint.frozen(self.policy)) and meta.get("frozen") != frozen["frozen"]:
            raise ValueError(f"checkpoint {str(path)!r} was made with another base: weights that do not train differ")
        checkpoint.load_modules(self._modules(), tensors)
        checkpoint.load_optimizer(self.optimizer, tensors)
        self.generator.set_state(tensors["generator"])
        self.done, self.largest_norm = meta["step"], meta.get("largest_norm", 0.0)
        return self

    def _made_with(self) -> dict[str, Any]:
        """What a run that goes on must have in common with the one that was stopped."""
        found = {**asdict(replace(self.config, micro_size=None)), "loss": repr(self.loss)}
        if (d := self.data) is not None:
            tokens = int((d.completions * d.mask).sum())
            found["data"] = [len(d.prompt_ids), tokens, float(d.weights.sum())]
        return found

    def _batch(self) -> Examples:
        """The step's rows, with weights that make their sum that of all rows on average."""
        if self.source is not None:
            made = moved(self.models.whole(partial(self.source, self.policy, self.generator)), self.device)
            check_batch(self.loss, made)
            return made
        assert self.data is not None
        n, size = len(self.data.prompt_ids), self.config.batch
        if size is None or size >= n:
            return self.data
        rows = torch.randperm(n, generator=self.generator, device=self.device)[:size]
        batch = take(self.data, rows)
        return replace(batch, weights=batch.weights * (n / size))

    def _with_reference(self, batch: Examples) -> Examples:
        if self.reference is None or batch.ref_logp is not None:
            return batch
        return replace(batch, ref_logp=self._whole_logp(self.reference, batch))

    def _shared(self, batch: Examples) -> Tensor | None:
        if isinstance(self.loss, KTO):
            return shared(self.loss, self._whole_logp(self.policy, batch), batch)
        return shared(self.loss, torch.zeros_like(batch.mask, dtype=torch.float64), batch)  # which reads lengths alone

    @torch.no_grad()
    def _whole_logp(self, policy: nn.Module, batch: Examples) -> Tensor:
        """A policy's log-probabilities [N, G, T] of all rows, `micro_size` at once; each process computes them all."""
        rows = torch.arange(len(batch.prompt_ids), device=self.device)
        pieces = [take(batch, r) for r in rows.split(self.config.micro_size or len(rows))]
        return torch.cat([self.models.read(partial(self._logp, policy, piece)) for piece in pieces])

    def _mine(self, n: int) -> Tensor:
        """This process's rows of a batch of n."""
        every = torch.arange(n, device=self.device)
        return every[self.processes.share.rows(n)]

    def _loss(self, batch: Examples, whole: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        read = self._read(batch)
        rows = finite("loss", row_losses(self.loss, read, batch, whole), batch.prompt_ids)
        return (batch.weights.to(rows) * rows).sum(), _figures(read, batch)

    def _read(self, batch: Examples) -> Read:
        rows = (batch.prompts, batch.prompt_mask, batch.completions, batch.mask)
        with self._cast():
            if self.loss.reads == "logp":
                return Read(logp=self._logp(self.policy, batch))
            if self.loss.reads == "score":
                return Read(scores=_wide(scores(self.policy, *rows)))
            if self.loss.reads == "logp, q and v":
                logits, q, v = split_heads(_wide(outputs(self.policy, *rows)))
                return Read(logp=chosen(logits.log_softmax(-1), batch.completions, batch.mask), q=q, v=v)
            own = None if self.critic is None else _wide(outputs(self.critic, *rows)[..., 0])
            return Read(q=_wide(outputs(self.policy, *rows)), v=own)

    def _logp(self, policy: nn.Module, batch: Examples) -> Tensor:
        with self._cast():
            return token_logps(policy, batch.prompts, batch.prompt_mask, batch.completions, batch.mask)

    def _cast(self) -> Any:
        return torch.autocast(self.device.type, torch.bfloat16) if self.config.autocast else nullcontext()

    def _check_batch_size(self) -> None:
        n = None if self.data is None else len(self.data.prompt_ids)
        size = n if self.config.batch is None or n is None else min(self.config.batch, n)
        if size is not None and size % self.processes.world:
            raise ValueError(f"batch must be a multiple of the {self.processes.world} processes, got {size}")

    def _modules(self) -> dict[str, nn.Module]:
        every = {"policy": self.policy, "reference": self.reference, "critic": self.critic}
        return {name: module for name, module in every.items() if module is not None}


def fresh(
    task: Task, strategy: Strategy, convert: Callable[[Rollouts, torch.Generator], Examples], split: str = "train"
) -> Source:
    """A source that makes rollouts of the policy as it is and `convert`s them, for each step anew.

    `drawn_pairs` makes DPO an on-policy method, `lambda rollouts, _: labelled(rollouts)` UNA. What is random must come
    from the generator that is given, so that a run that goes on is the same run.
    """
    prompts = task.prompts(split)

    def make(policy: nn.Module, generator: torch.Generator) -> Examples:
        return convert(strategy(policy, task, prompts.to(device_of(policy)), generator), generator)

    return make


def _wide(values: Tensor) -> Tensor:
    """In float32 or better, whatever the model computes in."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _figures(read: Read, batch: Examples) -> dict[str, Tensor]:
    """Of pairs how often, and by how much, the chosen one is ahead, and both log-probabilities; else the mean one."""
    with torch.no_grad():
        weights = batch.weights
        if read.logp is None:
            return {}
        total = read.logp.sum(-1)
        if not isinstance(batch, Pairs):
            return {"logp": (weights.to(total) * total[:, 0]).sum()}
        ahead = total if batch.ref_logp is None else total - batch.ref_logp.sum(-1)
        gap = ahead[:, 0] - ahead[:, 1]
        found = {"chosen_logp": total[:, 0], "rejected_logp": total[:, 1], "margin": gap, "accuracy": (gap > 0).to(gap)}
        return {name: (weights.to(value) * value).sum() for name, value in found.items()}
