"""Losses of reward models: preferences over whole completions, and right or wrong steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from toykit._checks import at_least, one_of


@dataclass(frozen=True)
class BradleyTerry:
    """-log sigma(s_w - s_l - margin) + centre (s_w + s_l)^2 (Ouyang et al. 2022, arXiv 2203.02155, eq. 1).

    With `margins` the data's own count, how much better the chosen one is (Llama 2, arXiv 2307.09288), else 0; `centre`
    fixes the constant that preferences leave open (Eisenstein et al. 2023, arXiv 2312.09244). With the labels
    of a judge model it is RLAIF's (arXiv 2309.00267).
    """

    centre: float = 0.0
    margins: bool = False
    data: ClassVar[str] = "pairs"
    reads: ClassVar[str] = "score"
    needs_reference: ClassVar[bool] = False

    def __post_init__(self) -> None:
        at_least("centre", self.centre, 0)

    def __call__(self, chosen: Tensor, rejected: Tensor, margins: Tensor | float = 0.0) -> Tensor:
        """The loss [...] of each pair of scores [...]."""
        return -F.logsigmoid(chosen - rejected - margins) + self.centre * (chosen + rejected) ** 2


@dataclass(frozen=True)
class ProcessReward:
    """Cross-entropy of sigma(s) at the last token of each step, a mean over a completion's steps.

    One logit is a two-class head's difference. Source: Lightman et al. 2023, arXiv 2305.20050; Uesato et al. 2022.
    """

    data: ClassVar[str] = "steps"
    reads: ClassVar[str] = "score"
    needs_reference: ClassVar[bool] = False

    def __call__(self, scores: Tensor, ends: Tensor, labels: Tensor) -> Tensor:
        """The loss [...] of scores [..., T] with `ends` bool [..., T] and labels [..., T] in [0, 1] at the ends."""
        each = F.binary_cross_entropy_with_logits(scores, labels.where(ends, 0.0).to(scores), reduction="none")
        return each.masked_fill(~ends, 0.0).sum(-1) / ends.sum(-1).clamp(min=1)


def process_score(scores: Tensor, ends: Tensor, how: str = "min") -> Tensor:
    """One number [...] of a process reward model's scores [..., T] at `ends` bool [..., T]: the probability of the
    worst step ("min") or of all ("product"); 1 where there is no step. Raises ValueError for another way."""
    one_of("how", how, ("min", "product"))
    log_right = F.logsigmoid(scores).masked_fill(~ends, 0.0)
    return (log_right.amin(-1) if how == "min" else log_right.sum(-1)).exp()


def last(values: Tensor, mask: Tensor) -> Tensor:
    """What stands on a completion's last token: [...] of values [..., T]; 0 for an empty completion."""
    place = (mask.sum(-1, keepdim=True) - 1).clamp(min=0)
    return torch.where(mask.any(-1), values.gather(-1, place)[..., 0], 0.0)
