"""The exercises of lesson 26, with the mistakes that they know."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toykit.exercises import Case, Exercise, Mistake, register


def filtered(rewards: Tensor, bound: float) -> Tensor:
    """[n]: standardised rewards, 0 beyond the bound and where all are equal; rounding at the bound decides nothing."""
    centred = rewards - rewards.mean()
    z = centred / rewards.std(correction=0).clamp(min=1e-12)
    return z.where(z.abs() <= bound + 1e-9, 0.0)


def reward(result: Tensor, consistency: Tensor, layout: Tensor) -> Tensor:
    """[n]: R1-Reward's, from results 0 or 1, consistency -1, 0 or 1, and layout 0 or 1."""
    return result * (1 + 0.5 * consistency) + 0.5 * layout


def _z(rewards: Tensor, correction: int = 0) -> Tensor:
    return (rewards - rewards.mean()) / rewards.std(correction=correction).clamp(min=1e-12)


def _released(rewards: Tensor, bound: float) -> Tensor:
    z, mean = _z(rewards), rewards.mean()
    return z.where((z > mean - bound) & (z < mean + bound), 0.0)


def _nan(rewards: Tensor, bound: float) -> Tensor:
    z = (rewards - rewards.mean()) / rewards.std(correction=0)
    return z.where(~(z.abs() > bound + 1e-9), 0.0)


def _again(rewards: Tensor, bound: float) -> Tensor:
    """Statistics of what is left."""
    left = rewards[_z(rewards).abs() <= bound + 1e-9]
    z = (rewards - left.mean()) / left.std(correction=0).clamp(min=1e-12)
    return z.where(_z(rewards).abs() <= bound + 1e-9, 0.0)


def _verdicts(right: int, wrong: int) -> tuple[Tensor, float]:
    return torch.tensor([2.0] * right + [0.5] * wrong, dtype=torch.float64), 3.0


def _graded(seed: int) -> tuple[Tensor, float]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(60, generator=draw, dtype=torch.float64) ** 3, 2.0


def _judged(seed: int, n: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    result, layout = torch.randint(0, 2, (2, n), generator=draw).double()
    return result, torch.randint(-1, 2, (n,), generator=draw).double(), layout


PREDICT = register(
    Exercise(
        name="26.predict",
        reference=0.1,
        tolerance=5e-4,
        mistakes=(
            Mistake("Three in a thousand lie beyond 3 sigma of a normal law. Two rewards are no normal law.", 0.003),
            Mistake("Beyond 3 sigma of any law lies at most a ninth (Chebyshev). For two rewards it is less.", 1 / 9),
            Mistake("With two rewards one class is always farther out; it must be 3 deviations out.", 0.5),
            Mistake("That one is removed, and so are many larger shares.", 1 / 256),
        ),
        reason="A class of share f lies sqrt((1 - f) / f) deviations out: 3 at one tenth, whatever the two rewards.",
    )
)

FILTER = register(
    Exercise(
        name="26.ex1",
        reference=filtered,
        cases=(
            Case(_verdicts(115, 13), "a tenth and more is wrong"),
            Case(_verdicts(255, 1), "one is wrong"),
            Case(_graded(0), "graded rewards"),
            Case(_verdicts(90, 10), "a tenth is wrong"),
            Case(_verdicts(0, 8), "all are equal"),
        ),
        mistakes=(
            Mistake("Clipped, an outlier still pushes with 3; the filter removes it.", lambda r, b: _z(r).clamp(-b, b)),
            Mistake(
                "That is the released code's band, about the mean of rewards that are not standardised.", _released
            ),
            Mistake(
                "The population's deviation is meant; the sample's (correction 1) is a little larger.",
                lambda r, b: _z(r, 1).where(_z(r, 1).abs() <= b + 1e-9, 0.0),
            ),
            Mistake("Mean and deviation are of the whole batch, not of what the filter leaves.", _again),
            Mistake(
                "At a tenth |z| is 3, and rounding makes it a little more or less: allow 1e-9.",
                lambda r, b: _z(r).where(_z(r).abs() < b - 1e-12, 0.0),
            ),
            Mistake(
                "Where all rewards are equal the deviation is 0, and 0 / 0 is NaN.",
                _nan,
            ),
        ),
        reason="In toykit it is Advantage('batch', 'batch', ddof=0, eps=0) and then SigmaFilter(3).",
    )
)


SURVIVORS = register(
    Exercise(
        name="26.ex2",
        reference=(0.0, -math.sqrt(12 / 116)),
        tolerance=1e-3,
        mistakes=(
            Mistake("The right ones lie sqrt(116 / 12) = 3.109 out: beyond 3.", (math.sqrt(116 / 12), -0.3216)),
            Mistake("The filter sets to 0; it does not clip to 3.", (3.0, -0.3216)),
            Mistake("Only the right ones are beyond 3; the wrong ones stay.", (0.0, 0.0)),
            Mistake("That is the size; wrong verdicts lie below the mean.", (0.0, 0.3216)),
        ),
        reason="The batch only pushes wrong answers down: the step is 12 / 128 of the one without the filter.",
    )
)

REWARD = register(
    Exercise(
        name="26.ex3",
        reference=reward,
        cases=(Case(_judged(0), "twelve completions"), Case(_judged(1), "twelve others")),
        mistakes=(
            Mistake(
                "Added, a wrong verdict that agrees with a wrong thought is paid like a right one that does not.",
                lambda r, c, f: r + 0.5 * c + 0.5 * f,
            ),
            Mistake("The format is paid whatever the result.", lambda r, c, f: r * (1 + 0.5 * c + 0.5 * f)),
            Mistake(
                "A contradiction costs: consistency is -1 there, not 0.",
                lambda r, c, f: r * (1 + 0.5 * c.clamp(min=0)) + 0.5 * f,
            ),
            Mistake(
                "Consistency alone is gated; a right result is worth 1 without it.",
                lambda r, c, f: r * 0.5 * c + 0.5 * f,
            ),
        ),
        reason="A right verdict earns 2, 1.5 or 1 with the format, a wrong one 0.5 whatever the referee says.",
    )
)
