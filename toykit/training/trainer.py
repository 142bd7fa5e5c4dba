"""Trainer: policy, task, objective and rollouts put together, one step at a time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toykit._checks import finite
from toykit.objectives import OLD_MEAN, Batch, Method, Moving, Objective, Prepared, Reference, method
from toykit.policies import check_fits, device_of
from toykit.policies.critic import make_critic
from toykit.rewards import LearnedReward, ProcessRewards, Shaping
from toykit.rollouts import Enumerated, Rollouts, Sampled, Strategy, check_supplied, chosen, greedy
from toykit.selection import Selection, recomposition, selection
from toykit.tasks.base import Prompts, Task
from toykit.training import checkpoint, loop, resuming, speed
from toykit.training.anchor import Anchor
from toykit.training.config import TrainConfig
from toykit.training.evaluate import evaluate
from toykit.training.figures import of_rollouts
from toykit.training.memory import explained, recomputing
from toykit.training.natural import fisher, natural_step
from toykit.training.optimizers import compiled, optimizer_of
from toykit.training.processes import Processes
from toykit.training.reading import Reader
from toykit.training.reference import Follower, first
from toykit.training.spread import Spread, portion, together, weighing, with_last


class Trainer:
    """An iterator of training steps; each gives its figures as a dict.

    `for figures in trainer` goes on for ever (break when you have seen enough), `trainer.run(steps)` adds a progress
    bar, logs and checkpoints. `policy` is trained in place, in evaluation mode. `objective` is a name of the
    catalogue, a Method or an Objective; a selection and a shaping given here stand in for the method's own.

    Several processes that were joined (`toykit.training.joined`) train one policy: each makes its share of the
    rollouts and differentiates its share of the completions, and all else is the same in each.
    """

    def __init__(
        self,
        policy: nn.Module,
        task: Task,
        objective: str | Method | Objective,
        strategy: Strategy | None = None,
        config: TrainConfig | None = None,
        selection: Selection | None = None,
        shaping: Shaping | LearnedReward | ProcessRewards | None = None,
        reference: nn.Module | None = None,
        processes: Processes | None = None,
    ) -> None:
        """`reference` defaults to the policy as it is now; it is kept only where the objective needs it.

        `processes` are those that were joined. Raises ValueError for an unknown objective, a task that does not fit
        the policy or cannot be enumerated, and what several processes cannot do; the first step does where the strategy
        does not supply the `data` that a method prescribes.
        """
        given = method(objective) if isinstance(objective, str) else objective
        if not isinstance(given, Method):
            given = Method(given, "given")
        self.policy, self.task, self.objective = policy, task, given.objective
        self.evaluated = task  # stays, whatever a curriculum asks of the task in training
        self.others: dict[str, Moving] = {}  # what else belongs in a checkpoint
        self.config = config or TrainConfig()
        self.processes = processes or Processes.here()
        self.strategy = strategy or Sampled()
        self.selection = selection or _selection(given)
        self.shaping = shaping or given.shaping
        self.data = given.data
        how = given.recomposition
        if how is not None:
            _ = given.pieces  # whose advantages a recomposition keeps; another kind of loss is refused
        self.recomposer = None if how is None else (recomposition(how) if isinstance(how, str) else how).start()
        policy.eval()  # dropout would make another policy of the one that made the completions
        self.device = device_of(policy)
        self.prompts = task.prompts("train").to(self.device)
        check_fits(policy, task.vocab, self.prompts.tokens.shape[1], task.horizon)
        if isinstance(self.strategy, Sampled) and self.strategy.group_size < 2 and self.objective.needs_group:
            raise ValueError("group_size must be >= 2 for an objective with group statistics, got 1")
        if self.config.optimizer == "natural" and not isinstance(self.strategy, Enumerated):
            raise ValueError("strategy must be Enumerated() for optimizer='natural'")
        if isinstance(self.strategy, Enumerated):
            self.strategy.tree_of(task, min(self.config.prompts or len(self.prompts), len(self.prompts)))
        if self.config.optimizer == "natural" and self.objective.needs_critic:
            raise ValueError(
                "objective must have no critic for optimizer='natural', whose metric is the policy's alone"
            )
        self._check_processes()
        needs = self.objective.needs_reference
        self.follower = Follower(self.config.reference or given.reference or Reference())
        self.reference = first(reference or policy, self.follower.how) if needs else None
        self.critic = make_critic(policy) if self.objective.needs_critic else None
        self.anchor = None
        if given.forward_kl is not None:
            self.anchor = Anchor(
                given.forward_kl, reference or policy, task, self.prompts, self.strategy, self.config.seed
            )
        self.models = Spread(self.processes, list(self.modules().values()))
        self.parameters = [p for m in (policy, self.critic) if m is not None for p in m.parameters() if p.requires_grad]
        self.optimizer = optimizer_of(self.config, self.parameters)
        self.generator = torch.Generator(self.device).manual_seed(self.config.seed)
        temperature = getattr(self.strategy, "temperature", 1.0)
        self.reader = Reader(
            self.models, self.processes, self.device, temperature, self.config.autocast, self.config.micro_size
        )
        self.done = self.updates = 0  # whole steps, and updates in the one that was begun last
        if self.config.compile:
            compiled(policy)

    def __iter__(self) -> Iterator[dict[str, float]]:
        while True:
            yield self.step()

    def step(self) -> dict[str, float]:
        """One round: rollouts, objective, update. Returns its figures (means over the batch, under the behaviour).

        Raises MemoryError where it does not fit, saying what to change; up to the first update (`updates` is 0) the
        policy and the random numbers are then what they were before.
        """
        state, self.updates = self.generator.get_state(), 0
        try:
            with explained(self.device, self.config.advice(self._least())):
                return self._step()
        except MemoryError:
            if not self.updates:
                self.generator.set_state(state)
            raise

    def _step(self) -> dict[str, float]:
        began = time.perf_counter()
        asked, seen = self._prompts(), speed.watched()
        began_at = speed.clock(self.device) if seen else 0.0
        rollouts, shaped = self.rollouts(asked)
        if seen and rollouts is not None:
            drawn_at = speed.clock(self.device)
            seen.draw(self.policy, rollouts, drawn_at - began_at, self.processes.world)
        figures: dict[str, float] = {"step": self.done + 1}
        if rollouts is not None:
            prepared = self.objective.prepare(self._with_others(rollouts))
            figures |= of_rollouts(prepared.rollouts) | shaped
            anchored = () if self.anchor is None else (self.anchor.batch(asked),)
            if self.recomposer is None:
                figures |= self._updates(prepared, self.config.epochs, *anchored)
            else:
                assert isinstance(prepared, Prepared), "as was seen to when the trainer was made"
                split = self.recomposer.split(prepared)
                figures |= self._updates(split.priority, self.config.epochs, *anchored)
                later, found = self.recomposer.later(split, self.done, self.generator)
                figures |= found
                for batch in later:
                    figures |= {f"compensation/{k}": v for k, v in self._updates(batch, 1).items()}
            if seen:
                learning = speed.clock(self.device) - drawn_at
                seen.learn(self.policy, rollouts, self.config.epochs, learning, self.processes.world)
        self.done += 1
        if self.config.evaluate_every and self.done % self.config.evaluate_every == 0:
            figures |= {f"eval/{name}": value for name, value in self.evaluate().items()}
        if self.reference is not None:
            figures |= self.follower(self.reference, self.policy, self.optimizer, self.done, figures)
        return figures | {"seconds": time.perf_counter() - began}

    def rollouts(self, asked: Prompts | None = None) -> tuple[Rollouts | None, dict[str, float]]:
        """The step's rollouts with shaped rewards (None where the selection leaves no prompt), and the terms' means."""
        chosen = self._prompts() if asked is None else asked
        return self.models.whole(partial(self._rollouts, chosen))

    def _rollouts(self, asked: Prompts) -> tuple[Rollouts | None, dict[str, float]]:
        prompts = asked
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

    def evaluate(self) -> dict[str, float]:
        """The rewards of the policy as it is, on the test split: see `toykit.training.evaluate`; all processes ask."""
        measured = partial(evaluate, self.policy, self.evaluated, seed=self.config.seed, processes=self.processes)
        return self.models.whole(measured)

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
        return loop.run(self, steps, out, save_every, progress, "train", tensorboard, processes=self.processes)

    def save(self, path: str | Path) -> None:
        """Writes everything that the next step depends on, so that a resumed run is the same bit for bit."""
        resuming.save(self, path)

    def load(self, path: str | Path) -> Trainer:
        """Restores what `save` wrote into a trainer that was built with the same arguments, and returns it.

        Raises ValueError where the file is truncated, foreign, or of another policy or configuration.
        """
        resuming.load(self, path)
        return self

    def _check_processes(self) -> None:
        n, world = self.config.prompts, self.processes.world
        if n is not None and n < len(self.prompts) and n % world:
            raise ValueError(f"prompts must be a multiple of the {world} processes, got {n}")
        if self.processes.several and self.config.optimizer == "natural":
            raise ValueError(f"optimizer must not be 'natural' in several processes, got it in {world}")
        if self.processes.several and self.processes.sharding == "fsdp" and self.config.compile:
            raise ValueError("compile must be False for sharding 'fsdp', whose layers gather their weights as they run")

    def _prompts(self) -> Prompts:
        n, wanted = len(self.prompts), self.config.prompts
        if wanted is None or wanted >= n:
            return self.prompts
        return self.prompts[torch.randperm(n, generator=self.generator, device=self.device)[:wanted]]

    def _shaped(self, prompts: Prompts) -> tuple[Rollouts, dict[str, float]]:
        make = partial(self.strategy, self.policy, self.task, prompts, self.generator)
        made = check_supplied(self.data, together(self.processes, make, len(prompts)))
        return self.shaping(made) if self.shaping is not None else (made, {})

    def _updates(self, batch: Batch, epochs: int, *anchored: Prepared) -> dict[str, float]:
        """All updates on a batch, in minibatches; returns the figures of the last."""
        figures: dict[str, float] = {}
        for rows in self._minibatches(len(batch.rollouts.prompt_ids), epochs):
            figures |= self._update(batch if rows is None else batch.minibatch(rows), *anchored)
        return figures

    def _minibatches(self, n: int, epochs: int) -> Iterator[Tensor | None]:
        size = self.config.minibatch
        for _ in range(epochs):
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
        read = self.reader
        if self.config.autocast or any(p.dtype.itemsize < 4 for p in self.policy.parameters()):
            rollouts = rollouts.with_(old_logp=read.all_of(rollouts, read.logp, self.policy))
        if self.reference is not None and rollouts.ref_logp is None:
            rollouts = rollouts.with_(ref_logp=read.all_of(rollouts, read.logp, self.reference))
            if self.objective.needs_reference_vocab:
                named = {"ref_vocab_logp": self.reference, "vocab_logp": self.policy}
                extras = {k: read.all_of(rollouts, read.vocab_logp, v) for k, v in named.items()}
                rollouts = rollouts.with_(extras=extras)
        if self.objective.needs_entropy:
            rollouts = rollouts.with_(extras={"token_entropy": read.all_of(rollouts, read.entropy, self.policy)})
        if self.objective.vocab_mean:
            rollouts = rollouts.with_(extras={OLD_MEAN: read.all_of(rollouts, read.mean_logp, self.policy)})
        if self.objective.needs_greedy:
            asked = Prompts(rollouts.prompt_ids, rollouts.prompts, rollouts.prompt_mask)
            make = partial(greedy, self.policy, self.task, asked)
            likeliest = self.models.whole(partial(together, self.processes, make, len(asked)))
            if self.shaping is not None:
                likeliest, _ = self.shaping(likeliest)
            beside = likeliest.rewards.to(rollouts.rewards).expand_as(rollouts.rewards)
            rollouts = rollouts.with_(extras={"greedy_rewards": beside})
        if self.critic is not None:
            rollouts = rollouts.with_(extras={"values": read.all_of(rollouts, read.values, self.critic)})
        return rollouts

    def _update(self, prepared: Batch, *anchored: Batch) -> dict[str, float]:
        """One optimizer step on a batch, and on the anchor's; returns the loss, its figures and the gradient's norm."""
        for p in self.parameters:
            p.grad = None
        matrix = self._fisher(prepared) if self.config.optimizer == "natural" else None
        others = (partial(self._anchor_loss, part) for batch in anchored for part in self._cut(batch))
        own = (partial(self._loss, part) for part in self._cut(prepared))
        sums: dict[str, float] = {}
        with recomputing(self.policy) if self.config.recompute else nullcontext():
            for loss, last in with_last(chain(others, own)):  # the last is of all that is trained, as DDP must have it
                value, figures = self.models.add_gradient(loss, last)
                _add(sums, {"loss": value, **figures})
        limit = float("inf") if self.config.max_grad_norm is None else self.config.max_grad_norm
        norm = float(checkpoint.full(nn.utils.clip_grad_norm_(self.parameters, limit)))
        if not math.isfinite(norm):
            raise ValueError(f"gradient must be finite, got a norm of {norm} in step {self.done + 1}")
        if matrix is not None:
            natural_step(self.parameters, matrix, self.config.lr)
        else:
            self.optimizer.step()  # type: ignore[union-attr]
        self.updates += 1
        return {**self.processes.sum(sums), "grad_norm": norm}

    def _cut(self, batch: Batch) -> Iterator[Batch]:
        """This process's share of a batch, in pieces."""
        batch = weighing(batch) if self.recomposer is not None and isinstance(batch, Prepared) else batch
        return portion(batch, self.processes.share).micro(self.config.micro_size)

    def _least(self) -> int:
        """The fewest completions that a piece can hold."""
        if not self.objective.whole_groups:
            return 1
        tree = self.task.tree if isinstance(self.strategy, Enumerated) else None
        return getattr(self.strategy, "group_size", 1) if tree is None else tree.n_leaves

    def _loss(self, part: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        r = part.rollouts
        vocab = None
        if self.objective.vocab_mean:
            logp, mean = self.reader.logp_and_mean(self.policy, r)
            vocab = mean[..., None]
        elif self.objective.needs_vocab:
            vocab = self.reader.vocab_logp(self.policy, r)
            logp = chosen(vocab, r.completions, r.mask)
        else:
            logp = self.reader.logp(self.policy, r)
        finite("logp", logp, r.prompt_ids)
        values = None if self.critic is None else self.reader.values(self.critic, r)
        return self.objective.loss(logp, part, vocab, values)

    def _anchor_loss(self, part: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        logp = finite("logp", self.reader.logp(self.policy, part.rollouts), part.rollouts.prompt_ids)
        return self.anchor.term.loss(logp, part)  # type: ignore[union-attr, arg-type]

    def _fisher(self, prepared: Batch) -> Tensor:
        whole = self.reader.logp(self.policy, prepared.rollouts).sum(-1)
        return fisher(whole, whole.detach().exp(), self.parameters)

    def modules(self) -> dict[str, nn.Module]:
        every = {"policy": self.policy, "reference": self.reference, "critic": self.critic}
        return {name: module for name, module in every.items() if module is not None}

    def moving(self) -> dict[str, Moving]:
        """What the method keeps from batch to batch, by name."""
        every: dict[str, Any] = dict(self.objective.moving) | {"follower": self.follower, "anchor": self.anchor}
        every |= {"recomposition": self.recomposer}
        return {name: kept for name, kept in (every | self.others).items() if isinstance(kept, Moving)}


def _add(sums: dict[str, float], figures: dict[str, Tensor]) -> None:
    for name, value in figures.items():
        sums[name] = sums.get(name, 0.0) + float(value)


def _selection(given: Method) -> Selection:
    return Selection() if given.selection is None else selection(given.selection)
