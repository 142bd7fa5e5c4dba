"""The hidden-operator task: each prompt `a ? b` wants its own operator and then the last digit of the result."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from toykit._checks import at_least
from toykit.tasks.base import Prompts, Vocab, split_of
from toykit.tasks.mdp import TreeMDP, tree_mdp
from toykit.tasks.tree import Tree

OPERATORS = "+-*"
PLUS = 10  # token of the first operator; the digits are their own tokens
ASK = 13


@dataclass(frozen=True)
class Operator:
    """Prompts `a ? b` of two digits; right is the prompt's hidden operator and then the result mod 10.

    probabilities  of +, - and *; each prompt's operator is drawn from them once
    n_train        how many of the 100 prompts are for training; the others are held out
    seed           of the hidden operators and of the split

    Raises ValueError for probabilities that are not three numbers >= 0 with sum 1, and n_train outside 1..99.
    """

    probabilities: tuple[float, float, float] = (0.6, 0.3, 0.1)
    n_train: int = 60
    seed: int = 0
    name: str = "operator"

    horizon: ClassVar[int] = 2
    vocab: ClassVar[Vocab] = Vocab((*"0123456789", *OPERATORS, "?"))
    tree: ClassVar[Tree] = Tree(14, horizon=2)

    def __post_init__(self) -> None:
        p = self.probabilities
        if len(p) != 3 or not all(q >= 0 for q in p) or not math.isclose(sum(p), 1.0):
            raise ValueError(f"probabilities must be three numbers >= 0 with sum 1, got {p}")
        if not 1 <= self.n_train <= 99:
            raise ValueError(f"n_train must be from 1 to 99, got {self.n_train}")

    def prompts(self, split: str = "train") -> Prompts:
        """The prompts of a split; no prompt is in both."""
        return split_of(self._splits, split)

    def score(self, ids: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
        """1 for the prompt's operator followed by its result, else 0; float64 [B, G]."""
        right = self.right.to(completions.device)[ids.to(completions.device)].unsqueeze(-2)
        return ((completions[..., :2] == right) & mask[..., :2]).all(-1).double()

    def corpus(self, n: int, generator: torch.Generator) -> tuple[Prompts, Tensor, Tensor]:
        """`n` worked examples on all 100 prompts, with operators drawn anew from the same probabilities.

        Returns prompts, completions int64 [n, 2] and mask bool [n, 2].
        """
        at_least("n", n, 1)
        ids = torch.randint(100, (n,), generator=generator)
        operators = self._draw_operators(n, generator)
        completions = torch.stack([PLUS + operators, self._results[ids, operators]], 1)
        return self._every[ids], completions, torch.ones_like(completions, dtype=torch.bool)

    def as_mdp(self) -> TreeMDP:
        """The train prompts as a deterministic tree MDP: states are prompts and prefixes, actions are tokens."""
        return tree_mdp(self)

    @property
    def right(self) -> Tensor:
        """int64 [100, 2]: the right completion of each prompt id."""
        return torch.stack([PLUS + self.operators, self._results.gather(1, self.operators[:, None])[:, 0]], 1)

    def solutions(self, ids: Tensor) -> list[list[list[int]]]:
        """The right completions of each prompt: one."""
        return [[row] for row in self.right[ids.cpu()].tolist()]

    @property
    def operators(self) -> Tensor:
        """int64 [100]: the hidden operator of each prompt id (0 for +, 1 for -, 2 for *)."""
        return self._drawn[0]

    @cached_property
    def _drawn(self) -> tuple[Tensor, Tensor]:
        """Hidden operators [100] and operands 10 a + b [100], by prompt id: train prompts, then held-out ones."""
        generator = torch.Generator().manual_seed(self.seed)
        operators = self._draw_operators(100, generator)
        return operators, torch.randperm(100, generator=generator)

    def _draw_operators(self, n: int, generator: torch.Generator) -> Tensor:
        chances = torch.tensor(self.probabilities, dtype=torch.float64)
        return torch.multinomial(chances, n, replacement=True, generator=generator)

    @cached_property
    def _results(self) -> Tensor:
        """int64 [100, 3]: the last digit of a + b, a - b and a * b."""
        a, b = self._drawn[1] // 10, self._drawn[1] % 10
        return torch.stack([a + b, a - b, a * b], 1) % 10

    @cached_property
    def _every(self) -> Prompts:
        return Prompts.from_lists([[pair // 10, ASK, pair % 10] for pair in self._drawn[1].tolist()])

    @cached_property
    def _splits(self) -> dict[str, Prompts]:
        return {"train": self._every[: self.n_train], "test": self._every[self.n_train :]}
