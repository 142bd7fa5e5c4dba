"""Losses by which V becomes an implicit maximum of Q over given data (f-DVL, XQL, IQL), and the policy beside it.

A loss of V is an elementwise function of x = Q(s, a) - V(s). Source: dual RL (arXiv 2302.08560), section 5, and its
released critic, where a level is called loss_temp.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from toykit._checks import at_least, inside, positive
from toykit.objectives.offline_values import bellman_target, check_share, expectile, taken, token_mean


class LossOfV(Protocol):
    """The loss of V, elementwise, of x = Q - V (any shape; with `scaled` forms the whole batch counts)."""

    def __call__(self, x: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class TotalVariation:
    """level max(x, 0) - (1 - level) x: its minimiser is the (2 level - 1) / level quantile; no slope exceeds 1.

    Raises ValueError for a level outside (1/2, 1): at or below 1/2 the loss has no single minimum.
    """

    level: float = 0.9

    def __post_init__(self) -> None:
        if not 0.5 < self.level < 1:
            raise ValueError(f"level must be between 1/2 and 1 for total variation, got {self.level}")

    def __call__(self, x: Tensor) -> Tensor:
        return self.level * x.relu() - (1 - self.level) * x


@dataclass(frozen=True)
class ChiSquare:
    """level phi(x) - (1 - level) x with phi(x) = x + x^2 / 4 above 0, else 0.

    released  phi(x) = max(x + x^2 / 4, 0), which rises again below x = -4: a Q far below V pulls V down
    """

    level: float = 0.9
    released: bool = False

    def __post_init__(self) -> None:
        inside("level", self.level)

    def __call__(self, x: Tensor) -> Tensor:
        curve = x + x.square() / 4
        return self.level * (curve if self.released else curve.where(x > 0, 0.0)).relu() - (1 - self.level) * x


@dataclass(frozen=True)
class Gumbel:
    """exp(z) - z - 1 with z = x / alpha: XQL, whose minimiser is alpha log E[exp(Q / alpha)].

    clip    the largest z; an x above it has no slope and does not move V at all; None for no limit
    scaled  divided by exp(max z) of all x that are given at once (at least exp(-1)), held: as released
    """

    alpha: float = 0.1
    clip: float | None = 7.0
    scaled: bool = False

    def __post_init__(self) -> None:
        positive("alpha", self.alpha)
        if self.clip is not None:
            positive("clip", self.clip)

    def __call__(self, x: Tensor) -> Tensor:
        z = x / self.alpha
        z = z if self.clip is None else z.clamp(max=self.clip)
        most = z.detach().amax().clamp(min=-1.0) if self.scaled else z.new_zeros(())
        return (z - most).exp() - (z + 1) * (-most).exp()


@dataclass(frozen=True)
class Asymmetric:
    """|level - 1[x < 0]| x^2: IQL, whose minimiser is the `level`-expectile."""

    level: float = 0.9

    def __post_init__(self) -> None:
        inside("level", self.level)

    def __call__(self, x: Tensor) -> Tensor:
        return expectile(x, self.level)


def advantage_weight(q: Tensor, v: Tensor, tau: float, most: float) -> Tensor:
    """min(exp(tau (Q - V)), most), held: how much a token counts in the policy's cross-entropy."""
    return (tau * (q - v)).detach().exp().clamp(max=most)


@dataclass(frozen=True)
class DualRL:
    """huber(Q(s, a) - r - gamma V(s')) + loss of V(Q(s, a) - V(s)) - w log pi(a | s), w = min(e^(tau (Q - V)), most).

    A mean over tokens; each term moves one of Q, V and the policy, the others held, though all may be heads of one
    body. With one Q, whose own values stand for those of a slow copy, where the released code has two Q and a slow V.
    Source: arXiv 2302.08560, section 5; huber's delta and the weights as released.

    value  the loss of V
    tau    of the policy's weights; 0 weighs all tokens alike (behaviour cloning)
    most   the largest weight
    """

    value: LossOfV = field(default_factory=TotalVariation)
    tau: float = 3.0
    most: float = 100.0
    gamma: float = 1.0
    delta: float = 20.0
    data: ClassVar[str] = "labelled"
    reads: ClassVar[str] = "logp, q and v"
    needs_reference: ClassVar[bool] = False

    def __post_init__(self) -> None:
        at_least("tau", self.tau, 0)
        positive("most", self.most)
        positive("delta", self.delta)
        check_share("gamma", self.gamma)

    def __call__(self, logp: Tensor, q: Tensor, v: Tensor, tokens: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
        """The loss [...] of each completion: q [..., T, A], and logp, v, tokens, rewards and mask [..., T]."""
        own, target = taken(q, tokens), bellman_target(rewards.to(v), v, mask, self.gamma)
        temporal = F.huber_loss(own, target, reduction="none", delta=self.delta)
        x = (own.detach() - v)[mask]  # without padding, which must not count where a loss looks at all x
        towards = torch.zeros_like(v).masked_scatter(mask, self.value(x)) if len(x) else torch.zeros_like(v)
        weight = advantage_weight(own, v, self.tau, self.most)
        return token_mean(temporal + towards - weight * logp, mask)
