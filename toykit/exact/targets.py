"""Target distributions over an enumeration: what an objective's best policy would be."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from toykit._checks import positive
from toykit.exact._laws import law, summed


def posterior(log_prior: Tensor, rewards: Tensor, beta: float | Tensor) -> Tensor:
    """The law pi*(y) = prior(y) exp(r(y) / beta) / Z, best for E r - beta KL(pi || prior).

    `log_prior` and `rewards` are [..., L]; a reward may be -inf, which forbids the completion. `beta` is a number or
    [...]. Returns log-probabilities [..., L]. Raises ValueError for beta <= 0, a reward that is NaN or +inf, or
    rewards of -inf wherever the prior has mass. Source: KL as Bayes (arXiv 2205.11275), section 4.
    """
    score, log_sum, _ = _score(log_prior, rewards, beta)
    return score.sub_(log_sum)


def log_evidence(log_prior: Tensor, rewards: Tensor, beta: float | Tensor) -> Tensor:
    """log Z = log E_prior[exp(r / beta)] [...] in nats; beta log Z is the largest E r - beta KL(pi || prior).

    Shapes, conditions and source as for `posterior`.
    """
    _, log_sum, taken = _score(log_prior, rewards, beta)
    return (log_sum + taken)[..., 0]


def filtered(log_prior: Tensor, keep: Tensor) -> Tensor:
    """The prior given a constraint: log-probabilities [..., L] of prior(y | keep), `keep` bool [..., L].

    The limit of the posterior of a binary reward as beta tends to 0. Raises ValueError where the prior never
    satisfies the constraint.
    """
    score = law("log_prior", log_prior).masked_fill(~keep, -torch.inf)
    log_mass = score.logsumexp(-1, keepdim=True)
    if bool((log_mass == -torch.inf).any()):
        where = (log_mass[..., 0] == -torch.inf).nonzero()[0].tolist()
        raise ValueError(f"keep must hold a completion with prior mass, got none{f' at {where}' if where else ''}")
    return score - log_mass


def tempered(log_prior: Tensor, temperature: float) -> Tensor:
    """The law proportional to prior^(1 / temperature), as log-probabilities [..., L]; raises where it is <= 0."""
    return (law("log_prior", log_prior) / positive("temperature", temperature)).log_softmax(-1)


@dataclass(frozen=True)
class Tilt:
    """A posterior given by its distance from the prior: `log_p` [..., L] and `beta` [...], inf for the prior."""

    log_p: Tensor
    beta: Tensor


def tilt_to_kl(log_prior: Tensor, rewards: Tensor, kl_budget: float | Tensor) -> Tilt:
    """The law of largest E r within KL(pi || prior) = `kl_budget` nats (a number or [...]): a posterior.

    `log_prior` and `rewards` (finite) are [..., L]. A budget of 0 gives the prior (beta inf), the largest
    attainable budget -log P(r = max r) gives the prior restricted to the best completions (beta 0).
    Raises ValueError for a budget below 0 or beyond the attainable, which it names. Source: Asymptotics of
    alignment (arXiv 2404.01730): with alpha = 1 / beta, d KL / d alpha = alpha Var(r), so KL grows with alpha.
    """
    log_prior, rewards = torch.broadcast_tensors(law("log_prior", log_prior), rewards.to(log_prior.dtype))
    possible = log_prior > -torch.inf
    if not bool(rewards[possible].isfinite().all()):
        raise ValueError("rewards must be finite wherever the prior has mass")
    best = rewards.masked_fill(~possible, -torch.inf).amax(-1, keepdim=True)
    gaps = torch.where(possible, best - rewards, 0.0)
    scale = gaps.amax(-1, keepdim=True)
    gaps = gaps / torch.where(scale > 0, scale, 1.0)  # in [0, 1], so that alpha has no units
    at_best = possible & (gaps == 0)
    most = -log_prior.masked_fill(~at_best, -torch.inf).logsumexp(-1)
    budget = torch.as_tensor(kl_budget, dtype=log_prior.dtype, device=log_prior.device).expand(most.shape)
    wrong = ~((budget >= 0) & (budget <= most + 1e-12))
    if bool(wrong.any()):
        raise ValueError(
            f"kl_budget must be from 0 to {most[wrong][0].item():g}, the most a tilt attains "
            f"(-log of the prior mass of the best reward), got {budget[wrong][0].item():g}"
        )
    alpha = _solve_tilt(log_prior, gaps, budget)
    log_p = (log_prior - alpha[..., None] * gaps).log_softmax(-1)
    full = (budget >= most - 1e-12)[..., None] & (scale > 0)
    log_p = torch.where(full, log_prior.masked_fill(~at_best, -torch.inf).log_softmax(-1), log_p)
    beta = torch.where(budget > 0, scale[..., 0] / alpha, torch.inf)
    return Tilt(log_p, torch.where(full[..., 0], 0.0, beta))


def _solve_tilt(log_prior: Tensor, gaps: Tensor, budget: Tensor) -> Tensor:
    """alpha [...] with KL(prior exp(-alpha gaps) / Z || prior) = budget, by bisection."""

    def falls_short(alpha: Tensor) -> Tensor:
        score = log_prior - alpha[..., None] * gaps
        log_z = score.logsumexp(-1)
        mean = ((score - log_z[..., None]).exp() * gaps).sum(-1)
        return -alpha * mean - log_z < budget

    low, high = torch.zeros_like(budget), torch.ones_like(budget)
    for _ in range(60):
        short = falls_short(high)
        if not bool(short.any()):
            break
        low, high = torch.where(short, high, low), torch.where(short, 2 * high, high)
    for _ in range(120):
        alpha = (low + high) / 2
        if bool((high - low <= 1e-15 * high).all()):
            break
        short = falls_short(alpha)
        low, high = torch.where(short, alpha, low), torch.where(short, high, alpha)
    return torch.where(budget > 0, alpha, 0.0)


def _score(log_prior: Tensor, rewards: Tensor, beta: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The unnormalised log posterior [..., L] less what its best completion has, the logarithm of its sum, and what was
    taken from it, each [..., 1].

    The best reward is taken from the rewards: divided by a small beta it would leave nothing of the prior beside it.
    """
    betas = torch.as_tensor(beta, dtype=log_prior.dtype, device=log_prior.device)
    for value in betas[~((betas > 0) & betas.isfinite())].tolist():
        positive("beta", value)
    law("log_prior", log_prior)
    top = rewards.detach().amax(-1, keepdim=True)
    if not bool((top < torch.inf).all()):  # the largest of numbers with a NaN is NaN
        raise ValueError("rewards must be finite or -inf, got NaN or +inf")
    betas = betas[..., None]
    score = torch.addcdiv(log_prior, rewards - top, betas)
    best = score.detach().amax(-1, keepdim=True)
    if not bool((best > -torch.inf).all()):  # of rewards that are all -inf it is NaN
        raise ValueError("rewards must be above -inf for some completion with prior mass, got -inf for all of them")
    score.sub_(best)
    return score, summed(torch.exp, score).log()[..., None], best + top / betas
