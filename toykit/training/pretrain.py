"""Supervised pretraining of a base policy on a task's corpus."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from toykit._checks import at_least, positive
from toykit.policies import check_fits, device_of
from toykit.rollouts import token_logps
from toykit.tasks.base import Prompts, Task
from toykit.training import checkpoint, loop
from toykit.training.processes import Processes
from toykit.training.spread import Spread


class Corpus(Task, Protocol):
    """A task that can also show how it is done."""

    def corpus(self, n: int, generator: torch.Generator) -> tuple[Prompts, Tensor, Tensor]:
        """n examples: prompts, completions int64 [n, T] and their mask bool [n, T]."""
        ...


@dataclass(frozen=True)
class PretrainConfig:
    """`steps` steps of AdamW on fresh batches, the learning rate going linearly from `lr` to 0."""

    steps: int = 400
    batch: int = 128
    lr: float = 3e-3
    max_grad_norm: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        at_least("steps", self.steps, 1)
        at_least("batch", self.batch, 1)
        positive("lr", self.lr)


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
        self.optimizer = torch.optim.AdamW(policy.parameters(), self.config.lr, betas=(0.9, 0.98))
        self.generator = torch.Generator().manual_seed(self.config.seed)
        self.done = 0

    def step(self) -> dict[str, float]:
        """One batch of fresh examples."""
        c, device = self.config, device_of(self.policy)
        prompts, completions, mask = self.task.corpus(c.batch, self.generator)
        prompts, completions, mask = prompts.to(device), completions.to(device), mask.to(device)
        total, rows = mask.sum(), self.processes.share.rows(c.batch)
        prompts, completions, mask = prompts[rows], completions[rows, None], mask[rows, None]

        def loss() -> tuple[Tensor, dict[str, Tensor]]:
            logp = token_logps(self.policy, prompts.tokens, prompts.mask, completions, mask)
            return -logp.sum() / total, {}

        for group in self.optimizer.param_groups:
            group["lr"] = c.lr * (1 - self.done / c.steps)
        self.optimizer.zero_grad()
        value, _ = self.models.add_gradient(loss)
        nn.utils.clip_grad_norm_(self.policy.parameters(), c.max_grad_norm)
        self.optimizer.step()
        self.done += 1
        return {"step": self.done, **self.processes.sum({"loss": value.item()})}

    def plain_policy(self) -> nn.Module:
        """The policy as one process alone would hold it: itself, or where it is sharded a copy on the CPU."""
        return self.models.plain(self.policy)

    def run(self, out: str | Path | None = None, save_every: int = 50, progress: bool = True) -> list[dict[str, float]]:
        """Goes on to the last step; see `toykit.training.loop.run` for logs and checkpoints."""
        return loop.run(self, self.config.steps, out, save_every, progress, "pretrain", processes=self.processes)

    def save(self, path: str | Path) -> None:
        tensors = checkpoint.module_tensors("policy", self.policy) | checkpoint.optimizer_tensors(self.optimizer)
        tensors["generator"] = self.generator.get_state()
        meta = {"kind": "pretrain", "step": self.done, "config": asdict(self.config)}
        checkpoint.save(path, tensors, meta, self.processes)

    def load(self, path: str | Path) -> Pretrainer:
        """Restores what `save` wrote; raises ValueError where it was made with another config or policy."""
        tensors, meta = checkpoint.load(path, "pretrain")
        if meta["config"] != asdict(self.config):
            raise ValueError(f"checkpoint {str(path)!r} was made with another config: {meta['config']}")
        checkpoint.load_modules({"policy": self.policy}, tensors)
        checkpoint.load_optimizer(self.optimizer, tensors)
        self.generator.set_state(tensors["generator"])
        self.done = meta["step"]
        return self
