"""The exercises of lesson 23, with the mistakes that they know."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toykit.exercises import Case, Exercise, Mistake, register


def doubt(x: Tensor, precision: Tensor, sigma: float) -> Tensor:
    """E |x . (w - w')| [n] of two draws from N(., sigma^2 precision^-1), for differences x [n, D]."""
    return 2 * sigma * _square(x, torch.linalg.inv(precision)).sqrt() / math.sqrt(math.pi)


def _square(x: Tensor, matrix: Tensor) -> Tensor:
    return ((x @ matrix) * x).sum(-1)


def learn(precision: Tensor, gram: Tensor, x: Tensor, phi: Tensor, asked: Tensor) -> Tensor:
    """Both matrices [2, D, D] after n episodes: differences x and features phi [n, D], asked bool [n]."""
    answered = x[asked]
    return torch.stack([precision + answered.mT @ answered, gram + phi.mT @ phi])


def _learned(seed: int, asked: tuple[bool, ...]) -> tuple[Tensor, ...]:
    draw = torch.Generator().manual_seed(seed)
    x, phi = torch.randn(2, len(asked), 3, generator=draw, dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64)
    return eye, eye.clone(), x, phi, torch.tensor(asked)


def _pairs(seed: int, sigma: float, precision: Tensor) -> tuple[Tensor, Tensor, float]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(5, 2, generator=draw, dtype=torch.float64), precision, sigma


CORRELATED = torch.tensor([[2.0, 0.3], [0.3, 1.0]], dtype=torch.float64)

PREDICT = register(
    Exercise(
        name="23.predict",
        reference="b",
        mistakes=(
            Mistake("Most of those answers were known already: four times fewer questions cost next to nothing.", "a"),
            Mistake("That costs too, about four times the regret; one of the others costs more.", "c"),
        ),
        reason="A learner that believes its fit plans for it, sees the same trajectories again and has nothing to ask.",
    )
)

STATISTIC = register(
    Exercise(
        name="23.ex1",
        reference=doubt,
        cases=(
            Case(_pairs(0, 1.0, torch.eye(2, dtype=torch.float64)), "nothing known, sigma 1"),
            Case(_pairs(1, 0.7, CORRELATED), "correlated features, sigma 0.7"),
            Case((torch.zeros(2, 2, dtype=torch.float64), CORRELATED, 0.7), "two trajectories of equal features"),
        ),
        mistakes=(
            Mistake(
                "There are two draws, and their variances add: the deviation has a factor sqrt(2) more.",
                lambda x, s, sigma: sigma * _square(x, torch.linalg.inv(s)).sqrt() * math.sqrt(2 / math.pi),
            ),
            Mistake(
                "That is the deviation of x . (w - w'). The mean of its absolute value is sqrt(2 / pi) of it.",
                lambda x, s, sigma: sigma * (2 * _square(x, torch.linalg.inv(s))).sqrt(),
            ),
            Mistake(
                "The precision grows with what is known: doubt is measured by its inverse.",
                lambda x, s, sigma: 2 * sigma * _square(x, s).sqrt() / math.sqrt(math.pi),
            ),
            Mistake(
                "Take the root: the variance is in squared units.",
                lambda x, s, sigma: 2 * sigma * _square(x, torch.linalg.inv(s)) / math.sqrt(math.pi),
            ),
            Mistake(
                "The draws are correlated: the diagonal of the inverse is not enough.",
                lambda x, s, sigma: (
                    2 * sigma * (x.square() @ torch.linalg.inv(s).diagonal()).sqrt() / math.sqrt(math.pi)
                ),
            ),
        ),
        reason="x . (w - w') is normal with variance 2 sigma^2 |x|^2; its absolute value has a mean in closed form.",
    )
)

NEVER_AGAIN = register(
    Exercise(
        name="23.ex2",
        reference=16 / math.pi,
        tolerance=0.01,
        mistakes=(
            Mistake("That counts one draw: with two the variance is twice as large.", 8 / math.pi),
            Mistake("Square both sides: n stands under a root.", 4 / math.sqrt(math.pi)),
            Mistake("2 / sqrt(pi n) <= 1/2: the 1/2 is squared too.", 4 / math.pi),
        ),
        reason="2 / sqrt(pi n) <= 1/2, so n >= 16 / pi = 5.09.",
    )
)

DATA = register(
    Exercise(
        name="23.ex3",
        reference=learn,
        cases=(
            Case(_learned(0, (True, False, True, False)), "two of four pairs asked"),
            Case(_learned(1, (False, False, False)), "none asked"),
        ),
        mistakes=(
            Mistake(
                "A pair that was not asked taught nothing about the reward: count answered pairs alone.",
                lambda s, g, x, phi, asked: torch.stack([s + x.mT @ x, g + phi.mT @ phi]),
            ),
            Mistake(
                "What was not asked was still seen: its transitions count.",
                lambda s, g, x, phi, asked: torch.stack([s + x[asked].mT @ x[asked], g + phi[asked].mT @ phi[asked]]),
            ),
            Mistake(
                "The wrong way round: answers teach the reward, all trajectories the transitions.",
                lambda s, g, x, phi, asked: torch.stack([s + x.mT @ x, g + phi[asked].mT @ phi[asked]]),
            ),
        ),
        reason="The reward is learned from answers, the transitions from all that was seen.",
    )
)
