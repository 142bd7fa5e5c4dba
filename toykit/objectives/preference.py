"""Preference losses: functions of what two policies say of a chosen and of a rejected completion.

h(y) = log pi(y) - log pi0(y), summed over the completion's tokens; w is the chosen completion and l the rejected one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from toykit._checks import at_least, positive


@dataclass(frozen=True)
class Scored:
    """Completions under a policy: logp [..., T], mask bool [..., T], and the reference's ref_logp [..., T] or None.

    Nothing outside the mask counts. An empty completion has sum 0 and mean 0.
    """

    logp: Tensor
    mask: Tensor
    ref_logp: Tensor | None = None

    @property
    def total(self) -> Tensor:
        """log pi(y) [...], nats."""
        return self.logp.masked_fill(~self.mask, 0.0).sum(-1)

    @property
    def length(self) -> Tensor:
        """Tokens [...], at least 1."""
        return self.mask.sum(-1).clamp(min=1)

    @property
    def mean(self) -> Tensor:
        """log pi(y) a token [...], nats."""
        return self.total / self.length

    @property
    def log_ratio(self) -> Tensor:
        """h(y) [...], nats; raises ValueError where there is no reference."""
        if self.ref_logp is None:
            raise ValueError("ref_logp must be given for a loss with a reference policy, got None")
        return (self.logp - self.ref_logp).masked_fill(~self.mask, 0.0).sum(-1)


@dataclass(frozen=True)
class DPO:
    """-log sigma(beta (h_w - h_l)) (Rafailov et al. 2023, arXiv 2305.18290, eq. 7).

    With `smoothing` e, a share e of the labels is taken to be wrong: (1 - e) L(d) + e L(-d) (Mitchell 2023); `robust`
    divides (1 - e) L(d) - e L(-d) by 1 - 2e, whose mean over labels that are flipped with probability e is the clean
    loss (Chowdhury et al. 2024, arXiv 2403.00409).
    """

    beta: float = 0.1
    smoothing: float = 0.0
    robust: bool = False
    data: ClassVar[str] = "pairs"
    reads: ClassVar[str] = "logp"
    needs_reference: ClassVar[bool] = True

    def __post_init__(self) -> None:
        positive("beta", self.beta)
        if not 0 <= self.smoothing < 0.5:
            raise ValueError(f"smoothing must be in [0, 0.5), got {self.smoothing}")

    def __call__(self, chosen: Scored, rejected: Scored) -> Tensor:
        """The loss [...] of each pair."""
        d = self.beta * (chosen.log_ratio - rejected.log_ratio)
        right, wrong, e = -F.logsigmoid(d), -F.logsigmoid(-d), self.smoothing
        if self.robust:
            return ((1 - e) * right - e * wrong) / (1 - 2 * e)
        return (1 - e) * right + e * wrong


@dataclass(frozen=True)
class Hinge:
    """max(0, 1 - beta (h_w - h_l)): SLiC's hinge on log-ratios (arXiv 2305.10425; so put by RSO, arXiv 2309.06657)."""

    beta: float = 0.1
    data: ClassVar[str] = "pairs"
    reads: ClassVar[str] = "logp"
    needs_reference: ClassVar[bool] = True

    def __post_init__(self) -> None:
        positive("beta", self.beta)

    def __call__(self, chosen: Scored, rejected: Scored) -> Tensor:
        """The loss [...] of each pair."""
        return (1 - self.beta * (chosen.log_ratio - rejected.log_ratio)).clamp(min=0)


@dataclass(frozen=True)
class IPO:
    """(h_w - h_l - 1 / (2 tau))^2 (Azar et al. 2023, arXiv 2310.12036, eq. 17).

    `per_token` divides each h by its completion's length first, as TRL does: another loss, and another tau.
    """

    tau: float = 0.1
    per_token: bool = False
    data: ClassVar[str] = "pairs"
    reads: ClassVar[str] = "logp"
    needs_reference: ClassVar[bool] = True

    def __post_init__(self) -> None:
        positive("tau", self.tau)

    def __call__(self, chosen: Scored, rejected: Scored) -> Tensor:
        """The loss [...] of each pair."""
        w, ell = (side.log_ratio / (side.length if self.per_token else 1) for side in (chosen, rejected))
        return (w - ell - 1 / (2 * self.tau)) ** 2


@dataclass(frozen=True)
class ORPO:
    """NLL(y_w) - weight log sigma(o_w - o_l), o the log odds of the mean token probability; NLL is a mean over tokens.

    o = p - log(1 - e^p) with p the mean token log-probability. There is no reference. A completion of probability 1
    has infinite odds: p is held below 0 by the smallest step that its numbers can tell, without a gradient there.
    Source: Hong et al. 2024, arXiv 2403.07691, eqs. 6 and 7.
    """

    weight: float = 0.1
    data: ClassVar[str] = "pairs"
    reads: ClassVar[str] = "logp"
    needs_reference: ClassVar[bool] = False

    def __post_init__(self) -> None:
        positive("weight", self.weight)

    def __call__(self, chosen: Scored, rejected: Scored) -> Tensor:
        """The loss [...] of each pair."""
        odds = log_odds(chosen.mean) - log_odds(rejected.mean)
        return -chosen.mean - self.weight * F.logsigmoid(odds)


@dataclass(frozen=True)
class SimPO:
    """-log sigma(beta (mean logp_w - mean logp_l) - margin), without a reference (arXiv 2405.14734, eq. 6)."""

    beta: float = 2.0
    margin: float = 1.0
    data: ClassVar[str] = "pairs"
    reads: ClassVar[str] = "logp"
    needs_reference: ClassVar[bool] = False

    def __post_init__(self) -> None:
        positive("beta", self.beta)
        at_least("margin", self.margin, 0)

    def __call__(self, chosen: Scored, rejected: Scored) -> Tensor:
        """The loss [...] of each pair."""
        return -F.logsigmoid(self.beta * (chosen.mean - rejected.mean) - self.margin)


@dataclass(frozen=True)
class CPO:
    """-log sigma(beta (logp_w - logp_l)) + alpha NLL(y_w), with sums and no reference.

    The NLL is the chosen completion's sum, as in the paper; with `per_token` its mean over tokens, nearer to TRL's
    (which takes it over all tokens of a batch). Source: Xu et al. 2024, arXiv 2401.08417.
    """

    beta: float = 0.1
    alpha: float = 1.0
    per_token: bool = False
    data: ClassVar[str] = "pairs"
    reads: ClassVar[str] = "logp"
    needs_reference: ClassVar[bool] = False

    def __post_init__(self) -> None:
        positive("beta", self.beta)
        at_least("alpha", self.alpha, 0)

    def __call__(self, chosen: Scored, rejected: Scored) -> Tensor:
        """The loss [...] of each pair."""
        likelihood = chosen.mean if self.per_token else chosen.total
        return -F.logsigmoid(self.beta * (chosen.total - rejected.total)) - self.alpha * likelihood


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - e^x), elementwise for x < 0, without cancellation: by expm1 near 0 and by log1p far from it."""
    near = x > -0.6931471805599453
    return torch.where(
        near, (-torch.expm1(torch.where(near, x, -1.0))).log(), torch.log1p(-torch.where(near, -1.0, x).exp())
    )


def log_odds(x: Tensor) -> Tensor:
    """log(p / (1 - p)) of log-probabilities x = log p <= 0, finite also at x = 0."""
    held = x.clamp(max=-torch.finfo(x.dtype).eps)
    return held - log1mexp(held)
