"""Comparisons of two trajectories: the answer of a random judge, and whether it is worth asking."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toykit._checks import at_least, positive
from toykit.rewards import Judge


def answer(judge: Judge, first: Tensor, second: Tensor, uniforms: Tensor) -> Tensor:
    """int64 [...]: 1 where the judge prefers the first of two returns [...], else 0; `uniforms` [...] in [0, 1)."""
    return (uniforms < judge.preference(first, second)).long()


def norm_under(differences: Tensor, precision: Tensor) -> Tensor:
    """[...]: the norm of differences [..., D] under the inverse of a precision [..., D, D]."""
    root = torch.linalg.cholesky(precision)
    return torch.linalg.solve_triangular(root, differences[..., None], upper=False)[..., 0].norm(dim=-1)


def disagreement(norm: Tensor, scale: float | Tensor) -> Tensor:
    """[...]: E |x . (w - w')| of two draws from N(., scale^2 precision^-1), by the norm of x (`norm_under`).

    x . (w - w') is normal with variance 2 scale^2 norm^2, and the mean of the absolute value of a normal variable is
    its deviation times sqrt(2 / pi): 2 scale norm / sqrt(pi).
    Source: PR-LSVI (arXiv 2310.14554), eq. 2, for the expectation; the closed form is ours.
    """
    return 2 * scale * norm / math.sqrt(math.pi)


def finite_disagreement(gaps: Tensor, probabilities: Tensor) -> Tensor:
    """[...]: E |g_i - g_j| of two independent hypotheses, from what each says of a pair, `gaps` [..., K]."""
    distance = (gaps[..., :, None] - gaps[..., None, :]).abs()
    return (probabilities[..., :, None] * probabilities[..., None, :] * distance).sum((-2, -1))


def least_square(eps: float, scale: float) -> float:
    """a = pi eps^2 / (4 scale^2): a pair is asked where the square of its norm is larger."""
    return math.pi * at_least("eps", eps, 0) ** 2 / (4 * positive("scale", scale) ** 2)


def most_queries(eps: float, scale: float, size: int, largest: float, ridge: float = 1.0) -> float:
    """A number that the comparisons asked cannot exceed, whatever the trajectories.

    Each has a squared norm above a = `least_square`, and N min(1, a) <= 2 D log(1 + N L / (D ridge)) by the elliptical
    potential, for D = `size` features and squared differences of at most L = `largest` where the precision began as
    ridge times the identity; the result is the N of equality, to 1e-9. Raises ValueError for eps = 0, where there is
    no bound.
    """
    each = min(1.0, least_square(positive("eps", eps), scale))

    def allowed(n: float) -> bool:
        return n * each <= 2 * size * math.log1p(n * largest / (size * ridge))

    low, high = 0.0, 1.0
    while allowed(high):
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if allowed(middle) else (low, middle)
    return low
