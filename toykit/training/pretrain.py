"""Supervised pretraining of a base policy on a task's corpus."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from toykit._checks import at_least, positive
from toykit.policies import check_fits, device_of
from toykit.rollouts import token_logps
from toykit.tasks.base import Prompts, Task
from toykit.training import checkpoint, loop
from toykit.training.evaluate import evaluate, greedy_reward
from toykit.training.memory import explained
from toykit.training.processes import Processes
from toykit.training.spread import Spread


class Corpus(Task, Protocol):
    """A task that can also show how it is done."""

    def corpus(self, n: int, generator: torch.Generator) -> tuple[Prompts, Tensor, Tensor]:
        """n examples: prompts, completions int64 [n, T] and their mask bool [n, T]."""
        ...


@dataclass(frozen=True)
class PretrainConfig:
    """`steps` steps of AdamW on fresh batches, the learning rate going linearly from `lr` to 0.

    warmup          steps over which the learning rate rises, linearly too
    autocast        compute in bf16 (log-probabilities stay float32)
    accuracy        where it stops earlier: the mean reward of greedy completions of the held-out prompts that is
                    enough, in (0, 1]; None where it is not measured
    evaluate_every  steps between these measurements; there is one after the last step too
    """

    steps: int = 400
    batch: int = 128
    lr: float = 3e-3
    max_grad_norm: float = 1.0
    warmup: int = 0
    autocast: bool = False
    accuracy: float | None = None
    evaluate_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "evaluate_every"):
            at_least(name, getattr(self, name), 1)
        at_least("warmup", self.warmup, 0)
        positive("lr", self.lr)
        if self.accuracy is not None and not 0 < self.accuracy <= 1:
            raise ValueError(f"accuracy must be in (0, 1], got {self.accuracy}")

    def rate(self, done: int) -> float:
        """The learning rate of the step after `done` steps."""
        rise = min(1.0, (done + 1) / self.warmup) if self.warmup else 1.0
        return self.lr * rise * (1 - done / self.steps)


class Pretrainer:
    """Maximises the log-likelihood of the corpus's completions; the loss is in nats a token."""

    def __init__(
        self,
        policy: nn.Module,
        task: Corpus,
        config: PretrainConfig | None = None,
        processes: Processes | None = None,
    ) -> None:
        """`processes` are those that were joined: each learns from its share of every batch.

        Raises ValueError where the task does not fit the policy or has no corpus, and for a batch that cannot be
        divided.
        """
        if not hasattr(task, "corpus"):
            raise ValueError(f"task must have a corpus to pretrain on, {task.name!r} has none")
        check_fits(policy, task.vocab, task.prompts().tokens.shape[1], task.horizon)
        self.policy, self.task, self.config = policy.eval(), task, config or PretrainConfig()  # no dropout
        self.processes = processes or Processes.here()
        if self.config.batch % self.processes.world:
            raise ValueError(
                f"batch must be a multiple of the {self.processes.world} processes, got {self.config.batch}"
            )
        self.models = Spread(self.processes, [policy])
        self.optimizer = torch.optim.AdamW(policy.parameters(), self.config.lr, betas=(0.9, 0.98), fused=True)
        self.generator = torch.Generator().manual_seed(self.config.seed)
        self.done = 0
        self.accuracy: float | None = None  # of the policy as it is now, where it was measured
        self.earlier: list[dict[str, int]] = []  # {step, steps}: where it went on with other `steps` than until then

    @property
    def finished(self) -> bool:
        """Whether the accuracy that is asked for is reached."""
        asked = self.config.accuracy
        return asked is not None and self.accuracy is not None and self.accuracy >= asked

    def step(self) -> dict[str, float]:
        """One batch of fresh examples; raises ValueError, before anything is changed, where the loss is not finite, and
        MemoryError where the batch does not fit."""
        state, done = self.generator.get_state(), self.done
        try:
            with explained(device_of(self.policy), f"set batch to less than {self.config.batch}"):
                return self._step()
        except MemoryError:
            if self.done == done:
                self.generator.set_state(state)
            raise

    def _step(self) -> dict[str, float]:
        c, device = self.config, device_of(self.policy)
        prompts, completions, mask = self.task.corpus(c.batch, self.generator)
        prompts, completions, mask = prompts.to(device), completions.to(device), mask.to(device)
        total, rows = mask.sum(), self.processes.share.rows(c.batch)
        prompts, completions, mask = prompts[rows], completions[rows, None], mask[rows, None]

        def loss() -> tuple[Tensor, dict[str, Tensor]]:
            with torch.autocast(device.type, torch.bfloat16, enabled=c.autocast):
                logp = token_logps(self.policy, prompts.tokens, prompts.mask, completions, mask)
            return -logp.sum() / total, {}

        for group in self.optimizer.param_groups:
            group["lr"] = c.rate(self.done)
        self.optimizer.zero_grad()
        mine, _ = self.models.add_gradient(loss)
        summed = self.processes.sum({"loss": mine.item()})
        if not math.isfinite(value := summed["loss"]):
            raise ValueError(f"loss must be finite, got {value} in step {self.done + 1}; a smaller lr may help")
        nn.utils.clip_grad_norm_(self.policy.parameters(), c.max_grad_norm)
        self.optimizer.step()
        self.done += 1
        figures, self.accuracy = {"step": self.done, **summed}, None
        if c.accuracy is not None and (self.done % c.evaluate_every == 0 or self.done == c.steps):
            greedy = self.models.whole(partial(greedy_reward, self.policy, self.task, processes=self.processes))
            self.accuracy = figures["accuracy"] = greedy
        return figures

    def plain_policy(self) -> nn.Module:
        """The policy as one process alone would hold it: itself, or where it is sharded a copy on the CPU."""
        return self.models.plain()

    def evaluate(self) -> dict[str, float]:
        """The rewards of the policy as it is, on the test split: see `toykit.training.evaluate`; all processes ask."""
        measured = partial(evaluate, self.policy, self.task, seed=self.config.seed, processes=self.processes)
        return self.models.whole(measured)

    def run(self, out: str | Path | None = None, save_every: int = 50, progress: bool = True) -> list[dict[str, float]]:
        """Goes on to the last step or until it is `finished`; logs and checkpoints are `toykit.training.loop.run`'s."""
        return loop.run(self, self.config.steps, out, save_every, progress, "pretrain", processes=self.processes)

    def save(self, path: str | Path) -> None:
        tensors = checkpoint.module_tensors("policy", self.policy) | checkpoint.optimizer_tensors(self.optimizer)
        tensors["generator"] = self.generator.get_state()
        progress = {"step": self.done, "accuracy": self.accuracy, "earlier": self.earlier}
        meta = {"kind": "pretrain", "config": asdict(self.config), **progress}
        checkpoint.save(path, tensors, meta, self.processes)

    def load(self, path: str | Path) -> Pretrainer:
        """Restores what `save` wrote; raises ValueError where it was made with another config or policy.

        The steps and the accuracy that are asked for may be other ones, so that a run that fell short can go on.
        """
        tensors, meta = checkpoint.load(path, "pretrain")
        free = {"steps": self.config.steps, "accuracy": self.config.accuracy}
        if meta["config"] | free != asdict(self.config):
            raise ValueError(f"checkpoint {str(path)!r} was made with another config: {meta['config']}")
        checkpoint.load_modules({"policy": self.policy}, tensors)
        checkpoint.load_optimizer(self.optimizer, tensors)
        self.generator.set_state(tensors["generator"])
        self.done, self.accuracy, self.earlier = meta["step"], meta["accuracy"], meta["earlier"]
        if (steps := meta["config"]["steps"]) != self.config.steps:
            self.earlier.append({"step": self.done, "steps": steps})
        return self
