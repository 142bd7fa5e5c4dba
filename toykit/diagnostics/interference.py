"""Interference: how a step on one prompt changes the success of another that shares its parameters."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def gradient_rows(values: Tensor, parameters: Iterable[Tensor]) -> Tensor:
    """The gradient of each of `values` [n] with respect to all parameters, flattened into rows [n, D].

    The graph of `values` is kept. A parameter that does not matter counts 0.
    """
    n, parameters = values.shape[0], list(parameters)
    eye = torch.eye(n, dtype=values.dtype, device=values.device)
    found = torch.autograd.grad(values, parameters, eye, retain_graph=True, is_grads_batched=True, allow_unused=True)
    rows = [p.new_zeros(n, p.numel()) if g is None else g.flatten(1) for p, g in zip(parameters, found, strict=True)]
    return torch.cat(rows, 1)


def interference_matrix(steps: Tensor, targets: Tensor) -> Tensor:
    """I [n, m]: what prompt x's part of a step of size 1 adds to target x', to first order.

    `steps` [n, D] are the prompts' own terms of the step (the 1/n of a mean included), `targets` [m, D] the
    gradients of what is watched, such as log p_x'. Negative entries off the diagonal are negative interference.
    Source: The Reasoning Boundary Paradox (arXiv 2510.02230), per-step influence.
    """
    return steps @ targets.mT


def linear_interference(logit_steps: Tensor, logit_targets: Tensor, features: Tensor) -> Tensor:
    """I [..., n, n] of a policy with logits z[x] = W features[x], without writing out gradients in W.

    `logit_steps` and `logit_targets` [..., n, V] are gradients in the prompts' logits (1/n included in the first),
    `features` [..., n, d]: I[x, x'] = <step_x, target_x'> <features_x, features_x'>.
    """
    return (logit_steps @ logit_targets.mT) * (features @ features.mT)


def success_gradient(log_p: Tensor, correct: Tensor) -> Tensor:
    """Gradient [..., V] of log p_x in the logits: the law given a right answer, minus the law.

    `log_p` [..., V] are log-probabilities, `correct` bool [..., V]; with one right answer c it is e_c - pi. NaN
    for a prompt that is never solved. Times w(p) / (1 - p) it is the expected step of a group method (see
    `toykit.exact.group_weight`).
    """
    return log_p.masked_fill(~correct, -torch.inf).softmax(-1) - log_p.exp()


def first_order_change(matrix: Tensor, step_size: float) -> Tensor:
    """Predicted change [..., m] of each target under one step of all prompts: step_size times the column sums."""
    return step_size * matrix.sum(-2)


def negative_share(matrix: Tensor) -> Tensor:
    """The share [...] of off-diagonal entries of a square matrix [..., n, n] that are negative."""
    n = matrix.shape[-1]
    off = ~torch.eye(n, dtype=torch.bool, device=matrix.device)
    return ((matrix < 0) & off).sum((-2, -1)).double() / (n * (n - 1))


def delta_plus(log_pi: Tensor, log_base: Tensor, correct: Tensor, weights: Tensor | None = None) -> Tensor:
    """E[log pi - log base] [...] over the base policy's right completions; negative where these are being lost.

    `log_pi`, `log_base` and `correct` (bool) are [..., L]: an enumeration, weighted by the base's probabilities
    where `weights` is None, or samples from the base with weights 1/L. NaN where there is no right completion.
    Source: arXiv 2510.02230, section 4.
    """
    weights = log_base.exp() if weights is None else weights
    kept = weights * correct
    return (kept * _change(log_pi, log_base, kept > 0)).sum(-1) / kept.sum(-1)


def delta_norm(log_pi: Tensor, log_base: Tensor, weights: Tensor | None = None) -> Tensor:
    """E[(log pi - log base)^2] [...] over the base policy's completions; arguments as for `delta_plus`."""
    weights = log_base.exp() if weights is None else weights
    return (weights * _change(log_pi, log_base, weights > 0).square()).sum(-1)


def _change(log_pi: Tensor, log_base: Tensor, counted: Tensor) -> Tensor:
    """log pi - log base, 0 where it has no weight (there both may be -inf)."""
    return torch.where(counted, log_pi - log_base, 0.0)
