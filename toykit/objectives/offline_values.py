"""Offline value learning: Q over the next token (or step), from given completions with their rewards.

Q [..., T, A] stands before each token, over the A tokens that may follow; V [..., T] likewise. A completion's reward
comes with its last token, where the next value is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from toykit._checks import at_least


def taken(q: Tensor, tokens: Tensor) -> Tensor:
    """Q of the tokens that were chosen [..., T]."""
    return q.gather(-1, tokens[..., None])[..., 0]


def bellman_target(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """r_t + gamma V(s_{t+1}) [..., T] of rewards [..., T] and values [..., T]; no gradient, 0 beyond the end."""
    after = torch.nn.functional.pad(values.masked_fill(~mask, 0.0)[..., 1:], (0, 1))
    return (rewards + gamma * after).masked_fill(~mask, 0.0).detach()


def conservative(q: Tensor, tokens: Tensor) -> Tensor:
    """logsumexp_a Q(s, a) - Q(s, a_data) [..., T]: the cross-entropy of the data under softmax Q."""
    return q.logsumexp(-1) - taken(q, tokens)


def expectile(difference: Tensor, tau: float) -> Tensor:
    """|tau - 1[difference < 0]| difference^2, elementwise: least squares for tau = 1/2, the maximum for tau -> 1."""
    return torch.where(difference > 0, tau, 1 - tau) * difference**2


def decoding_logits(behaviour_logp: Tensor, q: Tensor, v: Tensor, beta: float) -> Tensor:
    """log pi_beta(a | s) + beta (Q(s, a) - V(s)) [..., A]: ILQL's policy, unnormalised (arXiv 2206.11871)."""
    return behaviour_logp + beta * (q - v[..., None])


@dataclass(frozen=True)
class CQL:
    """(Q(s, a) - r - gamma max Q(s', .))^2 + alpha (logsumexp_a Q(s, a) - Q(s, a_data)), a mean over tokens.

    Source: Kumar et al. 2020, arXiv 2006.04779, eq. 4. Where "tokens" are the candidates for a reasoning step it is the
    loss of a step-level verifier (VerifierQ, arXiv 2410.08048, without its bounded update and its two expectiles).
    """

    alpha: float = 1.0
    gamma: float = 1.0
    data: ClassVar[str] = "labelled"
    reads: ClassVar[str] = "q"
    needs_reference: ClassVar[bool] = False

    def __post_init__(self) -> None:
        at_least("alpha", self.alpha, 0)
        check_share("gamma", self.gamma)

    def __call__(self, q: Tensor, tokens: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
        """The loss [...] of each completion: q [..., T, A], tokens, rewards and mask [..., T]."""
        target = bellman_target(rewards, q.amax(-1), mask, self.gamma)
        each = (taken(q, tokens) - target) ** 2 + self.alpha * conservative(q, tokens)
        return token_mean(each, mask)


@dataclass(frozen=True)
class ILQL:
    """(Q(s, a) - r - gamma V(s'))^2 + expectile_tau(Q(s, a) - V(s)) + alpha (logsumexp_a Q - Q(s, a_data)).

    A mean over tokens; each term moves one of Q and V, the other held. V goes to the largest Q of the data as tau -> 1,
    without a maximum over tokens that the data do not hold. Source: Snell et al. 2022, arXiv 2206.11871, section 4
    (with one Q, whose own values stand for those of a slow copy).
    """

    tau: float = 0.7
    alpha: float = 0.1
    gamma: float = 0.99
    data: ClassVar[str] = "labelled"
    reads: ClassVar[str] = "q and v"
    needs_reference: ClassVar[bool] = False

    def __post_init__(self) -> None:
        at_least("alpha", self.alpha, 0)
        check_share("gamma", self.gamma)
        if not 0 < self.tau < 1:
            raise ValueError(f"tau must be in (0, 1), got {self.tau}")

    def __call__(self, q: Tensor, v: Tensor, tokens: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
        """The loss [...] of each completion: q [..., T, A], v, tokens, rewards and mask [..., T]."""
        own = taken(q, tokens)
        temporal = (own - bellman_target(rewards, v, mask, self.gamma)) ** 2
        each = temporal + expectile(own.detach() - v, self.tau) + self.alpha * conservative(q, tokens)
        return token_mean(each, mask)


def token_mean(each: Tensor, mask: Tensor) -> Tensor:
    """The mean [...] over each completion's own tokens of values [..., T]; 0 for a completion without any."""
    return each.masked_fill(~mask, 0.0).sum(-1) / mask.sum(-1).clamp(min=1)


def check_share(name: str, value: float) -> None:
    """Raises ValueError unless 0 <= value <= 1."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be in [0, 1], got {value}")
