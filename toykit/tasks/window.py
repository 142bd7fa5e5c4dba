"""A shorter window over a task: completions that have not stopped within it get no reward."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from toykit.tasks.base import Prompts, Task, Vocab
from toykit.tasks.tree import Tree


@dataclass(frozen=True)
class Windowed:
    """A task whose completions have at most `window` tokens, fewer than its own horizon.

    One that has `window` tokens and does not end with a stop token is cut, and has reward 0. Raises ValueError for a
    window that is not shorter than the horizon, and for a task without stop tokens.
    """

    task: Task
    window: int

    def __post_init__(self) -> None:
        if not 1 <= self.window < self.task.horizon:
            raise ValueError(f"window must be >= 1 and below the horizon {self.task.horizon}, got {self.window}")
        if not self.task.vocab.stop:
            raise ValueError(f"task must have stop tokens for a window, {self.task.name!r} has none")

    @property
    def name(self) -> str:
        return self.task.name

    @property
    def vocab(self) -> Vocab:
        return self.task.vocab

    @property
    def horizon(self) -> int:
        return self.window

    @property
    def tree(self) -> Tree | None:
        """The task's completions, cut."""
        whole = self.task.tree
        if whole is None or whole.only is None:
            return whole and replace(whole, horizon=self.window)
        return replace(whole, horizon=self.window, only=tuple(sorted({c[: self.window] for c in whole.only})))

    def prompts(self, split: str = "train") -> Prompts:
        return self.task.prompts(split)

    def score(self, ids: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
        """The task's rewards float64 [B, G], 0 for completions that were cut, which the task does not see."""
        stop = torch.tensor(self.vocab.stop, device=completions.device, dtype=completions.dtype)
        ended = (torch.isin(completions, stop) & mask).any(-1) | (mask.sum(-1) < self.window)
        rewards = torch.zeros(mask.shape[:-1], dtype=torch.float64, device=mask.device)
        if bool(ended.any()):
            whose = ids[:, None].expand_as(ended)[ended]
            seen = self.task.score(whose, completions[ended][:, None], mask[ended][:, None])
            rewards[ended] = seen[:, 0].to(rewards)
        return rewards


def windowed(task: Task, window: int | None) -> Task:
    """The task with a window, or itself where that is None or the whole horizon."""
    return task if window is None or window == task.horizon else Windowed(task, window)
