"""The exercises of lesson 04, with the mistakes that they know."""

from __future__ import annotations

import torch
from torch import Tensor

from toykit.exercises import Case, Exercise, Mistake, register


def weighted(prediction: Tensor, target: Tensor, gradients: Tensor) -> Tensor:
    """VaGraM [N] of predictions and next states [N, d] and the gradients [K, N, d] of K value functions."""
    return (gradients.square() * (prediction - target).square()).sum(-1).mean(0)


def normalised(prediction: Tensor, target: Tensor, gradient: Tensor, std: Tensor) -> Tensor:
    """VaGraM [N] of states [N, d] that were divided by `std` [d], from the gradient [N, d] by the states themselves."""
    return ((gradient * std).square() * (prediction - target).square()).sum(-1)


def _drawn(seed: int, *shapes: tuple[int, ...]) -> tuple[Tensor, ...]:
    draw = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(*shape, generator=draw, dtype=torch.float64) for shape in shapes)


def _opposite(seed: int) -> tuple[Tensor, ...]:
    """Two critics whose gradients cancel."""
    made, target, gradient = _drawn(seed, (4, 3), (4, 3), (1, 4, 3))
    return made, target, torch.cat([gradient, -gradient])


PREDICT = register(
    Exercise(
        name="04.predict",
        reference="IterVAML",
        mistakes=(
            Mistake("Its loss is 0 at s′ alone: a circle of errors costs the same all around.", "MSE"),
            Mistake("Where no part of ∇V is 0, its loss is 0 at s′ alone: it is centred on what was seen.", "VaGraM"),
        ),
        reason="All states with the value of s′ have loss 0: a whole curve in the plane.",
    )
)

LOSS = register(
    Exercise(
        name="04.ex1",
        reference=weighted,
        cases=(
            Case(_drawn(0, (5, 3), (5, 3), (1, 5, 3)), "one value function"),
            Case(_drawn(1, (6, 2), (6, 2), (3, 6, 2)), "three value functions"),
            Case(_opposite(2), "two value functions that pull in opposite directions"),
        ),
        mistakes=(
            Mistake(
                "This is the Taylor loss (g · e)²: errors of several dimensions can cancel. Square each product first.",
                lambda f, s, g: (g * (f - s)).sum(-1).square().mean(0),
            ),
            Mistake(
                "The weight is the gradient squared.", lambda f, s, g: (g.abs() * (f - s).square()).sum(-1).mean(0)
            ),
            Mistake(
                "Take the mean of the losses, not the loss of the mean gradient: opposite critics would cancel.",
                lambda f, s, g: (g.mean(0) * (f - s)).square().sum(-1),
            ),
            Mistake(
                "The losses of several value functions are averaged, not summed.",
                lambda f, s, g: (g * (f - s)).square().sum((0, -1)),
            ),
        ),
        reason="A weight for each dimension and sample, centred on the state that was seen.",
    )
)

WHY = register(
    Exercise(
        name="04.ex2",
        reference="b",
        mistakes=(
            Mistake("Control with it is optimal for every seed, rank and loudness that you can set: no luck.", "a"),
            Mistake("Both have rank 2 and saw the same 200 samples.", "c"),
        ),
        reason="Two directions suffice for what the value depends on; MSE spent them on the two loudest distractors.",
    )
)

UNITS = register(
    Exercise(
        name="04.ex3",
        reference=normalised,
        cases=(
            Case((*_drawn(3, (5, 2), (5, 2), (5, 2)), torch.tensor([2.0, 0.1], dtype=torch.float64)), "two dimensions"),
            Case((*_drawn(4, (4, 3), (4, 3), (4, 3)), torch.tensor([3.0, 1.0, 0.5]).double()), "three dimensions"),
        ),
        mistakes=(
            Mistake(
                "The error is in units of std and the gradient is not: a dimension of small spread counts too much.",
                lambda f, s, g, std: (g * (f - s)).square().sum(-1),
            ),
            Mistake(
                "The other way round: with z = s / std, dV/dz = std dV/ds.",
                lambda f, s, g, std: (g / std * (f - s)).square().sum(-1),
            ),
            Mistake(
                "The gradient is multiplied by std before it is squared.",
                lambda f, s, g, std: (g.square() * std * (f - s).square()).sum(-1),
            ),
        ),
        reason="Gradient and error must be in the same coordinates; then the loss is the one of the states themselves.",
    )
)
