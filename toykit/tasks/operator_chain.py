"""Chains of hidden operators: each prompt `a ? b ? c ? d` wants its own operators, each with the running result."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from toykit._checks import at_least
from toykit.tasks.base import Prompts, Vocab, distinct, split_of
from toykit.tasks.operator import ASK, OPERATORS, PLUS, Operator
from toykit.tasks.tree import Tree


@dataclass(frozen=True)
class OperatorChain:
    """Prompts `a ? b ? c ? d`; right are the prompt's hidden operators, each followed by the result so far.

    The operators are applied from left to right, modulo `modulus`. Each prompt has one right completion, of 2 `length`
    tokens.

    habit            probabilities of +, - and * in the corpus
    length           operators in a chain
    modulus          of the results; all digits are below it
    n_train, n_test  prompts of the splits; none is in both
    seed             of the prompts and of their hidden operators, which are equally often +, - and *

    Raises ValueError for a habit that is not three numbers >= 0 with sum 1, a length outside 1..7, a modulus
    outside 2..10, and more prompts than there are.
    """

    habit: tuple[float, float, float] = (0.8, 0.15, 0.05)
    length: int = 3
    modulus: int = 5
    n_train: int = 48
    n_test: int = 120
    seed: int = 0
    name: str = "operator_chain"

    vocab: ClassVar[Vocab] = Operator.vocab

    def __post_init__(self) -> None:
        q = self.habit
        if len(q) != 3 or not all(x >= 0 for x in q) or not math.isclose(sum(q), 1.0):
            raise ValueError(f"habit must be three numbers >= 0 with sum 1, got {q}")
        if not 1 <= self.length <= 7:
            raise ValueError(f"length must be from 1 to 7, got {self.length}")
        if not 2 <= self.modulus <= 10:
            raise ValueError(f"modulus must be from 2 to 10, got {self.modulus}")
        for name in ("n_train", "n_test"):
            at_least(name, getattr(self, name), 1)
        if self.n_train + self.n_test > self._many:
            raise ValueError(f"n_train + n_test must be at most {self._many}, got {self.n_train} + {self.n_test}")

    @property
    def horizon(self) -> int:
        return 2 * self.length

    @property
    def tree(self) -> Tree:
        return Tree(self.vocab.size, self.horizon)

    def prompts(self, split: str = "train") -> Prompts:
        """The prompts of a split."""
        return split_of(self._splits, split)

    def score(self, ids: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
        """1 for the prompt's operators with their results, else 0; float64 [B, G]."""
        right = self.right.to(completions.device)[ids.to(completions.device)].unsqueeze(-2)
        if completions.shape[-1] < self.horizon:
            return torch.zeros(mask.shape[:2], dtype=torch.float64, device=completions.device)
        return ((completions[..., : self.horizon] == right) & mask[..., : self.horizon]).all(-1).double()

    def corpus(self, n: int, generator: torch.Generator) -> tuple[Prompts, Tensor, Tensor]:
        """`n` worked examples: prompts of any digits, operators drawn by habit, right results.

        Returns prompts, completions int64 [n, 2 length] and mask bool [n, 2 length].
        """
        at_least("n", n, 1)
        digits = torch.randint(self.modulus, (n, self.length + 1), generator=generator)
        chances = torch.tensor(self.habit, dtype=torch.float64)
        operators = torch.multinomial(chances, n * self.length, replacement=True, generator=generator)
        completions = worked(digits, operators.view(n, self.length), self.modulus)
        return _asked(digits), completions, torch.ones_like(completions, dtype=torch.bool)

    @property
    def operators(self) -> Tensor:
        """int64 [N, length]: the hidden operators of each prompt id (0 for +, 1 for -, 2 for *)."""
        return self._drawn[0]

    @cached_property
    def right(self) -> Tensor:
        """int64 [N, 2 length]: the right completion of each prompt id."""
        operators, digits = self._drawn
        return worked(digits, operators, self.modulus)

    def solutions(self, ids: Tensor) -> list[list[list[int]]]:
        """The right completions of each prompt: one."""
        return [[row] for row in self.right[ids.cpu()].tolist()]

    @cached_property
    def _drawn(self) -> tuple[Tensor, Tensor]:
        """Hidden operators [N, length] and digits [N, length + 1], by prompt id: train prompts, then held-out ones."""
        generator, n = torch.Generator().manual_seed(self.seed), self.n_train + self.n_test
        operators = torch.randint(len(OPERATORS), (n, self.length), generator=generator)
        numbers = distinct(n, self._many, generator)[:, None]
        return operators, numbers // self.modulus ** torch.arange(self.length, -1, -1) % self.modulus

    @property
    def _many(self) -> int:
        """How many prompts there are."""
        return int(self.modulus ** (self.length + 1))

    @cached_property
    def _splits(self) -> dict[str, Prompts]:
        every = _asked(self._drawn[1])
        return {"train": every[: self.n_train], "test": every[self.n_train :]}


def worked(digits: Tensor, operators: Tensor, modulus: int) -> Tensor:
    """Completions int64 [n, 2 L] of operators [n, L] applied from left to right to digits [n, L + 1]."""
    result, tokens = digits[:, 0], []
    for operator, digit in zip(operators.T, digits[:, 1:].T, strict=True):
        results = torch.stack([result + digit, result - digit, result * digit], 1) % modulus
        result = results.gather(1, operator[:, None])[:, 0]
        tokens += [PLUS + operator, result]
    return torch.stack(tokens, 1)


def _asked(digits: Tensor) -> Prompts:
    """Prompts of digits [n, L + 1] with `?` between them."""
    tokens = torch.full((len(digits), 2 * digits.shape[1] - 1), ASK)
    tokens[:, ::2] = digits
    return Prompts(torch.arange(len(digits)), tokens, torch.ones_like(tokens, dtype=torch.bool))
