"""Closed forms of the model losses for a linear model of a linear-Gaussian system and a quadratic value function."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from toykit._checks import shape


@dataclass(frozen=True)
class ModelLosses:
    """Expected losses of a model, as `toykit.control.model_losses` defines them for one transition."""

    squared_error: float
    taylor: float
    value_gradient_weighted: float
    value_aware: float


def expected_losses(model: Tensor, truth: Tensor, inputs: Tensor, noise: Tensor, P: Tensor) -> ModelLosses:
    """The losses of f = model phi for s' = truth phi + w and V(s) = -s'P s, each a polynomial of Gaussian moments.

    model, truth  [d, p]: next states from inputs phi [p], the state and the control together
    inputs        covariance [p, p] of phi, which has mean 0
    noise         covariance [d, d] of w, which has mean 0 and is independent of phi
    P             [d, d], symmetric

    With e = f - s' and g = -2 P s'. Raises ValueError for shapes that do not fit.
    Source: Isserlis (1918) for the fourth moments.
    """
    d, p = truth.shape
    shape("model", model, (d, p))
    shape("inputs", inputs, (p, p))
    shape("noise", noise, (d, d))
    shape("P", P, (d, d))
    gap = model - truth
    error = gap @ inputs @ gap.mT + noise  # E[e e']
    state = truth @ inputs @ truth.mT + noise  # E[s' s'']
    both = gap @ inputs @ truth.mT - noise  # E[e s'']
    predicted = model @ inputs @ model.mT  # E[f f']
    cross = model @ inputs @ truth.mT  # E[f s'']

    pe, ps, pc = P @ error, P @ state, P @ both
    bilinear = pc.trace().square() + (pc @ pc).trace() + (pe @ ps).trace()  # E[(s''P e)^2]
    slope = 4 * P @ state @ P  # E[g g']
    with_error = -2 * both @ P  # E[e g']
    weighted = (slope.diagonal() * error.diagonal() + 2 * with_error.diagonal().square()).sum()
    mean = (P * (predicted - state)).sum()  # E[f'P f - s''P s']
    pf = P @ predicted
    spread = 2 * ((pf @ pf).trace() + (ps @ ps).trace() - 2 * (P @ cross @ P @ cross.mT).trace())
    return ModelLosses(
        squared_error=error.trace().item(),
        taylor=4 * bilinear.item(),
        value_gradient_weighted=weighted.item(),
        value_aware=(mean.square() + spread).item(),
    )
