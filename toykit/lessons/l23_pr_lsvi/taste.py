"""A hidden taste for letters: the reward is linear in how often eight letters stand in a string."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from toykit._checks import at_least
from toykit.tasks import Letters, Prompts, Vocab
from toykit.tasks.base import split_of
from toykit.tasks.letters import BEGIN, LETTERS, NEXT, START

ATTRIBUTES = tuple(LETTERS.index(letter) for letter in "eiountsr")


@dataclass(frozen=True)
class Taste:
    """The prompts are `^`, all alike; a completion is `horizon` letters, and its reward is taste . counts / 2.

    The taste of a seed is eight standard normal numbers; other letters are worth nothing.
    """

    seed: int = 0
    horizon: int = 8
    n_prompts: int = 64
    name: str = "taste"

    vocab: ClassVar[Vocab] = Letters.vocab
    tree: ClassVar[None] = None

    def __post_init__(self) -> None:
        at_least("horizon", self.horizon, 1)
        at_least("n_prompts", self.n_prompts, 1)

    @property
    def taste(self) -> Tensor:
        """float64 [8]."""
        return torch.randn(len(ATTRIBUTES), generator=torch.Generator().manual_seed(self.seed), dtype=torch.float64)

    def prompts(self, split: str = "train") -> Prompts:
        prompts = Prompts.from_lists([[BEGIN]] * self.n_prompts)
        return split_of({"train": prompts, "test": prompts}, split)

    def score(self, ids: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
        """The reward, float64 [B, G]."""
        return counts(completions, mask) @ self.taste.to(completions.device)

    def corpus(self, n: int, generator: torch.Generator) -> tuple[Prompts, Tensor, Tensor]:
        """`n` strings of the grammar of `toykit.tasks.Letters`."""
        return Letters(horizon=self.horizon).corpus(n, generator)

    @property
    def best(self) -> float:
        """The largest reward: one letter all along, or letters that are worth nothing."""
        return self.horizon / 2 * max(0.0, float(self.taste.max()))

    @property
    def usual(self) -> float:
        """The expected reward of the grammar's strings, exactly."""
        law, total = START, START.clone()
        for _ in range(self.horizon - 1):
            law = law @ NEXT
            total = total + law
        return float(total[list(ATTRIBUTES)] @ self.taste / 2)


def counts(completions: Tensor, mask: Tensor) -> Tensor:
    """float64 [B, G, 8]: half the numbers of the eight letters in completions [B, G, T]."""
    wanted = torch.tensor(ATTRIBUTES, device=completions.device)
    return ((completions[..., None] == wanted) & mask[..., None]).double().sum(-2) / 2
