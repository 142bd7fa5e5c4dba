"""Linear models of low rank, fitted by weighted least squares: a world model with too little capacity."""

from __future__ import annotations

import torch
from torch import Tensor

from toykit._checks import at_least, shape


def fit_low_rank(
    inputs: Tensor,
    targets: Tensor,
    weights: Tensor,
    rank: int,
    generator: torch.Generator,
    sweeps: int = 60,
    restarts: int = 4,
) -> Tensor:
    """A matrix M [d, p] of rank at most `rank` that minimises mean_n sum_i weights_ni (targets_ni - (M inputs_n)_i)^2.

    inputs [N, p], targets [N, d], weights [N, d] >= 0 (1 for the mean squared error, the squared value gradient for
    VaGraM). Alternates least squares in the two factors, from `restarts` standard normal inner factors [rank, p] of
    `generator`, and keeps the best: the problem is not convex, so a better matrix may exist. Among equals each
    factor is the one of least norm; an output without weight gets a row of zeros. Raises ValueError for shapes that do
    not fit, a rank below 1 and negative weights.
    """
    at_least("rank", rank, 1)
    n, p = inputs.shape
    d = targets.shape[-1]
    shape("targets", targets, (n, d))
    shape("weights", weights, (n, d))
    if not bool((weights >= 0).all()):
        raise ValueError(f"weights must be >= 0, got {weights.min().item():g}")
    root = weights.sqrt()
    best, least = inputs.new_zeros(d, p), float("inf")
    for _ in range(restarts):
        inner = torch.randn(rank, p, generator=generator, dtype=inputs.dtype)
        for _ in range(sweeps):
            outer = _outer(inputs @ inner.mT, targets, root)
            inner = _inner(inputs, targets, root, outer)
        matrix = outer @ inner
        loss = weighted_loss(matrix, inputs, targets, weights)
        if loss < least:
            best, least = matrix, loss
    return best


def weighted_loss(matrix: Tensor, inputs: Tensor, targets: Tensor, weights: Tensor) -> float:
    """mean_n sum_i weights_ni (targets_ni - (matrix inputs_n)_i)^2; shapes as for `fit_low_rank`."""
    return (weights * (targets - inputs @ matrix.mT).square()).sum(-1).mean().item()


def _outer(features: Tensor, targets: Tensor, root: Tensor) -> Tensor:
    """[d, r]: for each output a weighted least squares on `features` [N, r]."""
    design = root.mT[..., None] * features  # [d, N, r]
    return _least_squares(design, root.mT * targets.mT)


def _inner(inputs: Tensor, targets: Tensor, root: Tensor, outer: Tensor) -> Tensor:
    """[r, p]: one weighted least squares for all outputs together, given `outer` [d, r]."""
    design = torch.einsum("ni,ir,np->nirp", root, outer, inputs).flatten(0, 1).flatten(1)
    return _least_squares(design, (root * targets).flatten()).view(outer.shape[1], inputs.shape[1])


def _least_squares(design: Tensor, targets: Tensor) -> Tensor:
    """The solution of least norm [..., k] for design [..., N, k] and targets [..., N]."""
    return torch.linalg.lstsq(design, targets[..., None], driver="gelsd").solution[..., 0]
