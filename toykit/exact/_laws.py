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
    total = summed(torch.exp, log_p.detach())
    wrong = ~((total - 1).abs() < TOLERANCE)  # also True for NaN
    if bool(wrong.any()):
        found = total[wrong].flatten()[0].item()
        raise ValueError(f"{name} must be log-probabilities that sum to 1 over the last axis, got a sum of {found:g}")
    return log_p


def summed(term: Callable[..., Tensor], *rows: Tensor) -> Tensor:
    """The sum over the last axis of `term(*rows)`, [...], for rows [..., L] and a term made of each place alone.

    In blocks, because tensors of the size of a long row are dear: the system hands their memory out page by page.
    """
    blocks = zip(*(row.split(BLOCK, -1) for row in torch.broadcast_tensors(*rows)), strict=True)
    return reduce(torch.add, (term(*block).sum(-1) for block in blocks))
