"""What is known of a linear reward from answered comparisons: logistic maximum likelihood, its precision, and draws."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from toykit._checks import finite, positive, shape

HALVINGS = 40  # of a Newton step, before it is given up


@dataclass(frozen=True, eq=False)
class LogisticFit:
    """Weights [..., D] that maximise a penalised likelihood.

    precision  [..., D, D] minus the second derivative there: the inverse covariance of Laplace's approximation
    slope      [...] the largest absolute entry of the gradient that is left
    """

    weights: Tensor
    precision: Tensor
    slope: Tensor

    @property
    def covariance(self) -> Tensor:
        """[..., D, D]: the inverse of the precision."""
        return torch.cholesky_inverse(torch.linalg.cholesky(self.precision))


def fit_logistic(
    differences: Tensor,
    answers: Tensor,
    ridge: float = 0.1,
    counted: Tensor | None = None,
    start: Tensor | None = None,
    most: int = 25,
) -> LogisticFit:
    """Maximises sum_i log sigma(s_i x_i . w) - ridge |w|^2 / 2, s_i = +1 for an answer 1 and -1 for 0, by Newton.

    differences  [..., N, D] the features of the first less those of the second of each pair
    answers      [..., N] 1 where the first was preferred, 0 where the second was
    ridge        without it comparisons that a plane separates have no maximum
    counted      bool [..., N], which of them there are; None: all
    start        [..., D] where the search begins; None: at 0
    most         Newton steps at most; each is halved until the likelihood rises

    One pair answered both ways is no contradiction: answers are random. Two trajectories of equal features say nothing.
    Raises ValueError for answers that are neither 0 nor 1, a ridge that is not positive, other shapes, and NaN.
    """
    positive("ridge", ridge)
    counted = torch.ones_like(answers, dtype=torch.bool) if counted is None else counted
    shape("answers", answers, tuple(differences.shape[:-1]))
    wrong = counted & (answers != 0) & (answers != 1)
    if bool(wrong.any()):
        at = tuple(wrong.nonzero()[0].tolist())
        raise ValueError(f"answers must be 0 or 1, got {float(answers[at]):g} at index {list(at)}")
    x = finite("differences", differences * counted[..., None])
    signed = x * (2 * answers.to(x) - 1).masked_fill(~counted, 0.0)[..., None]
    size = x.shape[-1]
    eye = ridge * torch.eye(size, dtype=x.dtype)
    w = x.new_zeros(*x.shape[:-2], size) if start is None else start.clone()

    def loss(at: Tensor) -> Tensor:
        terms = F.softplus(-(signed @ at[..., None])[..., 0]) * counted
        return terms.sum(-1) + ridge / 2 * at.square().sum(-1)

    def derivatives(at: Tensor) -> tuple[Tensor, Tensor]:
        p = torch.sigmoid(-(signed @ at[..., None])[..., 0])
        return ridge * at - (p[..., None] * signed).sum(-2), (x * (p * (1 - p))[..., None]).mT @ x + eye

    now = loss(w)
    slope, curvature = derivatives(w)
    for _ in range(most):
        if float(slope.abs().max()) < 1e-10:
            break
        step = torch.cholesky_solve(slope[..., None], torch.linalg.cholesky(curvature))[..., 0]
        gain, share = (slope * step).sum(-1), torch.ones_like(now)
        for _ in range(HALVINGS):
            tried = loss(w - share[..., None] * step)
            worse = ~(tried <= now - 1e-4 * share * gain + 1e-12 * (1 + now))
            if not bool(worse.any()):
                break
            share = torch.where(worse, share / 2, share)
        w = w - share[..., None] * step
        now = tried
        slope, curvature = derivatives(w)
    return LogisticFit(w, curvature, slope.abs().amax(-1))


def gaussian_draw(mean: Tensor, precision: Tensor, scale: float | Tensor, noise: Tensor) -> Tensor:
    """[..., D] from N(mean, scale^2 precision^-1), with standard normal `noise` [..., D] and `scale` a number or [...].

    Raises torch.linalg.LinAlgError where the precision is not positive definite.
    """
    root = torch.linalg.cholesky(precision).mT
    drawn = torch.linalg.solve_triangular(root, noise[..., None], upper=True)[..., 0]
    return mean + (scale[..., None] if isinstance(scale, Tensor) else scale) * drawn
