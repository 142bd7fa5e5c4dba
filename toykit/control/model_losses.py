"""Losses of a world model, one number a transition: maximum likelihood, value-aware, weighted by the value gradient.

A prediction f and the observed next state s' are [..., d], the gradient g of the value function at s' is [..., d] or,
for K value functions, [K, ..., d]; e = f - s'. Losses are [...]: the mean over transitions is the caller's, so that a
weight a transition can be applied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

ValueFunction = Callable[[Tensor], Tensor]
"""V [...] of states [..., d]."""


def squared_error(prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """sum_i weight_i e_i^2 [...]; `weight` [..., d] or [d] holds one weight a dimension (None: 1 each)."""
    square = (prediction - target).square()
    return (square if weight is None else weight * square).sum(-1)


def gaussian_nll(prediction: Tensor, log_var: Tensor, target: Tensor) -> Tensor:
    """sum_i e_i^2 exp(-log_var_i) + log_var_i [...]: twice the negative log-likelihood in nats, without its constant.

    The maximum-likelihood baseline of the value-gradient code; `log_var` [..., d] is predicted too.
    """
    return ((prediction - target).square() * (-log_var).exp() + log_var).sum(-1)


def value_aware(values: ValueFunction | Sequence[ValueFunction], prediction: Tensor, target: Tensor) -> Tensor:
    """(V(f) - V(s'))^2 [...], the mean over value functions where there are several.

    Value functions are constants here: their parameters get gradients only from a caller that asks for them. It is 0
    wherever V(f) = V(s'), so it has minima that are not the truth. Source: IterVAML (Farahmand 2018); VaGraM, eq. 3.
    """
    each = values if isinstance(values, Sequence) else [values]
    with torch.no_grad():
        observed = [v(target) for v in each]
    return torch.stack([(v(prediction) - at).square() for v, at in zip(each, observed, strict=True)]).mean(0)


def taylor(prediction: Tensor, target: Tensor, gradient: Tensor) -> Tensor:
    """(g . e)^2 [...]: `value_aware` for V to first order at s'; at most d times `value_gradient_weighted`.

    Several gradients [K, ..., d] give the mean of their losses, not the loss of their mean. Source: VaGraM, eq. 6.
    """
    loss = (gradient * (prediction - target)).sum(-1).square()
    return _over_values(loss, prediction)


def value_gradient_weighted(prediction: Tensor, target: Tensor, gradient: Tensor) -> Tensor:
    """sum_i g_i^2 e_i^2 [...]: the squared error with a weight for each dimension, centred on s'.

    Several gradients [K, ..., d] give the mean of their losses. Source: VaGraM (ICLR 2022), eq. 7.
    """
    return _over_values(squared_error(prediction, target, gradient.square()), prediction)


def clip_norms(gradient: Tensor, quantile: float = 0.95, free: float = 0.0) -> Tensor:
    """Gradients [..., N, d] whose norm exceeds the batch's `quantile` of norms, scaled down to it.

    free  norms below this are left alone whatever the quantile. The paper clips with 0; the code it was published with
          used 100000, which in effect is no clipping.

    Raises ValueError for a quantile outside (0, 1] and a negative `free`.
    """
    if not 0 < quantile <= 1:
        raise ValueError(f"quantile must be above 0 and at most 1, got {quantile}")
    if not free >= 0:
        raise ValueError(f"free must be >= 0, got {free}")
    norms = gradient.norm(dim=-1, keepdim=True)
    bound = norms.quantile(quantile, dim=-2, keepdim=True)
    left = (norms <= bound) | (norms < free)
    return torch.where(left, gradient, gradient * (bound / torch.where(left, 1.0, norms)))


def unit_mean(weights: Tensor) -> Tensor:
    """`weights` divided by their mean: a weighted loss then has the scale of the plain one.

    Raises ValueError for weights that are negative, not finite, or all 0.
    """
    mean = weights.mean()
    if not bool((weights >= 0).all() & weights.isfinite().all() & (mean > 0)):
        raise ValueError(f"weights must be >= 0, finite and not all 0, got {weights.min()} to {weights.max()}")
    return weights / mean


def _over_values(loss: Tensor, prediction: Tensor) -> Tensor:
    """[...] from [...] or from [K, ...], the mean over K."""
    return loss.mean(0) if loss.dim() == prediction.dim() else loss
