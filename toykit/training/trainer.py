"""Trainer: policy, task, objective and rollouts put together, one step at a time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toykit._checks import at_least, finite, one_of, positive
from toykit.objectives import Method, MovingLogZ, PolicyGradient, Prepared, method
from toykit.policies import check_fits, device_of
from toykit.policies.critic import make_critic
from toykit.rewards import Shaping
from toykit.rollouts import Enumerated, Rollouts, Sampled, Strategy, chosen, greedy, outputs, token_logps, vocab_logps
from toykit.selection import Selection, selection
from toykit.tasks.base import Prompts, Task
from toykit.training import checkpoint, loop
from toykit.training.anchor import Anchor
from toykit.training.evaluate import evaluate
from toykit.training.natural import fisher, natural_step
from toykit.training.reference import Reference, frozen_copy

OPTIMIZERS = ("adam", "sgd", "natural")


@dataclass(frozen=True)
class TrainConfig:
    """How the objective is followed.

    lr           learning rate
    optimizer    adam (AdamW without decay), sgd, or natural (exact, with enumerated rollouts)
    prompts      prompts a step, drawn without replacement; None takes all of the split, in order
    epochs       passes over each batch of rollouts
    minibatch    prompts an optimizer step; None takes the whole batch
    micro_size   completions that are differentiated at once; changes memory, not results
    max_grad_norm  gradient norm above which a step is scaled down; None for no limit
    autocast     compute the update in bf16 (log-probabilities stay float32); completions are drawn without it
    evaluate_every  steps between evaluations on the test split, logged as eval/...; None for none
    seed         of everything random in the run
    """

    lr: float = 1e-3
    optimizer: str = "adam"
    prompts: int | None = None
    epochs: int = 1
    minibatch: int | None = None
    micro_size: int | None = None
    max_grad_norm: float | None = None
    autocast: bool = False
    evaluate_every: int | None = None
    reference: Reference = field(default_factory=Reference)
    seed: int = 0

    def __post_init__(self) -> None:
        positive("lr", self.lr)
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        for name in ("prompts", "epochs", "minibatch", "micro_size", "evaluate_every"):
            if getattr(self, name) is not None:
                at_least(name, getattr(self, name), 1)
        if self.max_grad_norm is not None:
            positive("max_grad_norm", self.max_grad_norm)


class Trainer:
    """An iterator of training steps; each gives its figures as a dict.

    `for figures in trainer` goes on for ever (break when you have seen enough), `trainer.run(steps)` adds a progress
    bar, logs and checkpoints. `policy` is trained in place, in evaluation mode. `objective` is a name of the
    catalogue, a Method or a PolicyGradient; a selection and a shaping given here stand in for the method's own.
    """

    def __init__(
        self,
        policy: nn.Module,
        task: Task,
        objective: str | Method | PolicyGradient,
        strategy: Strategy | None = None,
        config: TrainConfig | None = None,
        selection: Selection | None = None,
        shaping: Shaping | None = None,
        reference: nn.Module | None = None,
    ) -> None:
        """`reference` defaults to a copy of the policy as it is now; it is kept only where the objective needs it.

        Raises ValueError for an unknown objective, or a task that does not fit the policy or cannot be enumerated.
        """
        given = method(objective) if isinstance(objective, str) else objective
        if isinstance(given, PolicyGradient):
            given = Method(given, "given")
        self.policy, self.task, self.objective = policy, task, given.objective
        self.config = config or TrainConfig()
        self.strategy = strategy or Sampled()
        self.selection = selection or _selection(given)
        self.shaping = shaping or given.shaping
        policy.eval()  # dropout would make another policy of the one that made the completions
        self.device = device_of(policy)
        self.prompts = task.prompts("train").to(self.device)
        check_fits(policy, task.vocab, self.prompts.tokens.shape[1], task.horizon)
        if isinstance(self.strategy, Sampled) and self.strategy.group_size < 2:
            self._needs_groups()
        if self.config.optimizer == "natural" and not isinstance(self.strategy, Enumerated):
            raise ValueError("strategy must be Enumerated() for optimizer='natural'")
        if isinstance(self.strategy, Enumerated):
            self.strategy.tree_of(task, min(self.config.prompts or len(self.prompts), len(self.prompts)))
        if self.config.optimizer == "natural" and self.objective.needs_critic:
            raise ValueError(
                "objective must have no critic for optimizer='natural', whose metric is the policy's alone"
            )
        needs = self.objective.needs_reference
        self.reference = frozen_copy(reference or policy) if needs else None
        self.critic = make_critic(policy) if self.objective.needs_critic else None
        self.anchor = None
        if given.forward_kl is not None:
            self.anchor = Anchor(
                given.forward_kl, reference or policy, task, self.prompts, self.strategy, self.config.seed
            )
        self.parameters = [p for m in (policy, self.critic) if m is not None for p in m.parameters() if p.requires_grad]
        self.optimizer = _optimizer(self.config, self.parameters)
        self.generator = torch.Generator(self.device).manual_seed(self.config.seed)
        self.temperature = getattr(self.strategy, "temperature", 1.0)
        self.done = 0

    def __iter__(self) -> Iterator[dict[str, float]]:
        while True:
            yield self.step()

    def step(self) -> dict[str, float]:
        """One round: rollouts, objective, update. Returns its figures (means over the batch, under the behaviour)."""
        began = time.perf_counter()
        asked = self._prompts()
        rollouts, shaped = self.rollouts(asked)
        figures: dict[str, float] = {"step": self.done + 1}
        if rollouts is not None:
            prepared = self.objective.prepare(self._with_others(rollouts))
            figures |= _figures(prepared.rollouts) | shaped
            anchored = () if self.anchor is None else (self.anchor.batch(asked),)
            for rows in self._minibatches(len(rollouts.prompt_ids)):
                figures |= self._update(prepared if rows is None else prepared.minibatch(rows), *anchored)
        self.done += 1
        if self.reference is not None:
            self.config.reference.follow(self.reference, self.policy, self.done)
        if self.config.evaluate_every and self.done % self.config.evaluate_every == 0:
            measured = evaluate(self.policy, self.task, seed=self.config.seed)
            figures |= {f"eval/{name}": value for name, value in measured.items()}
        return figures | {"seconds": time.perf_counter() - began}

    def rollouts(self, asked: Prompts | None = None) -> tuple[Rollouts | None, dict[str, float]]:
        """The step's rollouts with shaped rewards (None where the selection leaves no prompt), and the terms' means."""
        prompts = asked = self._prompts() if asked is None else asked
        if self.selection.before is not None:
            prompts = self.selection.before(self.policy, self.task, prompts)
        if len(prompts) == 0:
            return None, {}
        made, means = self._shaped(prompts)
        if self.selection.over == "asked" and len(prompts) < len(asked):
            share = len(prompts) / len(asked)
            made = made.with_(extras={"loss_weights": torch.full_like(made.old_logp, share)})
        if self.selection.after is not None:
            made = self.selection.after(self.task, made, lambda: self._shaped(self._prompts())[0])
        return made, means

    def run(
        self,
        steps: int,
        out: str | Path | None = None,
        save_every: int = 50,
        progress: bool = True,
        tensorboard: bool = False,
    ) -> list[dict[str, float]]:
        """Goes on until `steps` steps are done in all; see `toykit.training.loop.run` for logs and checkpoints."""
        return loop.run(self, steps, out, save_every, progress, "train", tensorboard)

    def save(self, path: str | Path) -> None:
        """Writes everything that the next step depends on, so that a resumed run is the same bit for bit."""
        tensors: dict[str, Tensor] = {}
        for name, module in self._modules().items():
            tensors |= checkpoint.module_tensors(name, module)
        if self.optimizer is not None:
            tensors |= checkpoint.optimizer_tensors(self.optimizer)
        if (log_z := self._log_z()) is not None:
            tensors |= {f"log_z/{k}": v for k, v in log_z.state().items()}
        if self.anchor is not None:
            tensors |= {f"anchor/{k}": v for k, v in self.anchor.state().items()}
        tensors["generator"] = self.generator.get_state()
        checkpoint.save(path, tensors, {"kind": "train", "step": self.done, "config": asdict(self.config)})

    def load(self, path: str | Path) -> Trainer:
        """Restores what `save` wrote into a trainer that was built with the same arguments, and returns it.

        Raises ValueError where the file is truncated, foreign, or of another policy or configuration.
        """
        tensors, meta = checkpoint.load(path, "train")
        if meta["config"] != asdict(self.config):
            differ = sorted(k for k, v in asdict(self.config).items() if meta["config"].get(k) != v)
            raise ValueError(f"checkpoint {str(path)!r} was made with another config; {', '.join(differ)} differ")
        log_z = self._log_z()
        if log_z is not None and "log_z/ids" not in tensors:
            raise ValueError("checkpoint must hold log_z/ids and log_z/log_z for this objective, got neither")
        checkpoint.load_modules(self._modules(), tensors)
        if self.optimizer is not None:
            checkpoint.load_optimizer(self.optimizer, tensors)
        if log_z is not None:
            log_z.load({k: tensors[f"log_z/{k}"] for k in ("ids", "log_z")})
        if self.anchor is not None:
            self.anchor.load({k.removeprefix("anchor/"): v for k, v in tensors.items() if k.startswith("anchor/")})
        self.generator.set_state(tensors["generator"])
        self.done = meta["step"]
        return self

    def _needs_groups(self) -> None:
        advantage = self.objective.advantage
        if {getattr(advantage, "mean", ""), getattr(advantage, "std", "")} & {"group", "leave_one_out"}:
            raise ValueError("group_size must be >= 2 for an objective with group statistics, got 1")

    def _prompts(self) -> Prompts:
        n, wanted = len(self.prompts), self.config.prompts
        if wanted is None or wanted >= n:
            return self.prompts
        return self.prompts[torch.randperm(n, generator=self.generator, device=self.device)[:wanted]]

    def _shaped(self, prompts: Prompts) -> tuple[Rollouts, dict[str, float]]:
        made = self.strategy(self.policy, self.task, prompts, self.generator)
        return self.shaping(made) if self.shaping is not None else (made, {})

    def _minibatches(self, n: int) -> Iterator[Tensor | None]:
        size = self.config.minibatch
        for _ in range(self.config.epochs):
            if size is None or size >= n:
                yield None
            else:
                yield from torch.randperm(n, generator=self.generator, device=self.device).split(size)

    @torch.no_grad()
    def _with_others(self, rollouts: Rollouts) -> Rollouts:
        """Adds what the reference, the critic and greedy decoding say, in pieces of `micro_size`.

        Where numbers are coarser than float32 the policy's own log-probabilities are computed again, as in the update:
        the sampler's are rounded otherwise, and the difference would look like a policy that has moved.
        """
        if self.config.autocast or any(p.dtype.itemsize < 4 for p in self.policy.parameters()):
            rollouts = rollouts.with_(old_logp=self._in_pieces(rollouts, partial(self._logp, self.policy)))
        if self.reference is not None and rollouts.ref_logp is None:
            rollouts = rollouts.with_(ref_logp=self._in_pieces(rollouts, partial(self._logp, self.reference)))
            if self.objective.needs_vocab:
                named = {"ref_vocab_logp": self.reference, "vocab_logp": self.policy}
                extras = {k: self._in_pieces(rollouts, partial(self._vocab_logp, v)) for k, v in named.items()}
                rollouts = rollouts.with_(extras=extras)
        if self.objective.needs_greedy:
            asked = Prompts(rollouts.prompt_ids, rollouts.prompts, rollouts.prompt_mask)
            likeliest = greedy(self.policy, self.task, asked)
            if self.shaping is not None:
                likeliest, _ = self.shaping(likeliest)
            beside = likeliest.rewards.to(rollouts.rewards).expand_as(rollouts.rewards)
            rollouts = rollouts.with_(extras={"greedy_rewards": beside})
        if self.critic is not None:
            rollouts = rollouts.with_(extras={"values": self._in_pieces(rollouts, self._values)})
        return rollouts

    def _in_pieces(self, rollouts: Rollouts, fn: Any) -> Tensor:
        b, g = rollouts.rewards.shape
        size = self.config.micro_size
        if size is None or size >= b * g:
            return fn(rollouts)
        flat = rollouts.flat()
        rows = torch.arange(b * g, device=self.device).split(size)
        return torch.cat([fn(flat.take(r)) for r in rows]).flatten(0, 1).unflatten(0, (b, g))

    def _vocab_logp(self, policy: nn.Module, r: Rollouts) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.autocast):
            return vocab_logps(policy, r.prompts, r.prompt_mask, r.completions, r.mask, self.temperature)

    def _logp(self, policy: nn.Module, r: Rollouts) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.autocast):
            return token_logps(policy, r.prompts, r.prompt_mask, r.completions, r.mask, self.temperature)

    def _values(self, r: Rollouts) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.autocast):
            return outputs(self.critic, r.prompts, r.prompt_mask, r.completions, r.mask)[..., 0]  # type: ignore[arg-type]

    def _update(self, prepared: Prepared, *anchored: Prepared) -> dict[str, float]:
        """One optimizer step on a batch, and on the anchor's; returns the loss, its figures and the gradient's norm."""
        for p in self.parameters:
            p.grad = None
        natural = self.config.optimizer == "natural"
        sums: dict[str, float] = {}
        matrix, size = None, None if natural else self.config.micro_size
        for part in prepared.micro(size):
            r = part.rollouts
            vocab = self._vocab_logp(self.policy, r) if self.objective.needs_vocab else None
            logp = self._logp(self.policy, r) if vocab is None else chosen(vocab, r.completions, r.mask)
            finite("logp", logp, r.prompt_ids)
            values = None if self.critic is None else self._values(r)
            loss, figures = self.objective.loss(logp, part, vocab, values)
            if natural:
                whole = logp.sum(-1)
                matrix = fisher(whole, whole.detach().exp(), self.parameters)
            loss.backward()
            _add(sums, {"loss": loss.detach(), **figures})
        for part in (piece for batch in anchored for piece in batch.micro(size)):
            logp = finite("logp", self._logp(self.policy, part.rollouts), part.rollouts.prompt_ids)
            loss, figures = self.anchor.term.loss(logp, part)  # type: ignore[union-attr]
            loss.backward()
            _add(sums, {"loss": loss.detach(), **figures})
        limit = float("inf") if self.config.max_grad_norm is None else self.config.max_grad_norm
        norm = float(nn.utils.clip_grad_norm_(self.parameters, limit))
        if not math.isfinite(norm):
            raise ValueError(f"gradient must be finite, got a norm of {norm} in step {self.done + 1}")
        if matrix is not None:
            natural_step(self.parameters, matrix, self.config.lr)
        else:
            self.optimizer.step()  # type: ignore[union-attr]
        return {**sums, "grad_norm": norm}

    def _modules(self) -> dict[str, nn.Module]:
        every = {"policy": self.policy, "reference": self.reference, "critic": self.critic}
        return {name: module for name, module in every.items() if module is not None}

    def _log_z(self) -> MovingLogZ | None:
        return getattr(self.objective.signal, "log_z", None)


def _add(sums: dict[str, float], figures: dict[str, Tensor]) -> None:
    for name, value in figures.items():
        sums[name] = sums.get(name, 0.0) + float(value)


def _selection(given: Method) -> Selection:
    return Selection() if given.selection is None else selection(given.selection)


def _optimizer(config: TrainConfig, parameters: list[Any]) -> torch.optim.Optimizer | None:
    if config.optimizer == "natural":
        return None
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, config.lr)
    return torch.optim.AdamW(parameters, config.lr, weight_decay=0.0, fused=True)


def _figures(rollouts: Rollouts) -> dict[str, float]:
    """Means over the batch: reward, length, entropy of the completions, KL to the reference, informative groups."""
    whole = rollouts.old_logp.sum(-1)
    values = {
        "reward": rollouts.rewards,
        "length": rollouts.lengths.to(whole),
        "entropy": -whole,
    }
    if rollouts.ref_logp is not None:
        values["kl"] = whole - rollouts.ref_logp.sum(-1)
    means = torch.stack([rollouts.mean(v.to(whole)).mean() for v in values.values()])
    informative = rollouts.rewards.amax(-1) > rollouts.rewards.amin(-1)
    return dict(zip(values, means.tolist(), strict=True)) | {"informative": float(informative.double().mean())}
