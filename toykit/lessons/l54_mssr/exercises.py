"""The exercises of lesson 54, with the mistakes that they know."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from toykit.exercises import Case, Exercise, Mistake, register


def shape(advantage: Tensor, law: Tensor, alpha: float, kappa: float) -> Tensor:
    """Shaped advantages [n] of tokens that were drawn from laws [n, V]."""
    h = -torch.special.xlogy(law, law).sum(-1)
    return advantage + torch.minimum(alpha * h, advantage.abs() / kappa)


def _shape_by(more: Callable[[Tensor, Tensor, float, float], Tensor]) -> Callable[..., Tensor]:
    def wrong(advantage: Tensor, law: Tensor, alpha: float, kappa: float) -> Tensor:
        return more(advantage, -torch.special.xlogy(law, law).sum(-1), alpha, kappa)

    return wrong


def _laws(seed: int, spread: float) -> tuple[Tensor, Tensor, float, float]:
    draw = torch.Generator().manual_seed(seed)
    advantage = torch.randn(12, generator=draw, dtype=torch.float64)
    return advantage, (spread * torch.randn(12, 5, generator=draw, dtype=torch.float64)).softmax(-1), 0.4, 3.0


def track(ids: list[int], outcomes: list[float], rho: float, prior: float) -> list[float]:
    """r - v of one try after the other, v the value of its prompt before the try."""
    counts: dict[int, tuple[float, float]] = {}
    found = []
    for i, r in zip(ids, outcomes, strict=True):
        a, b = counts.get(i, (prior / 2, prior / 2))
        found.append(r - a / (a + b))
        counts[i] = (rho * a + r, rho * b + 1 - r)
    return found


def _track_after(ids: list[int], outcomes: list[float], rho: float, prior: float) -> list[float]:
    counts: dict[int, tuple[float, float]] = {}
    found = []
    for i, r in zip(ids, outcomes, strict=True):
        a, b = counts.get(i, (prior / 2, prior / 2))
        counts[i] = (a, b) = (rho * a + r, rho * b + 1 - r)
        found.append(r - a / (a + b))
    return found


def _track_fast(ids: list[int], outcomes: list[float], rho: float, prior: float) -> list[float]:
    values: dict[int, float] = {}
    found = []
    for i, r in zip(ids, outcomes, strict=True):
        v = values.get(i, 0.5)
        found.append(r - v)
        values[i] = rho * v + (1 - rho) * r
    return found


PREDICT = register(
    Exercise(
        name="54.predict",
        reference=(0, 1, -1),
        mistakes=(
            Mistake("Where nothing is capped, ψ is the same for all answers: a constant baseline.", (1, 1, -1)),
            Mistake("The cap gives |A|/2: at p = 0.3 a right answer has A = 0.7 and a wrong one -0.3.", (0, -1, 1)),
            Mistake("The cap is larger on the side whose |A| is larger: not the same at 0.3 and 0.7.", (0, 1, 1)),
            Mistake("Only what is the same for all answers drops out; the cap is not.", (0, 0, 0)),
        ),
        reason="Uncapped, ψ drops out; capped, right and wrong get (1 - p)/2 and p/2, a factor of 1 + (1 - 2p)/2.",
    )
)

SHAPE = register(
    Exercise(
        name="54.ex1",
        reference=shape,
        cases=(
            Case(_laws(0, 0.3), "nearly uniform laws"),
            Case(_laws(1, 3.0), "peaked laws"),
            Case((torch.tensor([0.5, -0.5]).double(), torch.eye(2).double(), 0.4, 3.0), "a law with one token alone"),
        ),
        mistakes=(
            Mistake(
                "That makes wrong tokens count more too: what is added is positive on both sides.",
                _shape_by(lambda a, h, alpha, kappa: a + a.sign() * torch.minimum(alpha * h, a.abs() / kappa)),
            ),
            Mistake(
                "Without the cap |A| / κ a small negative advantage becomes positive.",
                _shape_by(lambda a, h, alpha, kappa: a + alpha * h),
            ),
            Mistake(
                "The cap is |A| / κ: a negative A would make it a floor.",
                _shape_by(lambda a, h, alpha, kappa: a + torch.minimum(alpha * h, a / kappa)),
            ),
            Mistake(
                "α stands at H and κ under |A|, not the other way round.",
                _shape_by(lambda a, h, alpha, kappa: a + torch.minimum(kappa * h, a.abs() / alpha)),
            ),
            Mistake(
                "0 log 0 is 0, not NaN: use torch.special.xlogy, or clamp inside the logarithm.",
                lambda a, p, alpha, kappa: a + torch.minimum(alpha * -(p * p.log()).sum(-1), a.abs() / kappa),
            ),
        ),
        reason="In toykit it is EntropyShaping(alpha, kappa, entropy='law').",
    )
)

DERIVE = register(
    Exercise(
        name="54.ex2",
        reference=(-0.8, 0.75),
        tolerance=1e-6,
        mistakes=(
            Mistake("Both are added: a wrong token counts less, -0.8.", (-1.6, 0.75)),
            Mistake("For A = 0.5 the cap |A|/2 = 0.25 is the smaller.", (-0.8, 0.9)),
            Mistake("For A = -1.2 α H = 0.4 is smaller than the cap 0.6.", (-0.6, 0.75)),
        ),
        reason="ψ = min(0.4, 0.6) = 0.4 and min(0.4, 0.25) = 0.25.",
    )
)

TRACK = register(
    Exercise(
        name="54.ex3",
        reference=track,
        cases=(
            Case(([3, 5, 7], [1.0, 0.0, 1.0], 0.875, 8.0), "three prompts, once each"),
            Case(([3, 5, 3, 3, 5, 5, 3], [1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0], 0.9, 8.0), "two prompts, in any order"),
            Case(([0] * 6, [1.0, 1.0, 0.0, 1.0, 1.0, 1.0], 0.8, 2.0), "a short memory and a weak prior"),
        ),
        mistakes=(
            Mistake("v must not know its own outcome: take it before the counts move.", _track_after),
            Mistake(
                "All tries go into one prompt's counts: look them up by the prompt's id.",
                lambda ids, r, rho, prior: track([0] * len(ids), r, rho, prior),
            ),
            Mistake(
                "Each try has counts of its own: the id is the prompt's, not the place in the batch.",
                lambda ids, r, rho, prior: track(list(range(len(ids))), r, rho, prior),
            ),
            Mistake("Older tries are forgotten: ρ is missing.", lambda ids, r, rho, prior: track(ids, r, 1.0, prior)),
            Mistake("A running mean has the weight 1 - ρ at once; counts begin with the prior's weight.", _track_fast),
        ),
        reason="Counts by prompt id, v before the update: it is Tracker('fixed', rho=ρ, normalise=False).",
    )
)
