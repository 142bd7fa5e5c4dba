"""The KL-regularised objective, its upper bound, and the distances between laws that they are made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from toykit.exact._laws import law, summed, sums, whole
from toykit.exact.targets import log_evidence, posterior
from toykit.objectives.divergences import divergence


@dataclass(frozen=True)
class Elbo:
    """value = evidence - gap, each [...] and in units of reward.

    `value` is J = E_pi r - beta KL(pi || prior), `evidence` beta log Z, `gap` beta KL(pi || posterior).
    """

    value: Tensor
    evidence: Tensor
    gap: Tensor


def elbo(log_pi: Tensor, log_prior: Tensor, rewards: Tensor, beta: float | Tensor) -> Elbo:
    """The objective of KL-regularised RL as a lower bound on the log evidence.

    `log_pi`, `log_prior` and `rewards` are [..., L], `beta` is a number or [...]; a reward may be -inf. The three
    parts are computed apart, so that their identity is a check. Raises ValueError as `posterior` does.
    Source: arXiv 2205.11275, section 4.
    """
    target = posterior(log_prior, rewards, beta)
    reward = (log_pi.exp() * torch.where(log_pi > -torch.inf, rewards, 0.0)).sum(-1)
    evidence = beta * log_evidence(log_prior, rewards, beta)
    return Elbo(reward - beta * kl(log_pi, log_prior), evidence, beta * kl(log_pi, target))


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) [...] in nats of log-probabilities [..., L]; inf where p has mass that q lacks."""
    total, value = sums(_kl_terms, log_p, law("log_q", log_q))
    whole("log_p", total.detach())
    return value


def _kl_terms(log_p: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
    """p and p (log p - log q), with 0 log 0 = 0; a p that underflows is still mass that q may lack."""
    p, ratio, tiny = log_p.exp(), log_p - log_q, torch.finfo(log_p.dtype).tiny
    if bool((p.amin(-1) < tiny).any()):
        return p, p.clamp(min=tiny) * ratio.masked_fill(log_p == -torch.inf, 0.0)
    return p, p * ratio


def entropy(log_p: Tensor) -> Tensor:
    """H(p) = -E_p log p [...] in nats of log-probabilities [..., L]."""
    return -summed(_log_terms, law("log_p", log_p))


def _log_terms(log_p: Tensor) -> Tensor:
    """p log p, with 0 log 0 = 0."""
    return log_p.exp() * log_p.clamp(min=torch.finfo(log_p.dtype).min)


def total_variation(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Half the sum of |p - q| [...], from 0 to 1, of log-probabilities [..., L]."""
    return divergence("tv").value(law("log_p", log_p), law("log_q", log_q))


def js(log_p: Tensor, log_q: Tensor) -> Tensor:
    """The Jensen-Shannon divergence [...] of log-probabilities [..., L], from 0 to log 2 nats.

    It is (KL(p || m) + KL(q || m)) / 2 with m = (p + q) / 2, half the divergence "js" that f-DPG minimises.
    """
    return divergence("js").value(law("log_p", log_p), law("log_q", log_q)) / 2
