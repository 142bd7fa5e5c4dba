"""Linear models fitted by IterVAML, whose loss is no least squares: Levenberg-Marquardt from several starts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from toykit.control import Quadratic

Residuals = Callable[[Tensor], tuple[Tensor, Tensor]]  # of parameters [S, k]: [S, N], and their derivative [S, N, k]


def levenberg_marquardt(residuals: Residuals, start: Tensor, steps: int = 100) -> Tensor:
    """Parameters [S, k] that minimise the sum of squared residuals, each of the S starts by itself.

    Damping is relative to the curvature; it falls by 3 after a step that helped, and rises by 4 after one that did not.
    """
    now, damping = start, start.new_full((len(start),), 1e-2)
    rest, slope = residuals(now)
    for _ in range(steps):
        square = slope.mT @ slope
        damped = square + (damping[:, None] * (square.diagonal(dim1=1, dim2=2) + 1e-9)).diag_embed()
        tried = now - torch.linalg.solve(damped, (slope.mT @ rest[..., None])[..., 0])
        found = residuals(tried)
        better = found[0].square().sum(-1) < rest.square().sum(-1)
        now, rest = (torch.where(better[:, None], a, b) for a, b in ((tried, now), (found[0], rest)))
        slope = torch.where(better[:, None, None], found[1], slope)
        damping = torch.where(better, damping / 3, damping * 4).clamp(1e-12, 1e12)
    return now


def fit_value_aware(
    inputs: Tensor, after: Tensor, value: Quadratic, rank: int, generator: torch.Generator, starts: int
) -> Tensor:
    """Models [S, d, p] of a rank that minimise the mean of (V(f) - V(s'))^2, one from each of `starts` normal factors.

    inputs [N, p], next states `after` [N, d]; `value` must depend on all dimensions that are fitted.
    """
    d, p = after.shape[1], inputs.shape[1]
    r = min(rank, d)
    wanted = value(after)

    def split(factors: Tensor) -> tuple[Tensor, Tensor]:
        return factors[:, : d * r].unflatten(1, (d, r)), factors[:, d * r :].unflatten(1, (r, p))

    def residuals(factors: Tensor) -> tuple[Tensor, Tensor]:
        outer, inner = split(factors)
        hidden = inputs @ inner.mT
        made = hidden @ outer.mT
        slope = value.gradient(made)
        by_outer = (slope[..., None] * hidden[..., None, :]).flatten(2)
        by_inner = ((slope @ outer)[..., None] * inputs[:, None]).flatten(2)
        return value(made) - wanted, torch.cat([by_outer, by_inner], -1)

    start = torch.randn(starts, (d + p) * r, generator=generator, dtype=inputs.dtype)
    outer, inner = split(levenberg_marquardt(residuals, start))
    return outer @ inner
