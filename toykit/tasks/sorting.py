"""Sorting: write given digits in increasing order, or in decreasing order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from toykit._checks import at_least
from toykit.tasks.base import Prompts, Vocab, distinct, split_of

DIGITS, ASK = 10, 10


@dataclass(frozen=True)
class Sorting:
    """Prompts: `places` digits and `>`; the one right completion: the same digits in increasing order.

    A prompt's id is the number that its digits write. n_train and n_test prompts are drawn once, and none is in both
    splits; the corpus is drawn from all of the 10^places. Raises ValueError for more prompts than there are.

    decreasing  the right completion is in decreasing order; the prompts are the same
    both        half of the corpus, drawn by chance, is in the other order
    """

    places: int = 5
    n_train: int = 512
    n_test: int = 256
    seed: int = 0
    name: str = "sorting"
    decreasing: bool = False
    both: bool = False

    vocab: ClassVar[Vocab] = Vocab((*"0123456789", ">"), pad=ASK)
    tree: ClassVar[None] = None

    def __post_init__(self) -> None:
        for name in ("places", "n_train", "n_test"):
            at_least(name, getattr(self, name), 1)
        if self.n_train + self.n_test > DIGITS**self.places:
            raise ValueError(
                f"n_train + n_test must be at most {DIGITS**self.places}, got {self.n_train} + {self.n_test}"
            )

    @property
    def horizon(self) -> int:
        return self.places

    def prompts(self, split: str = "train") -> Prompts:
        """The prompts of a split."""
        return split_of(self._splits, split)

    def score(self, ids: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
        """1 for all digits in order, else 0; float64 [B, G]."""
        return self.correct(ids, completions, mask).all(-1).double()

    def correct(self, ids: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
        """bool [B, G, T]: which places hold the right digit."""
        right = self.right(ids).to(completions.device)[:, None]
        return (completions == right) & mask

    def right(self, ids: Tensor) -> Tensor:
        """int64 [B, T]: the right completion of each prompt."""
        return self._digits(ids).sort(-1, descending=self.decreasing).values

    def solutions(self, ids: Tensor) -> list[list[list[int]]]:
        """The right completions of each prompt: one."""
        return [[row] for row in self.right(ids.cpu()).tolist()]

    def corpus(self, n: int, generator: torch.Generator) -> tuple[Prompts, Tensor, Tensor]:
        """`n` worked examples: prompts, completions int64 [n, T] and mask bool [n, T]."""
        at_least("n", n, 1)
        ids = torch.randint(DIGITS**self.places, (n,), generator=generator)
        completions = self.right(ids)
        if self.both:
            other = torch.rand(n, generator=generator) < 0.5
            completions = torch.where(other[:, None], completions.flip(-1), completions)
        return self._asked(ids), completions, torch.ones_like(completions, dtype=torch.bool)

    def _digits(self, ids: Tensor) -> Tensor:
        powers = DIGITS ** torch.arange(self.places - 1, -1, -1, device=ids.device)
        return ids[:, None] // powers % DIGITS

    def _asked(self, ids: Tensor) -> Prompts:
        tokens = torch.nn.functional.pad(self._digits(ids), (0, 1), value=ASK)
        return Prompts(ids, tokens, torch.ones_like(tokens, dtype=torch.bool))

    @cached_property
    def _splits(self) -> dict[str, Prompts]:
        generator = torch.Generator().manual_seed(self.seed)
        ids = distinct(self.n_train + self.n_test, DIGITS**self.places, generator)
        return {"train": self._asked(ids[: self.n_train]), "test": self._asked(ids[self.n_train :])}
