"""The check that every exact function makes of the log-probabilities it is given, and sums over long laws."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

BLOCK = 2**16  # numbers: half a megabyte in float64, which stays in a core's cache
TOLERANCE = 1e-4  # wide enough for float32 sums, far too narrow for logits


def law(name: str, log_p: Tensor) -> Tensor:
    """Returns `log_p` [..., L]; raises ValueError unless its exponentials sum to 1 over the last axis."""
    whole(name, summed(torch.exp, log_p.detach()))
    return log_p


def whole(name: str, total: Tensor) -> None:
    """Raises ValueError unless 1 is what the probabilities sum to, `total` [...], whose logarithms were given."""
    wrong = ~((total - 1).abs() < TOLERANCE)  # also True for NaN
    if bool(wrong.any()):
        found = total[wrong].flatten()[0].item()
        raise ValueError(f"{name} must be log-probabilities that sum to 1 over the last axis, got a sum of {found:g}")


def sums(terms: Callable[..., tuple[Tensor, ...]], *rows: Tensor) -> tuple[Tensor, ...]:
    """The sums over the last axis of `terms(*rows)`, each [...], for rows [..., L] and terms of each place alone.

    In blocks that stay in a core's cache.
    """
    blocks = zip(*(row.split(BLOCK, -1) for row in torch.broadcast_tensors(*rows)), strict=True)
    found = ([term.sum(-1) for term in terms(*block)] for block in blocks)
    return tuple(reduce(torch.add, parts) for parts in zip(*found, strict=True))


def summed(term: Callable[..., Tensor], *rows: Tensor) -> Tensor:
    """`sums` of one term: [...]."""
    return sums(lambda *block: (term(*block),), *rows)[0]
