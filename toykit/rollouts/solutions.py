"""Solutions from elsewhere, kept by prompt: a teacher's, a task's own right answers, or any that are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from toykit._checks import at_least, shape
from toykit.rollouts.sampling import Share
from toykit.tasks.base import Prompts, Task

RIGHT = 0.5  # a reward above it is a right completion, as in `Rollouts.correct`


class Taken(NamedTuple):
    """Solutions of some prompts: completions int64 [B, n, T], mask bool [B, n, T], how many each has int64 [B]."""

    completions: Tensor
    mask: Tensor
    counts: Tensor

    def of(self, share: Share) -> Taken:
        """Those of a share's prompts."""
        rows = share.rows(len(self.counts))
        return Taken(self.completions[rows], self.mask[rows], self.counts[rows])


@dataclass(frozen=True, eq=False)
class Solutions:
    """Up to K solutions of each of N prompts; some prompts may have none.

        ids          int64 [N]        the prompts' ids, each once
        completions  int64 [N, K, T]  right-padded token ids
        mask         bool  [N, K, T]  True on a solution's tokens, the stop token included; False where there is none

    A prompt's solutions come first among its K places. Raises ValueError for shapes that disagree, an id that is there
    twice, a mask with a gap, and an empty place before a solution.
    """

    ids: Tensor
    completions: Tensor
    mask: Tensor

    def __post_init__(self) -> None:
        shape("mask", self.mask, tuple(self.completions.shape))
        shape("ids", self.ids, tuple(self.completions.shape[:1]))
        if len(self.ids.unique()) < len(self.ids):
            raise ValueError(f"ids must be there once each, got {self.ids.tolist()[:8]}")
        there = self.mask.any(-1)
        if bool((self.mask[..., 1:] & ~self.mask[..., :-1]).any()) or bool((there[:, 1:] & ~there[:, :-1]).any()):
            raise ValueError("mask must be True on the first tokens of the first solutions, got a gap")

    @staticmethod
    def of(task: Task, most: int = 1, split: str = "train") -> Solutions:
        """Up to `most` of a task's own right answers for each prompt of a split.

        They are those of the task's `solutions(ids)`, or else of its completion tree: the completions with the
        prompt's largest reward, where that is above 1/2, in the tree's order. Raises ValueError where the task has
        neither, or a tree too large to enumerate.
        """
        at_least("most", most, 1)
        prompts = task.prompts(split)
        known: Callable[[Tensor], list[list[list[int]]]] | None = getattr(task, "solutions", None)
        if known is None and task.tree is None:
            raise ValueError(f"task must know its right answers or have a completion tree, {task.name!r} does neither")
        found = _of_tree(task, prompts, most) if known is None else known(prompts.ids)
        lists = {i: rows[:most] for i, rows in zip(prompts.ids.tolist(), found, strict=True)}
        return Solutions.from_lists(lists, task)

    @staticmethod
    def from_lists(lists: Mapping[int, Sequence[Sequence[int]]], task: Task) -> Solutions:
        """Given solutions of a task by prompt id, as lists of token ids; an empty list says that a prompt has none.

        Raises ValueError where there is no prompt, for an empty solution, and as `check` does.
        """
        if not lists:
            raise ValueError("solutions must be given for at least one prompt, got none")
        for i, rows in lists.items():
            if not all(rows):
                raise ValueError(f"solutions must not be empty, got no token in one of prompt {i}")
        k = max(1, *map(len, lists.values()))
        t = max([1, *(len(row) for rows in lists.values() for row in rows)])
        completions = torch.full((len(lists), k, t), task.vocab.pad)
        lengths = torch.zeros(len(lists), k, dtype=torch.int64)
        for b, rows in enumerate(lists.values()):
            for j, row in enumerate(rows):
                completions[b, j, : len(row)] = torch.tensor(row)
                lengths[b, j] = len(row)
        return Solutions(torch.tensor(list(lists)), completions, torch.arange(t) < lengths[..., None]).check(task)

    @property
    def counts(self) -> Tensor:
        """int64 [N]: how many solutions each prompt has."""
        return self.mask.any(-1).sum(-1)

    def check(self, task: Task) -> Solutions:
        """Returns itself; raises ValueError naming a prompt whose solution is longer than the task's horizon, holds
        tokens outside its vocabulary, or goes on after a stop token."""
        tokens = self.completions.masked_fill(~self.mask, task.vocab.pad)
        stops = torch.isin(tokens, torch.tensor(task.vocab.stop, dtype=torch.int64, device=tokens.device)) & self.mask
        lengths, size = self.mask.sum(-1), task.vocab.size
        for wrong, words in (
            (lengths > task.horizon, f"have at most the task's horizon of {task.horizon} tokens"),
            ((((tokens < 0) | (tokens >= size)) & self.mask).any(-1), f"hold token ids from 0 to {size - 1}"),
            ((stops[..., :-1] & self.mask[..., 1:]).any(-1), "end with their first stop token"),
        ):
            if bool(wrong.any()):
                b, j = wrong.nonzero()[0].tolist()
                given = self.completions[b, j][self.mask[b, j]].tolist()
                raise ValueError(f"solutions must {words}, got {given} for prompt {int(self.ids[b])}")
        return self

    def take(self, prompt_ids: Tensor, n: int, generator: torch.Generator) -> Taken:
        """Up to `n` solutions of each prompt [B], on its device: its first ones, or where some prompt of the store has
        more, drawn without replacement. Raises ValueError for a prompt that the store does not know."""
        asked = prompt_ids.cpu()
        known = (asked >= 0) & (asked < len(self._row))
        rows = torch.where(known, self._row[asked.clamp(0, len(self._row) - 1)], -1)
        if bool((rows < 0).any()):
            raise ValueError(
                f"solutions must hold every prompt that is asked (with an empty list where it has none), "
                f"got none for prompt {int(asked[rows < 0][0])}"
            )
        completions, mask = self.completions[rows], self.mask[rows]
        k = mask.shape[1]
        if k > n:
            luck = torch.rand(len(rows), k, generator=generator, device=generator.device).cpu()
            order = (luck + 2.0 * ~mask.any(-1)).argsort(1)[:, :n, None].expand(-1, -1, mask.shape[-1])
            completions, mask = completions.gather(1, order), mask.gather(1, order)
        t = max(1, int(mask.sum(-1).max()))
        device = prompt_ids.device
        return Taken(completions[..., :t].to(device), mask[..., :t].to(device), mask.any(-1).sum(-1).to(device))

    @cached_property
    def _row(self) -> Tensor:
        """int64 [largest id + 1]: the row of each prompt id, -1 for none."""
        row = torch.full((int(self.ids.max()) + 1,), -1)
        row[self.ids] = torch.arange(len(self.ids))
        return row


def _of_tree(task: Task, prompts: Prompts, most: int) -> list[list[list[int]]]:
    tree = task.tree
    assert tree is not None
    tree.check_size(len(prompts))
    tokens, mask = (x.expand(len(prompts), *x.shape) for x in (tree.tokens, tree.mask))
    rewards = task.score(prompts.ids, tokens, mask)
    right = (rewards == rewards.amax(-1, keepdim=True)) & (rewards > RIGHT)
    leaves = [row.nonzero()[:most, 0].tolist() for row in right]
    return [[tree.tokens[i][tree.mask[i]].tolist() for i in row] for row in leaves]
