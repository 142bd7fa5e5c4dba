"""Means over seeds with Student-t intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from toykit._checks import at_least, finite


@dataclass(frozen=True)
class Interval:
    """A mean of `n` values and its two-sided confidence interval [low, high]."""

    mean: float
    low: float
    high: float
    n: int

    def excludes(self, value: float = 0.0) -> bool:
        """Whether `value` lies outside the interval."""
        return not self.low <= value <= self.high


def interval(values: Sequence[float] | Tensor, level: float = 0.95) -> Interval:
    """The mean of independent values, one a seed, with its Student-t interval at confidence `level`.

    Raises ValueError for fewer than 2 values, or one that is not finite.
    """
    x = finite("values", torch.as_tensor(values, dtype=torch.float64).flatten())
    n = x.shape[0]
    at_least("number of values", n, 2)
    mean = x.mean().item()
    half = t_quantile(level, n - 1) * x.std(correction=1).item() / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def paired_interval(first: Sequence[float] | Tensor, second: Sequence[float] | Tensor, level: float = 0.95) -> Interval:
    """The interval of the mean of first - second, where both ran with the same seeds in the same order.

    Raises ValueError where their numbers differ, and as `interval` does.
    """
    a, b = (torch.as_tensor(v, dtype=torch.float64).flatten() for v in (first, second))
    if a.shape != b.shape:
        raise ValueError(f"first and second must have as many values, got {a.shape[0]} and {b.shape[0]}")
    return interval(a - b, level)


def median_interval(values: Sequence[float] | Tensor, level: float = 0.95) -> Interval:
    """The median of independent values (in `mean`) with its interval of order statistics, whatever their law.

    The j-th smallest and the j-th largest value, for the largest j at which the interval holds the median with
    probability `level` or more: what a heavy tail cannot move. Raises ValueError where there are too few values for
    any j (fewer than 6 at 95 %), and for one that is not finite.
    """
    x = finite("values", torch.as_tensor(values, dtype=torch.float64).flatten()).sort().values
    n = len(x)
    tails = np.cumsum([math.comb(n, i) for i in range(n + 1)]) / 2.0**n  # of a fair coin: P(at most i heads)
    j = int((tails <= (1 - level) / 2).sum())  # P(fewer than j heads) is at most the half of what may be missed
    if j == 0:
        raise ValueError(f"number of values must be larger for an interval of the median, got {n}")
    middle = x[(n - 1) // 2 : n // 2 + 1].mean().item()
    return Interval(middle, x[j - 1].item(), x[n - j].item(), n)


def rank_correlation(x: Tensor, y: Tensor) -> Tensor:
    """Spearman's rank correlation [...] of `x` and `y` [..., n]; equal values share the mean of their ranks.

    NaN where all values of either are equal.
    """
    ranks = []
    for values in (x, y):
        less = (values[..., None, :] < values[..., :, None]).double().sum(-1)
        same = (values[..., None, :] == values[..., :, None]).double().sum(-1)
        rank = less + (same - 1) / 2
        ranks.append(rank - rank.mean(-1, keepdim=True))
    a, b = ranks
    return (a * b).sum(-1) / (a.square().sum(-1) * b.square().sum(-1)).sqrt()


def t_quantile(level: float, df: int) -> float:
    """t with P(|T| <= t) = `level` for Student's law with `df` degrees of freedom, a whole number >= 1."""
    at_least("df", df, 1)
    if not 0 <= level < 1:
        raise ValueError(f"level must be from 0 to below 1, got {level}")
    low, high = 0.0, math.pi / 2  # of the angle whose tangent is t / sqrt(df)
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _central_mass(middle, df) < level else (low, middle)
    return math.sqrt(df) * math.tan((low + high) / 2)


def _central_mass(angle: float, df: int) -> float:
    """P(|T| <= sqrt(df) tan(angle)) as a finite sum (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    square = math.cos(angle) ** 2
    odd = df % 2
    steps = np.arange(1 + odd, df - 2 + odd, 2)  # 1, 3, ... for even df and 2, 4, ... for odd
    terms = np.concatenate([[1.0], np.cumprod(steps / (steps + 1) * square)]).sum()
    if not odd:
        return math.sin(angle) * terms
    return 2 / math.pi * (angle + (math.sin(angle) * math.cos(angle) * terms if df > 1 else 0.0))
