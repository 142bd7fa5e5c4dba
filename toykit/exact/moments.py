"""Targets given by moments: the law nearest the prior whose features have wanted expectations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from toykit.exact._laws import law

TOLERANCE = 1e-11  # largest error of a moment, in units of the feature's range
MAX_STEPS = 500
LARGEST_CHANGE = 5.0  # of a completion's log weight in one step


@dataclass(frozen=True)
class MomentTarget:
    """The law prior(y) exp(multipliers . features(y)) / Z: `log_p` [..., L], `multipliers` [..., K], `kl` [...].

    `kl` is KL(p || prior) in nats, the least that any law with these moments can have.
    """

    log_p: Tensor
    multipliers: Tensor
    kl: Tensor


def moment_target(log_prior: Tensor, features: Tensor, moments: Tensor) -> MomentTarget:
    """The I-projection of the prior on the laws with E[features] = `moments`.

    `log_prior` is [..., L], `features` [..., L, K], `moments` [..., K]. Newton's method on the convex dual
    log Z(multipliers) - multipliers . moments, halving a step that does not lower it. Moments on the boundary of
    the reachable set are met to 1e-11 of a feature's range, by large multipliers. Raises ValueError for moments
    that no law on the prior's support has. Source: GDC (arXiv 2012.11635), section 2.
    """
    law("log_prior", log_prior)
    dtype = log_prior.dtype
    lead = torch.broadcast_shapes(log_prior.shape[:-1], features.shape[:-2], moments.shape[:-1])
    log_prior = log_prior.expand(*lead, -1)
    features = features.to(dtype).expand(*lead, -1, -1)
    moments = moments.to(dtype).expand(*lead, -1)
    possible = (log_prior > -torch.inf)[..., None]
    least = features.masked_fill(~possible, torch.inf).amin(-2)
    most = features.masked_fill(~possible, -torch.inf).amax(-2)
    if bool((outside := ~((least <= moments) & (moments <= most))).any()):
        at = tuple(outside.nonzero()[0].tolist())
        raise ValueError(
            f"moments must lie within the features' range under the prior: feature {at[-1]} goes from "
            f"{least[at].item():g} to {most[at].item():g}, got {moments[at].item():g}"
        )
    scale = torch.where(most > least, most - least, 1.0)
    # Deviations from the wanted moments in units of the range: the wanted mean is 0 whatever the features' units.
    deviations = torch.where(possible, (features - moments[..., None, :]) / scale[..., None, :], 0.0)
    multipliers, errors = _newton(log_prior, deviations)
    if bool((errors.abs() > TOLERANCE).any()):
        at = tuple((errors.abs().amax(-1) > TOLERANCE).nonzero()[0].tolist())
        reached = (moments + errors * scale)[at]
        raise ValueError(
            f"moments must be those of some law on the prior's support, got {_short(moments[at])}, "
            f"each within its feature's range but not together; the search ended at {_short(reached)}"
        )
    log_p = (log_prior + (deviations @ multipliers[..., None])[..., 0]).log_softmax(-1)
    kl = -_dual(log_prior, deviations, multipliers)
    return MomentTarget(log_p, multipliers / scale, kl.clamp(min=0.0))


def _dual(log_prior: Tensor, deviations: Tensor, multipliers: Tensor) -> Tensor:
    """log E_prior exp(multipliers . deviations) [...]; its minimum is -KL(target || prior)."""
    return (log_prior + (deviations @ multipliers[..., None])[..., 0]).logsumexp(-1)


def _newton(log_prior: Tensor, deviations: Tensor) -> tuple[Tensor, Tensor]:
    """Multipliers [..., K] that minimise the dual, and the moments' errors [..., K] there."""
    multipliers = torch.zeros_like(deviations[..., 0, :])
    # A law on the support has KL <= -log(least prior), so a dual below log(least prior) proves there is none.
    floor = log_prior.masked_fill(log_prior == -torch.inf, torch.inf).amin(-1) - 1e-9
    for _ in range(MAX_STEPS):
        p = (log_prior + (deviations @ multipliers[..., None])[..., 0]).softmax(-1)
        errors = (p[..., None] * deviations).sum(-2)
        dual = _dual(log_prior, deviations, multipliers)
        if bool(((errors.abs().amax(-1) <= TOLERANCE) | (dual < floor)).all()):
            break
        step = -_solve_covariance(p, deviations - errors[..., None, :], errors)
        slope = (step * errors).sum(-1)
        # A step beyond this change of the log weights leaves the region that the covariance describes.
        size = (LARGEST_CHANGE / (deviations @ step[..., None]).abs().amax((-2, -1))).clamp(max=1.0)
        for _ in range(60):
            trial = _dual(log_prior, deviations, multipliers + size[..., None] * step)
            rises = ~(trial <= dual + 1e-4 * size * slope + 1e-14 * (1 + dual.abs()))
            if not bool(rises.any()):
                break
            size = torch.where(rises, size / 2, size)
        multipliers = multipliers + size[..., None] * step
    return multipliers, errors


def _solve_covariance(p: Tensor, centred: Tensor, errors: Tensor) -> Tensor:
    """The inverse of the features' covariance times `errors` [..., K]; the largest step allowed where it is 0.

    Through the singular values of sqrt(p) times the centred features: where nearly all mass is on one completion
    the covariance itself would lose its small eigenvalues.
    """
    factor = torch.linalg.qr(p.sqrt()[..., None] * centred, mode="r").R
    _, size, basis = torch.linalg.svd(factor)
    size = F.pad(size, (0, basis.shape[-1] - size.shape[-1]))
    seen = size > 1e-13 * size.amax(-1, keepdim=True)
    wanted = (basis @ errors[..., None])[..., 0]
    unseen = torch.where(wanted.abs() > TOLERANCE, LARGEST_CHANGE * wanted.sign(), 0.0)
    step = torch.where(seen, wanted / torch.where(seen, size, 1.0).square(), unseen)
    return (basis.mT @ step[..., None])[..., 0]


def _short(values: Tensor) -> str:
    return "[" + ", ".join(f"{v:.6g}" for v in values.tolist()) + "]"
