"""The tree that most of the card's numbers are about."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from toykit.exact import entropy
from toykit.tasks import Tree, TreeTask


def card_tree() -> TreeTask:
    """The tree of the card: four tokens, three places, 7 of 64 completions are right."""
    right = np.random.default_rng(7).random((4, 4, 4)) < 0.15
    return TreeTask(Tree(4, horizon=3), right.reshape(-1).astype(float))


def effective(log_p: Tensor, right: Tensor) -> Tensor:
    """The effective number [...] of right completions of laws log_p [..., L]: exp of their entropy given success."""
    return entropy(log_p.masked_fill(~right, -torch.inf).log_softmax(-1)).exp()
