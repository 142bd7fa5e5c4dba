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
    VaGraM); leading axes are problems of their own, from the same starts, and M has them too. Alternates least squares
    in the two factors, from `restarts` standard normal inner factors [rank, p] of `generator`, and keeps the best: the
    problem is not convex, so a better matrix may exist. Among equals each factor is the one of least norm; an output
    without weight gets a row of zeros. Raises ValueError for shapes that do not fit, a rank below 1 and negative
    weights.
    """
    at_least("rank", rank, 1)
    *lead, n, p = inputs.shape
    d = targets.shape[-1]
    shape("targets", targets, (*lead, n, d))
    shape("weights", weights, (*lead, n, d))
    if not bool((weights >= 0).all()):
        raise ValueError(f"weights must be >= 0, got {weights.min().item():g}")
    compact = _compact(inputs, targets, weights.sqrt())
    starts = [torch.randn(rank, p, generator=generator, dtype=inputs.dtype) for _ in range(restarts)]
    inner = torch.stack(starts).expand(*lead, restarts, rank, p)
    for _ in range(sweeps):
        outer = _outer(*compact, inner)
        inner = _inner(*compact, outer)
    matrices = outer @ inner
    alike = (x[..., None, :, :] for x in (inputs, targets, weights))
    best = weighted_loss(matrices, *alike).argmin(-1)
    return matrices.take_along_dim(best[..., None, None, None], -3)[..., 0, :, :]


def weighted_loss(matrix: Tensor, inputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """mean_n sum_i weights_ni (targets_ni - (matrix inputs_n)_i)^2 [...]; shapes as for `fit_low_rank`."""
    return (weights * (targets - inputs @ matrix.mT).square()).sum(-1).mean(-1)


def _compact(inputs: Tensor, targets: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
    """(design [..., d, k, p], targets [..., d, k]), k <= p + 1: for each output rows with the least squares of all N.

    The triangle of a QR decomposition keeps every sum of squares, so that a sweep costs the same for any N.
    """
    both = torch.cat([root.mT[..., None] * inputs[..., None, :, :], (root * targets).mT[..., None]], -1)
    triangle = torch.linalg.qr(both, mode="r").R
    return triangle[..., :-1], triangle[..., -1]


def _outer(design: Tensor, targets: Tensor, inner: Tensor) -> Tensor:
    """[..., S, d, r]: for each start and output a least squares on the features of `inner` [..., S, r, p]."""
    features = design[..., None, :, :, :] @ inner.mT[..., None, :, :]
    return _least_squares(features, targets[..., None, :, :].expand(features.shape[:-1]))


def _inner(design: Tensor, targets: Tensor, outer: Tensor) -> Tensor:
    """[..., S, r, p]: for each start one least squares for all outputs together, given `outer` [..., S, d, r]."""
    rows = torch.einsum("...sir,...ikp->...sikrp", outer, design).flatten(-2).flatten(-3, -2)
    wanted = targets.flatten(-2)[..., None, :].expand(rows.shape[:-1])
    return _least_squares(rows, wanted).unflatten(-1, (outer.shape[-1], -1))


def _least_squares(design: Tensor, targets: Tensor) -> Tensor:
    """The solution of least norm [..., k] for design [..., N, k] and targets [..., N]."""
    return torch.linalg.lstsq(design, targets[..., None], driver="gelsd").solution[..., 0]
