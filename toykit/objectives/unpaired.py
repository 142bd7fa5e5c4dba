"""Losses on single completions: imitation, labels of good and bad, and scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from toykit._checks import one_of, positive
from toykit.objectives.preference import Scored


@dataclass(frozen=True)
class SFT:
    """-mean log pi(y) of demonstrations: supervised fine-tuning.

    `aggregate` "token_mean" is the mean over all tokens of the batch, as trainers take it; "token_sum" the mean over
    completions of their sums, which is the cross-entropy to the data's law, KL(data || pi) up to a constant.
    """

    aggregate: str = "token_mean"
    data: ClassVar[str] = "demonstrations"
    reads: ClassVar[str] = "logp"
    needs_reference: ClassVar[bool] = False

    def __post_init__(self) -> None:
        one_of("aggregate", self.aggregate, ("token_mean", "token_sum"))

    def shared(self, own: Scored, weights: Tensor) -> Tensor:
        """What all rows of a batch are divided by: the mean length, or 1."""
        if self.aggregate == "token_sum":
            return torch.ones_like(weights[0])
        return ((weights * own.mask.sum(-1)).sum() / weights.sum()).clamp(min=1)

    def __call__(self, own: Scored, by: Tensor | float = 1.0) -> Tensor:
        """The loss [...] of each completion, divided by what `shared` gives."""
        return -own.total / by


@dataclass(frozen=True)
class KTO:
    """desirable (1 - sigma(beta (h - z0))) for good completions, undesirable (1 - sigma(beta (z0 - h))) for bad ones.

    z0 estimates KL(pi || pi0) by completions of other prompts, is held above 0 and has no gradient. The weights are to
    keep desirable n_good / (undesirable n_bad) in [1, 4/3]. Source: Ethayarajh et al. 2024, arXiv 2402.01306, eq. 8.
    """

    beta: float = 0.1
    desirable: float = 1.0
    undesirable: float = 1.0
    data: ClassVar[str] = "labelled"
    reads: ClassVar[str] = "logp"
    needs_reference: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("beta", "desirable", "undesirable"):
            positive(name, getattr(self, name))

    def shared(self, mismatched: Scored, weights: Tensor) -> Tensor:
        """z0, one number, of the completions of other prompts [N, T] with weights [N]."""
        return ((weights * mismatched.log_ratio).sum() / weights.sum()).clamp(min=0).detach()

    def __call__(self, own: Scored, labels: Tensor, z0: Tensor | float) -> Tensor:
        """The loss [...] of each completion with labels [...]: 1 good, 0 bad (raises ValueError for others)."""
        if not bool(((labels == 0) | (labels == 1)).all()):
            raise ValueError("labels must be 0 or 1 for KTO, got others")
        above = self.beta * (own.log_ratio - z0)
        return torch.where(labels > 0.5, self.desirable * F.sigmoid(-above), self.undesirable * F.sigmoid(above))


@dataclass(frozen=True)
class UNA:
    """The implicit reward beta h(y) fitted to a score z: (beta h - z)^2, or BCE(sigma(beta h), z) for z in [0, 1].

    With scores r - beta log Z the optimum is pi0 exp(r / beta) / Z; with raw rewards only where beta log Z = 0, or
    where the completions are the policy's own: then the constant drops out of the gradient. Source: Wang et al. 2024,
    arXiv 2408.15339 (its survey prints 1 / beta for beta).
    """

    beta: float = 0.1
    loss: str = "mse"
    data: ClassVar[str] = "labelled"
    reads: ClassVar[str] = "logp"
    needs_reference: ClassVar[bool] = True

    def __post_init__(self) -> None:
        positive("beta", self.beta)
        one_of("loss", self.loss, ("mse", "bce"))

    def __call__(self, own: Scored, scores: Tensor) -> Tensor:
        """The loss [...] of each completion with scores [...]; raises ValueError for BCE of scores outside [0, 1]."""
        implicit = self.beta * own.log_ratio
        if self.loss == "mse":
            return (implicit - scores) ** 2
        if not bool(((scores >= 0) & (scores <= 1)).all()):
            raise ValueError("labels must be in [0, 1] for UNA's cross-entropy")
        return F.binary_cross_entropy_with_logits(implicit, scores, reduction="none")
