"""Two minima: a model that is right in value at every data point and wrong about the world (card 04, rung 0 A)."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from toykit.control import squared_error, value_aware, value_gradient_weighted
from toykit.lessons.base import Results

METHODS = ("MSE", "IterVAML", "VaGraM")
GOAL, NEW_GOAL = 1.0, -0.5
TRUTH = torch.tensor([0.0, 0.8, 0.5], dtype=torch.float64)  # x' = t0 + t1 x + t2 u
MIRROR = torch.tensor(
    [2 * GOAL, -0.8, -0.5], dtype=torch.float64
)  # 2 GOAL - x': as far from the goal, on the other side
RATES = ((2000, 0.02), (1000, 0.01), (1000, 0.001))  # of Adam: how many steps at which learning rate
STARTS = 40
HIT = 1e-2

X = torch.linspace(-2, 2, 9, dtype=torch.float64).repeat_interleave(3)
U = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64).repeat(9)
INPUTS = torch.stack([torch.ones_like(X), X, U], -1)  # [27, 3]


def value(states: Tensor, goal: float = GOAL) -> Tensor:
    """V(x) = -(x - goal)^2 of states [..., 1]."""
    return -(states[..., 0] - goal).square()


def predictions(models: Tensor) -> Tensor:
    """Next states [..., 27, 1] of models [..., 3] at the 27 data points."""
    return (models @ INPUTS.mT)[..., None]


NEXT = predictions(TRUTH)
GRADIENT = -2 * (NEXT - GOAL)  # of the value at the observed next states


def losses(models: Tensor) -> Tensor:
    """Mean losses [3, ...] over the data points of models [3, ..., 3]: the first ones by the first of METHODS."""
    plain, aware, weighted = predictions(models)
    each = (
        squared_error(plain, NEXT),
        value_aware(value, aware, NEXT),
        value_gradient_weighted(weighted, NEXT, GRADIENT.expand_as(weighted)),
    )
    return torch.stack(each).mean(-1)


def descend(starts: Tensor) -> dict[str, Tensor]:
    """Where Adam ends on each loss from the same `starts` [S, 3]: models [S, 3]."""
    models = starts.repeat(len(METHODS), 1, 1).requires_grad_()
    optimizer = torch.optim.Adam([models])
    for steps, lr in RATES:
        optimizer.param_groups[0]["lr"] = lr
        for _ in range(steps):
            (models.grad,) = torch.autograd.grad(losses(models).sum(), models)
            optimizer.step()
    return dict(zip(METHODS, models.detach(), strict=True))


def hits(models: Tensor, at: Tensor) -> Tensor:
    """bool [S]: whether no number of a model [S, 3] is HIT or more from those of `at` [3]."""
    return (models - at).abs().amax(-1) < HIT


def run() -> Results:
    """The losses at both minima, what the mirror does when the goal moves, and where descents end."""
    starts = torch.tensor(np.stack([np.random.default_rng(k).normal(size=3) for k in range(STARTS)]))
    ends = descend(starts)
    minima = {"truth": TRUTH, "mirror": MIRROR}
    return {
        "losses": {name: _named(losses(at.expand(3, 3))) for name, at in minima.items()},
        "gradients": {name: _named(_slopes(at)) for name, at in minima.items()},
        "curvature": _named(_least_curvatures(TRUTH)),
        "ends": {m: {name: hits(found, at).tolist() for name, at in minima.items()} for m, found in ends.items()},
        "moved": moved(),
    }


def moved() -> Results:
    """The goal has moved: the models' squared value error, and the control that each takes for best at x = 0.7."""
    error = value_aware(partial(value, goal=NEW_GOAL), predictions(MIRROR), NEXT).mean()
    controls = {
        name: ((NEW_GOAL - t0 - 0.7 * t1) / t2).item() for name, (t0, t1, t2) in (("truth", TRUTH), ("mirror", MIRROR))
    }
    return {"value_error": error.item(), "controls": controls}


def _named(values: Tensor) -> dict[str, float]:
    return dict(zip(METHODS, values.tolist(), strict=True))


def _slopes(at: Tensor) -> Tensor:
    """The largest part of each loss's gradient [3]."""
    models = at.repeat(3, 1).requires_grad_()
    (slope,) = torch.autograd.grad(losses(models).sum(), models)
    return slope.abs().amax(-1)


def _least_curvatures(at: Tensor) -> Tensor:
    """The least eigenvalue of each loss's Hessian [3]: above 0 for a quadratic loss, its minimum is the only one."""
    hessian = torch.autograd.functional.jacobian(
        lambda x: torch.autograd.functional.jacobian(lambda y: losses(y.expand(3, 3)), x, create_graph=True), at
    )
    return torch.linalg.eigvalsh(hessian)[:, 0]
