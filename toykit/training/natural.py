"""Exact natural gradient steps, for policies with few parameters and enumerated rollouts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

PARAMETER_LIMIT = 5_000
COMPLETION_LIMIT = 5_000  # all scores are taken at once, so that memory grows with the square of their number


def fisher(logp: Tensor, weights: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    """The exact Fisher matrix [D, D] from log-probabilities [B, G] of all completions and their probabilities [B, G].

    F = mean over prompts of sum_y pi(y) s(y) s(y)^T with the score s = grad log pi (Amari 1998). Raises ValueError
    for more parameters or completions than the limits.
    """
    flat = logp.flatten()
    size = sum(p.numel() for p in parameters)
    if size > PARAMETER_LIMIT:
        raise ValueError(f"optimizer='natural' is for at most {PARAMETER_LIMIT} parameters, got {size}")
    if flat.numel() > COMPLETION_LIMIT:
        raise ValueError(f"optimizer='natural' is for at most {COMPLETION_LIMIT} completions, got {flat.numel()}")
    unit = torch.eye(flat.numel(), dtype=flat.dtype, device=flat.device)
    rows = torch.autograd.grad(flat, parameters, unit, retain_graph=True, is_grads_batched=True)
    scores = torch.cat([r.flatten(1) for r in rows], 1)
    return scores.T @ (scores * (weights.flatten() / logp.shape[0])[:, None])


@torch.no_grad()
def natural_step(parameters: list[nn.Parameter], matrix: Tensor, lr: float) -> None:
    """parameters -= lr F^+ grad: the gradient lies in the range of F, so the pseudo-inverse loses nothing."""
    gradient = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
    change = torch.linalg.pinv(matrix, hermitian=True, rtol=1e-12) @ gradient
    for p, part in zip(parameters, change.split([p.numel() for p in parameters]), strict=True):
        p.sub_(lr * part.view_as(p))
