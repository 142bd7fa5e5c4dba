"""Best-of-n sampling: the exact law of the best of n draws."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from toykit._checks import at_least, positive
from toykit.exact._laws import law

TINY = -40.0  # log of an x so small that log1p(x) and expm1(x) are x to rounding


@dataclass(frozen=True)
class BestOfN:
    """The law of the best of n draws: `log_p` [..., L], its KL to the prior, the bound on it and log n, all [...]."""

    log_p: Tensor
    kl: Tensor
    bound: Tensor
    log_n: Tensor


def best_of_n(
    log_prior: Tensor, rewards: Tensor, n: float | Tensor | None = None, *, log_n: float | Tensor | None = None
) -> BestOfN:
    """The exact law of the completion of highest reward among `n` independent draws from the prior.

    `log_prior` and `rewards` are [..., L]: completions, or the levels of a reward with their probabilities. `n` >= 1
    (a number or [...]) need not be whole; one beyond the largest float is given by its logarithm `log_n`. Ties go to
    a uniform choice among the tied draws, or to the first of them: for independent draws the law is the same. `bound`
    is log n - (n - 1) / n, reached only by a law without ties. All is computed in logarithms, tails from their own
    end, so that neither a rare best completion nor an n that only such a one survives loses its digits.
    Source: arXiv 2404.01730 and arXiv 2401.01879 (the bound).
    """
    log_prior = law("log_prior", log_prior)
    log_draws = _log_draws(n, log_n).to(log_prior)
    lead = torch.broadcast_shapes(log_prior.shape, rewards.shape, (*log_draws.shape, 1))
    log_prior, rewards = log_prior.expand(lead), rewards.to(log_prior.dtype).expand(lead)
    if bool((rewards.isnan() & (log_prior > -torch.inf)).any()):
        raise ValueError("rewards must not be NaN where the prior has mass")
    order = rewards.argsort(-1)
    reward, log_p = rewards.gather(-1, order), log_prior.gather(-1, order)
    new = torch.ones_like(reward, dtype=torch.bool)
    new[..., 1:] = reward[..., 1:] != reward[..., :-1]
    group = new.cumsum(-1) - 1  # number of each completion's reward level, from the lowest
    mass = _log_mass(log_p, group)  # log P(r = level) [..., L], -inf past the last
    log_level = _log_best(mass, log_draws[..., None])
    there = mass > -torch.inf
    log_ratio = torch.where(there, log_level - torch.where(there, mass, 0.0), 0.0)
    found = log_prior + log_ratio.gather(-1, group.gather(-1, order.argsort(-1)))
    level = torch.where(there, log_level, -torch.inf).exp()
    divergence = torch.where(level > 0, level * log_ratio, 0.0).sum(-1)
    log_draws = log_draws.expand(divergence.shape)
    return BestOfN(found, divergence, log_draws + torch.expm1(-log_draws), log_draws)


def best_of_n_to_kl(log_prior: Tensor, rewards: Tensor, kl_budget: float | Tensor) -> BestOfN:
    """The best of so many draws that its KL to the prior is `kl_budget` nats (a number or [...]), by bisection.

    Shapes as for `best_of_n`. The n, which is seldom whole, is in `log_n`; a budget of 0 gives n = 1. Raises
    ValueError for a budget below 0, or of -log P(r = max r) or more, to which the KL only tends.
    """
    log_prior = law("log_prior", log_prior)
    rewards = rewards.to(log_prior.dtype)
    best = torch.where(log_prior > -torch.inf, rewards, -torch.inf).amax(-1, keepdim=True)
    most = -torch.where(rewards == best, log_prior, -torch.inf).logsumexp(-1)
    budget = torch.as_tensor(kl_budget, dtype=log_prior.dtype)
    budget, most = torch.broadcast_tensors(budget, most)
    wrong = ~((budget >= 0) & ((budget < most) | (budget == 0)))
    if bool(wrong.any()):
        raise ValueError(
            f"kl_budget must be from 0 to below {most[wrong][0].item():g}, where n would be infinite "
            f"(-log of the prior mass of the best reward), got {budget[wrong][0].item():g}"
        )
    low, high = torch.zeros_like(budget), most + 40.0  # log n: there the best reward is missed once in e^(e^40) times
    for _ in range(100):
        middle = (low + high) / 2
        short = best_of_n(log_prior, rewards, log_n=middle).kl < budget
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return best_of_n(log_prior, rewards, log_n=torch.where(budget > 0, high, 0.0))


def _log_draws(n: float | Tensor | None, log_n: float | Tensor | None) -> Tensor:
    """log n [...]; raises ValueError unless one of the two is given, and n >= 1 and finite."""
    if (n is None) == (log_n is None):
        raise ValueError("n or log_n must be given, and not both")
    if n is not None:
        draws = torch.as_tensor(n, dtype=torch.float64)
        for value in (draws.amin().item(), draws.amax().item()):
            at_least("n", positive("n", value), 1)
        return draws.log()
    found = torch.as_tensor(log_n, dtype=torch.float64)
    if not bool(((found >= 0) & found.isfinite()).all()):
        raise ValueError(f"log_n must be >= 0 and finite, got {found[~((found >= 0) & found.isfinite())][0].item()}")
    return found


def _log_mass(log_p: Tensor, group: Tensor) -> Tensor:
    """The log of the summed probabilities of each group [..., L], -inf for a group without mass."""
    most = torch.full_like(log_p, -torch.inf).scatter_reduce(-1, group, log_p, "amax")
    shift = torch.where(most > -torch.inf, most, 0.0)
    return shift + torch.zeros_like(log_p).scatter_add(-1, group, (log_p - shift.gather(-1, group)).exp()).log()


def _log_best(mass: Tensor, log_n: Tensor) -> Tensor:
    """log P(the best of n draws is at each level) [..., L], from log P(a draw is) `mass`, levels rising.

    F^n - F(below)^n = F^n (1 - (1 - mass / F)^n), without the cancellation of the left side.
    """
    up_to = mass.logcumsumexp(-1)  # log F
    nothing = torch.full_like(mass[..., :1], -torch.inf)
    above = torch.cat([mass.flip(-1).logcumsumexp(-1).flip(-1)[..., 1:], nothing], -1)
    below = torch.cat([nothing, up_to[..., :-1]], -1)
    there = mass > -torch.inf
    scale = torch.where(there, up_to, 0.0)
    log_x = log_n + _log_rate(mass - scale, below - scale)
    hit = torch.where(log_x < TINY, log_x, torch.log(-torch.expm1(-log_x.exp())))
    return hit - torch.exp(log_n + _log_rate(above, up_to))


def _log_rate(tail: Tensor, rest: Tensor) -> Tensor:
    """log(-log(1 - t)) from the logs of t and of 1 - t, accurate at both ends."""
    small = torch.where(tail < TINY, tail, torch.log(-torch.log1p(-tail.exp())))
    return torch.where(rest < -math.log(2), torch.log(-rest), small)
