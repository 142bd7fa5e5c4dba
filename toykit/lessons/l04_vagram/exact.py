"""Lesson 04 on the exact rung: identities of the four losses, two minima, and control with too small a model."""

from __future__ import annotations

import torch
from torch import Tensor

from toykit.control import Quadratic, fit_low_rank, squared_error, taylor, value_aware, value_gradient_weighted
from toykit.lessons.base import Results
from toykit.lessons.l04_vagram import linear, mirror


def run(seeds: tuple[int, ...] = (0, 1, 2, 3, 4)) -> Results:
    """All exact results of the lesson. The seeds draw the linear systems; `seeds[0]` also the random predictions."""
    return {
        "identities": identities(seeds[0]),
        "mirror": mirror.run(),
        "linear": linear.run(seeds),
    }


def identities(seed: int) -> Results:
    """What holds of the losses for every prediction, next state and value gradient."""
    draw = torch.Generator().manual_seed(seed)
    made, observed, gradient = normal(draw, 3, 5000, 6)
    return {
        "linear_value": linear_value(made, observed, gradient[0]),
        "bound": bound(made, observed, gradient),
        "constant": constant(made, observed, seed),
        "turned": turned(made, observed, gradient[0]),
    }


def linear_value(made: Tensor, observed: Tensor, slope: Tensor) -> float:
    """C1: the largest relative difference of IterVAML and Taylor for V(s) = slope . s + 3."""
    aware = value_aware(lambda s: s @ slope + 3, made, observed)
    return relative(aware, taylor(made, observed, slope.expand_as(made)))


def bound(made: Tensor, observed: Tensor, gradient: Tensor) -> Results:
    """C2: Taylor over d times VaGraM, at random and where all g_i e_i are equal, for states of 1 to 6 dimensions."""
    ratios, equal = [], []
    for d in range(1, made.shape[1] + 1):
        f, s, g = made[:, :d], observed[:, :d], gradient[:, :d]
        ratios.append((taylor(f, s, g) / (d * value_gradient_weighted(f, s, g))).max().item())
        same = 1 / (f - s)
        equal.append(relative(taylor(f, s, same), d * value_gradient_weighted(f, s, same)))
    return {"largest": max(ratios), "at_equality": max(equal)}


def constant(made: Tensor, observed: Tensor, seed: int, size: float = 0.7) -> Results:
    """C3: VaGraM against c times MSE for g_i = +-sqrt(c), in value, and in the model of rank 2 that each fits."""
    gradient = size * torch.sign(made - 0.3)
    loss = relative(value_gradient_weighted(made, observed, gradient), size**2 * squared_error(made, observed))
    data = linear.Data.draw(seed, linear.DISTRACTORS, linear.STD)
    plain, scaled = (
        fit_low_rank(
            data.inputs, data.after, c * torch.ones_like(data.after), linear.RANK, torch.Generator().manual_seed(0)
        )
        for c in (1.0, size**2)
    )
    return {"loss": loss, "minimiser": (plain - scaled).abs().max().item()}


def turned(made: Tensor, observed: Tensor, slope: Tensor) -> dict[str, float]:
    """How much each loss changes, relatively, where the state is written in coordinates turned at random."""
    q, root = torch.linalg.qr(normal(torch.Generator().manual_seed(1), len(slope), len(slope)))
    values = [Quadratic(x @ x.mT) for x in (q @ root, root)]  # the same function of the turned states
    states, gradient = (made, observed), slope.expand_as(made)
    again = [s @ q.mT for s in (*states, gradient)]
    return {
        "MSE": relative(squared_error(*again[:2]), squared_error(*states)),
        "IterVAML": relative(value_aware(values[0], *again[:2]), value_aware(values[1], *states)),
        "Taylor": relative(taylor(*again), taylor(*states, gradient)),
        "VaGraM": relative(value_gradient_weighted(*again), value_gradient_weighted(*states, gradient)),
    }


def relative(a: Tensor, b: Tensor) -> float:
    """The largest difference as a share of the second, or of its mean where that is larger."""
    return ((a - b).abs() / b.abs().clamp(min=b.abs().mean().item())).max().item()


def normal(draw: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=draw, dtype=torch.float64)
