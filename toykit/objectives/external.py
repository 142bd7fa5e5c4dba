"""Tokens that another policy wrote: what stands in the place of their importance ratio, and of their advantage.

The other policy omega is mostly not known. With probabilities p of a token under the policy, p_old under the behaviour
policy before the update and p_omega under the other one, the gradient of a token's surrogate is A times

    MIS         2 p / (p_omega + p_old)
    Reshaped    c p / (p + c)^2
    Probability p
    Likelihood  1

times the gradient of log p.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from toykit._checks import at_least, positive
from toykit.rollouts.batch import Rollouts


class External(Protocol):
    """What an external token's advantage is multiplied by, differentiated in logp: [...] from log-probabilities [...]
    of the policy, of the behaviour policy, and of who wrote the token (None where that is not known)."""

    def __call__(self, logp: Tensor, old_logp: Tensor, external_logp: Tensor | None = None) -> Tensor: ...


@dataclass(frozen=True)
class MIS:
    """The weight of multiple importance sampling (balance heuristic): 2 p / (p_omega + p_old), with p_omega the mean of
    p_old and `u`, a number in the place of the unknown law; so it is 4 p / (3 p + u) at p = p_old.

    u = 1 is the released code's; the paper's uniform law is u = 1/V for V tokens. None takes p_omega from
    `extras["external_logp"]` [..., B, G, T]. The weight is at most 2 p / p_old, whatever p_omega. Raises ValueError for
    u outside (0, 1]. Source: RL-PLUS (arXiv 2508.00222).
    """

    u: float | None = 1.0

    def __post_init__(self) -> None:
        if self.u is not None and not 0 < self.u <= 1:
            raise ValueError(f"u must be above 0 and at most 1, or None, got {self.u}")

    def __call__(self, logp: Tensor, old_logp: Tensor, external_logp: Tensor | None = None) -> Tensor:
        if self.u is not None:
            external_logp = torch.logaddexp(old_logp, torch.full_like(old_logp, math.log(self.u))) - math.log(2)
        elif external_logp is None:
            raise ValueError("extras['external_logp'] must be given for u=None, the law of external tokens, got None")
        return 2 * (logp - torch.logaddexp(external_logp, old_logp)).exp()


@dataclass(frozen=True)
class Reshaped:
    """p / (p + c), which pulls at unlikely tokens more than at those that are likely already (LUFFY, 2504.14945)."""

    c: float = 0.1

    def __post_init__(self) -> None:
        positive("c", self.c)

    def __call__(self, logp: Tensor, old_logp: Tensor, external_logp: Tensor | None = None) -> Tensor:
        return torch.sigmoid(logp - math.log(self.c))


@dataclass(frozen=True)
class Probability:
    """p: the importance ratio to another policy that was certain of its tokens."""

    def __call__(self, logp: Tensor, old_logp: Tensor, external_logp: Tensor | None = None) -> Tensor:
        return logp.exp()


@dataclass(frozen=True)
class Likelihood:
    """log p: supervised learning, weighted by the advantage."""

    def __call__(self, logp: Tensor, old_logp: Tensor, external_logp: Tensor | None = None) -> Tensor:
        return logp


@dataclass(frozen=True)
class Exploring:
    """The advantages of external tokens times (1 - p)^gamma: those that the policy would not say count most.

    A `Transform`. p is the policy's where the batch is prepared, without a gradient; the released code takes it anew at
    each update of the batch, which is the same at the first. Raises ValueError for gamma < 0. Source: the
    exploration-based advantage of RL-PLUS (arXiv 2508.00222), whose code has gamma = 1/2.
    """

    gamma: float = 0.5
    needs_reference = False
    needs_entropy = False

    def __post_init__(self) -> None:
        at_least("gamma", self.gamma, 0)

    def __call__(self, advantages: Tensor, rollouts: Rollouts) -> Tensor:
        if "external" not in rollouts.extras:
            return advantages
        p = rollouts.policy_logp.exp()
        return torch.where(rollouts.extras["external"], (1 - p).clamp(min=0) ** self.gamma * advantages, advantages)


@dataclass(frozen=True)
class OwnMean:
    """r - the mean reward of the group's rows that are the policy's own: external rows do not count in the statistics.

    An advantage. Where the policy's own rows have equal rewards their advantages are exactly 0. Without external rows
    it is `Advantage(mean="group")`.
    """

    needs_group = True

    def __call__(self, rewards: Tensor, weights: Tensor, external: Tensor) -> Tensor:
        """Advantages [..., B, G] of rewards and weights [..., B, G], external bool [..., B, G]."""
        own = weights.masked_fill(external, 0.0)
        mean = (own * rewards).sum(-1, keepdim=True) / own.sum(-1, keepdim=True)
        least = rewards.masked_fill(external, torch.inf).amin(-1, keepdim=True)
        most = rewards.masked_fill(external, -torch.inf).amax(-1, keepdim=True)
        return rewards - torch.where(least == most, least, mean)
