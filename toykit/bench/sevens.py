"""The task of the step benchmarks: short prompts, and a reward that costs next to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from toykit.tasks.base import Prompts, Vocab

SEVEN = 11


@dataclass(frozen=True)
class Sevens:
    """Prompts "i + j =" for all digits i and j; the reward is the number of 7s over the horizon."""

    horizon: int = 8
    name: str = "sevens"
    tree: None = None

    vocab: ClassVar[Vocab] = Vocab(("<pad>", "<bos>", "<eos>", "<unk>", *"0123456789", *"+-*/=?"), pad=0, stop=(2,))

    def texts(self) -> list[str]:
        """The 100 prompts as text."""
        return [f"{i} + {j} =" for i in range(10) for j in range(10)]

    def prompts(self, split: str = "train") -> Prompts:
        """The 100 prompts, whatever the split."""
        return Prompts.from_lists([self.vocab.encode(text) for text in self.texts()], self.vocab.pad)

    def score(self, ids: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
        """Rewards float64 [B, G]."""
        return ((completions == SEVEN) & mask).sum(-1).to(torch.float64) / self.horizon
