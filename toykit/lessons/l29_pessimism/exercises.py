"""The exercises of lesson 29, with the mistakes that they know."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toykit.exercises import Case, Exercise, Mistake, register


def lower_bounds(wins: Tensor, pulls: Tensor, delta: float) -> Tensor:
    """Lower bounds [A] of arms with so many wins and pulls: mean less sqrt(log(2 A / delta) / (2 n)), -1 untried."""
    n = pulls.clamp(min=1.0)
    return torch.where(pulls > 0, wins / n - _width(n, len(pulls), delta), -1.0)


def _width(n: Tensor, arms: int, delta: float, inside: float = 0.5) -> Tensor:
    return (inside * math.log(2 * arms / delta) / n).sqrt()


def backup(law: Tensor, rewards: Tensor, bonus: Tensor, discount: float, v: Tensor) -> Tensor:
    """One round of VI-LCB's values [S]."""
    q = rewards - bonus + discount * (law * v).sum(-1)
    return torch.maximum(q.amax(-1), v)


def _bandit(wins: tuple[float, ...], pulls: tuple[float, ...], delta: float) -> tuple[Tensor, Tensor, float]:
    return torch.tensor(wins, dtype=torch.float64), torch.tensor(pulls, dtype=torch.float64), delta


def _tables(seed: int, height: float) -> tuple[Tensor, Tensor, Tensor, float, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    law = torch.rand(4, 3, 4, generator=draw, dtype=torch.float64)
    rewards, bonus = torch.rand(2, 4, 3, generator=draw, dtype=torch.float64)
    v = height * torch.rand(4, generator=draw, dtype=torch.float64)
    return law / law.sum(-1, keepdim=True), rewards, bonus, 0.9, v


PREDICT = register(
    Exercise(
        name="29.predict",
        reference=(1, 2, 3),
        mistakes=(
            Mistake(
                "Nearly expert: a bad arm with two pulls has won both in 9 % of the logs, however long they are.",
                (2, 2, 3),
            ),
            Mistake(
                "Uniform data: both arms are pulled equally often, and which was pulled more says nothing.",
                (1, 1, 3),
            ),
            Mistake("Each of the other two fails on one log.", (1, 2, 2)),
            Mistake("Each of the other two fails on one of the logs.", (1, 2, 1)),
        ),
        reason="LCB comes second on each of the two logs, and is the only one that fails on neither.",
    )
)

BOUNDS = register(
    Exercise(
        name="29.ex1",
        reference=lower_bounds,
        cases=(
            Case(_bandit((58.8, 2), (98, 2), 0.01), "the card's two arms"),
            Case(_bandit((3, 0, 7), (4, 1, 9), 0.1), "three arms"),
            Case(_bandit((5, 0), (8, 0), 0.05), "an arm that was never tried"),
        ),
        mistakes=(
            Mistake(
                "That is optimism: for data that cannot grow, doubt must count against an arm.",
                lambda w, n, d: torch.where(
                    n > 0, w / n.clamp(min=1.0) + _width(n.clamp(min=1.0), len(n), d), torch.ones_like(n)
                ),
            ),
            Mistake(
                "The bound must hold for all arms at once: the number of arms belongs into the logarithm.",
                lambda w, n, d: torch.where(n > 0, w / n.clamp(min=1.0) - _width(n.clamp(min=1.0), 1, d), -1.0),
            ),
            Mistake(
                "An arm that was never tried has mean 0 and width 1: its bound is -1.",
                lambda w, n, d: w / n.clamp(min=1.0) - _width(n.clamp(min=1.0), len(n), d),
            ),
            Mistake(
                "0 / 0 is no number: an arm that was never tried has the bound -1.",
                lambda w, n, d: w / n - _width(n, len(n), d),
            ),
            Mistake(
                "Hoeffding's bound for rewards from 0 to 1 has 2 n under the root.",
                lambda w, n, d: torch.where(
                    n > 0, w / n.clamp(min=1.0) - _width(n.clamp(min=1.0), len(n), d, inside=1.0), -1.0
                ),
            ),
        ),
        reason="In toykit it is `lower_bounds`, with the same `bonus` that UCRL2 adds.",
    )
)

WHO_WINS = register(
    Exercise(
        name="29.ex2",
        reference=(0.6 - math.sqrt(math.log(400) / 196), 1 - math.sqrt(math.log(400) / 4)),
        tolerance=2e-3,
        mistakes=(
            Mistake(
                "These are upper bounds.", (0.6 + math.sqrt(math.log(400) / 196), 1 + math.sqrt(math.log(400) / 4))
            ),
            Mistake(
                "Each arm has its own number of pulls.",
                (0.6 - math.sqrt(math.log(400) / 200), 1 - math.sqrt(math.log(400) / 200)),
            ),
            Mistake(
                "The logarithm is of 2 |A| / δ = 400, for two arms.",
                (0.6 - math.sqrt(math.log(200) / 196), 1 - math.sqrt(math.log(200) / 4)),
            ),
        ),
        reason="0.425 against -0.224: LCB takes arm 1. The empirical rule takes arm 2, after two lucky pulls.",
    )
)

BACKUP = register(
    Exercise(
        name="29.ex3",
        reference=backup,
        cases=(
            Case(_tables(0, 0.0), "the first round"),
            Case(_tables(1, 8.0), "a round in which some values would fall"),
        ),
        mistakes=(
            Mistake(
                "Values must not fall: where the new one is lower, VI-LCB keeps the old one, which is a bound too.",
                lambda p, r, b, g, v: (r - b + g * (p * v).sum(-1)).amax(-1),
            ),
            Mistake(
                "The penalty belongs to an action, and is taken off before the best one is chosen.",
                lambda p, r, b, g, v: torch.maximum((r + g * (p * v).sum(-1)).amax(-1) - b.amax(-1), v),
            ),
            Mistake(
                "Added, it is optimism: unknown actions win.",
                lambda p, r, b, g, v: torch.maximum((r + b + g * (p * v).sum(-1)).amax(-1), v),
            ),
        ),
        reason="Q = r - b + γ P V, the best of it, and never below what was there.",
    )
)
