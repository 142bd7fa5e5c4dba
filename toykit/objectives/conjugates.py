"""Convex conjugates of the f-divergences: what a Lagrangian dual puts in the place of D_f."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from toykit._checks import one_of

LOG2 = math.log(2.0)


@dataclass(frozen=True)
class Conjugate:
    """f*(y) = sup_t (t y - f(t)) of the f of a `Divergence`, and its maximiser.

    All are functions of y, elementwise.

    free      the supremum over every t that f is defined for (for tv and chi2_reverse negative t too)
    positive  the supremum over t >= 0; +inf where there is none
    ratio     the t >= 0 that attains `positive`, which is its derivative; +inf where there is none

    `free` and `positive` differ only where the free maximiser is negative: below -1/2 for tv, below -2 for
    chi2_reverse. Source: dual RL (arXiv 2302.08560), section 3 and appendix, with t = d / d^O.
    """

    name: str
    free: Callable[[Tensor], Tensor]
    positive: Callable[[Tensor], Tensor]
    ratio: Callable[[Tensor], Tensor]


def _below(bound: float, y: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """function(y) where y < bound, +inf elsewhere, with no NaN in its gradient."""
    inside = y < bound
    return torch.where(inside, function(torch.where(inside, y, bound - 1.0)), torch.inf)


def _forward_kl(y: Tensor) -> Tensor:
    return _below(0.0, y, lambda y: -1.0 - (-y).log())


def _tv(y: Tensor) -> Tensor:
    return torch.where(y.abs() <= 0.5, y, torch.inf)


def _tv_positive(y: Tensor) -> Tensor:
    return torch.where(y <= 0.5, y.clamp(min=-0.5), torch.inf)


def _tv_ratio(y: Tensor) -> Tensor:
    return torch.where(y <= 0.5, (y >= -0.5).to(y.dtype), torch.inf)


def _js(y: Tensor) -> Tensor:
    return _below(LOG2, y, lambda y: -(2 - y.exp()).log())


def _js_ratio(y: Tensor) -> Tensor:
    return _below(LOG2, y, lambda y: y.exp() / (2 - y.exp()))


def _chi2_forward(y: Tensor) -> Tensor:
    return torch.where(y <= 1, 2 - 2 * (1 - y).clamp(min=0.0).sqrt(), torch.inf)


def _chi2_reverse(y: Tensor) -> Tensor:
    return y.square() / 4 + y


def _chi2_reverse_positive(y: Tensor) -> Tensor:
    return _chi2_reverse(y.clamp(min=-2.0))


def _exp_less_one(y: Tensor) -> Tensor:
    return (y - 1).exp()


CONJUGATES = {
    c.name: c
    for c in (
        Conjugate("forward_kl", _forward_kl, _forward_kl, lambda y: _below(0.0, y, lambda y: -1 / y)),
        Conjugate("reverse_kl", _exp_less_one, _exp_less_one, _exp_less_one),
        Conjugate("tv", _tv, _tv_positive, _tv_ratio),
        Conjugate("js", _js, _js, _js_ratio),
        Conjugate("chi2_forward", _chi2_forward, _chi2_forward, lambda y: _below(1.0, y, lambda y: (1 - y).rsqrt())),
        Conjugate("chi2_reverse", _chi2_reverse, _chi2_reverse_positive, lambda y: (y / 2 + 1).clamp(min=0.0)),
    )
}
"""By the name of the divergence in `DIVERGENCES`."""


def conjugate(name: str) -> Conjugate:
    """The conjugate of the divergence of this name; raises ValueError with the nearest name there is."""
    return CONJUGATES[one_of("divergence", name, CONJUGATES)]
