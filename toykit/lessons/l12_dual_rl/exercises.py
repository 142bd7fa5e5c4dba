"""The exercises of lesson 12, with the mistakes that they know."""

from __future__ import annotations

import torch
from torch import Tensor

from toykit.exercises import Case, Exercise, Mistake, register


def chi_square(x: Tensor, level: float) -> Tensor:
    """The loss [n] of V by chi-square, of x = Q - V [n]: no curve where x <= 0."""
    return level * torch.where(x > 0, x + x**2 / 4, 0.0) - (1 - level) * x


def weights(q: Tensor, v: Tensor, tau: float, most: float) -> Tensor:
    """min(exp(tau (Q - V)), most) [n]."""
    return (tau * (q - v)).exp().clamp(max=most)


def _released(x: Tensor, level: float) -> Tensor:
    return level * (x + x**2 / 4).clamp(min=0.0) - (1 - level) * x


def _conjugate(x: Tensor, level: float) -> Tensor:
    return level * torch.where(x > -2, x + x**2 / 4, -1.0) - (1 - level) * x


def _differences(*x: float) -> tuple[Tensor, float]:
    return torch.tensor(x, dtype=torch.float64), 0.8


def _values(*q: float) -> tuple[Tensor, Tensor, float, float]:
    return torch.tensor(q, dtype=torch.float64), torch.full((len(q),), 0.5, dtype=torch.float64), 3.0, 100.0


PREDICT = register(
    Exercise(
        name="12.predict",
        reference=(10, 7, 10),
        tolerance=0.01,
        mistakes=(
            Mistake("As released the curve rises again below x = -4, and the action of value 0 pulls.", (10, 10, 10)),
            Mistake("An implicit maximum leaves the mean as the level goes to 1.", (5, 5, 5)),
            Mistake("No quantile, and no curve that is 0 below V, goes beyond the largest value.", (12, 12, 12)),
            Mistake("It is the released chi-square that is pulled, not the other two.", (7, 10, 7)),
        ),
        reason="Three losses with one name in the theory: what they do far below V is what differs.",
    )
)

QUANTILE = register(
    Exercise(
        name="12.ex1",
        reference=(4.0, 5 / 6),
        tolerance=1e-3,
        mistakes=(
            Mistake("That is the median: the quantile is (2 · .75 - 1) / .75 = 2/3, and .6 < 2/3 <= .8.", (3.0, 5 / 6)),
            Mistake("The largest value is reached only where the quantile passes .8.", (5.0, 5 / 6)),
            Mistake("The level is not the quantile: solve (2 λ - 1) / λ = .8 for λ.", (4.0, 0.8)),
            Mistake("A quantile of five values is one of them.", (11 / 3, 5 / 6)),
        ),
        reason="2/3 lies between the cumulated .6 and .8, so V = 4; (2 λ - 1) / λ = 4/5 gives λ = 5/6.",
    )
)

LOSS = register(
    Exercise(
        name="12.ex2",
        reference=chi_square,
        cases=(
            Case(_differences(0.5, 2.0, -1.0), "Q near V"),
            Case(_differences(-2.5, -3.9, 1.0), "Q below V by 2 to 4"),
            Case(_differences(-8.0, -20.0, 0.3), "Q far below V"),
        ),
        mistakes=(
            Mistake("Below x = -4 the curve x + x^2 / 4 is above 0 again: that is the released form.", _released),
            Mistake(
                "That is f* itself, which counts from x = -2 on: its V exceeds the largest Q by up to 2.", _conjugate
            ),
            Mistake(
                "The linear term stands for all x, with 1 - level: without it every large V is as good.",
                lambda x, level: level * torch.where(x > 0, x + x**2 / 4, 0.0),
            ),
            Mistake(
                "(1 - level) x is taken off: V is to be small.",
                lambda x, level: level * torch.where(x > 0, x + x**2 / 4, 0.0) + (1 - level) * x,
            ),
        ),
        reason="In toykit it is objectives.ChiSquare(level), and the released form ChiSquare(level, released=True).",
    )
)

WEIGHTS = register(
    Exercise(
        name="12.ex3",
        reference=weights,
        cases=(Case(_values(0.0, 0.5, 1.0), "small advantages"), Case(_values(3.0, 400.0), "large advantages")),
        mistakes=(
            Mistake(
                "The limit is on the weight, not on its exponent: e^100 is no limit.",
                lambda q, v, tau, most: (tau * (q - v)).clamp(max=most).exp(),
            ),
            Mistake("There is no limit.", lambda q, v, tau, most: (tau * (q - v)).exp()),
            Mistake(
                "A token better than V counts more, not less.",
                lambda q, v, tau, most: (tau * (v - q)).exp().clamp(max=most),
            ),
            Mistake(
                "tau multiplies here; a temperature divides.",
                lambda q, v, tau, most: ((q - v) / tau).exp().clamp(max=most),
            ),
        ),
        reason="In toykit it is advantage_weight; with tau = 0 it is behaviour cloning.",
    )
)
