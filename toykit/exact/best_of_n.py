"""Best-of-n sampling: the exact law of the best of n draws."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from toykit._checks import at_least, positive
from toykit.exact._laws import law


@dataclass(frozen=True)
class BestOfN:
    """The law of the best of n draws: `log_p` [..., L], its KL to the prior and the bound on it, both [...]."""

    log_p: Tensor
    kl: Tensor
    bound: float


def best_of_n(log_prior: Tensor, rewards: Tensor, n: float) -> BestOfN:
    """The exact law of the completion of highest reward among `n` independent draws from the prior.

    `log_prior` and `rewards` are [..., L]. Ties go to a uniform choice among the tied draws, or to the first of
    them: for independent draws the law is the same. `n` >= 1 need not be whole. `bound` is log n - (n - 1) / n,
    reached only by a law without ties. Source: arXiv 2404.01730 and arXiv 2401.01879 (the bound).
    """
    at_least("n", positive("n", n), 1)
    log_prior, rewards = torch.broadcast_tensors(law("log_prior", log_prior), rewards.to(log_prior.dtype))
    if bool((rewards.isnan() & (log_prior > -torch.inf)).any()):
        raise ValueError("rewards must not be NaN where the prior has mass")
    order = rewards.argsort(-1)
    reward, log_p = rewards.gather(-1, order), log_prior.gather(-1, order)
    new = torch.ones_like(reward, dtype=torch.bool)
    new[..., 1:] = reward[..., 1:] != reward[..., :-1]
    group = new.cumsum(-1) - 1  # number of each completion's reward level, from the lowest
    mass = torch.zeros_like(log_p).scatter_add(-1, group, log_p.exp())  # P(r = level) [..., L], 0 past the last
    up_to = mass.cumsum(-1)
    above = F.pad(mass.flip(-1).cumsum(-1).flip(-1)[..., 1:], (0, 1))
    # log F(level): each tail is accurate where it is the smaller one.
    log_f = torch.where(above < 0.5, torch.log1p(-above), up_to.log())
    share = torch.where(mass > 0, mass / log_f.exp(), 0.0).clamp(max=1.0)
    # F^n - F(below)^n = F^n (1 - (1 - mass / F)^n), without the cancellation of the left side
    log_level = n * log_f + torch.log(-torch.expm1(n * torch.log1p(-share)))
    log_ratio = torch.where(mass > 0, log_level - mass.log(), 0.0)
    found = log_prior + log_ratio.gather(-1, group.gather(-1, order.argsort(-1)))
    level = log_level.exp()
    weighted = torch.where((mass > 0) & (level > 0), level * log_ratio, 0.0)
    return BestOfN(found, weighted.sum(-1), math.log(n) - (n - 1) / n)
