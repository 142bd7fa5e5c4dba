"""An expert's solution as a yardstick: the policy's own completions are pushed by where they stand beside its level."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from toykit._checks import at_least, one_of, positive
from toykit.objectives.penalties import Term
from toykit.rollouts.batch import Rollouts

LEVELS = ("token", "sequence_sum", "sequence_mean")
ROUNDING = 100  # units of rounding within which a log-probability is the level itself


@dataclass(frozen=True)
class ExpertGate:
    """weight |A| LeakyReLU(-s D; slope): right completions (s = 1) are pushed up and wrong ones (s = -1) down, with the
    whole force on the one side of the expert's level and with `slope` times it on the other.

    D is the log-probability of the completion less the expert's, which is the behaviour policy's, held:

        token          token by token, by position; beyond the expert's end its level is 0             (released code)
        sequence_sum   of the whole completion and the whole solution: sums over tokens                (paper)
        sequence_mean  of both, means over tokens                                                      (paper)

    Each token gets the gradient weight |A| s g of its own log-probability, aggregated as the surrogate's, with g = 1
    where -s D > 0 and else `slope`; for a sequence all tokens have one g. So the term is the formula itself for
    "token" whatever the aggregation, for "sequence_sum" under token_sum and for "sequence_mean" under sequence_mean.
    What the expert says too is at its level, D = 0, up to rounding: that of two passes must not decide g. The term
    knows no ratio and no clip. s is +1 where `Rollouts.correct`. A prompt without an expert has none of it. Figures:
    the share of tokens beyond the level, of right and of wrong completions.

    Raises ValueError for weight <= 0, a slope outside [0, 1] and another level. Source: CalibRL (arXiv 2602.20197).
    """

    weight: float = 0.1
    slope: float = 0.5
    level: str = "token"
    needs_reference = False
    needs_vocab = False

    def __post_init__(self) -> None:
        positive("weight", self.weight)
        if at_least("slope", self.slope, 0) > 1:
            raise ValueError(f"slope must be at most 1, got {self.slope}")
        one_of("level", self.level, LEVELS)

    def prepare(self, rollouts: Rollouts, advantages: Tensor) -> dict[str, Tensor]:
        """The level of each token, and the force on it with its sign, as extras [..., B, G, T]."""
        extras = rollouts.extras
        if "expert_logp" not in extras:
            raise ValueError(f"extras['expert_logp'] must be given for an expert's level, got {sorted(extras)}")
        level, there = extras["expert_logp"], extras["expert_mask"]
        if self.level != "token":
            level = level.sum(-1, keepdim=True)
            over = rollouts.mask if self.level == "sequence_sum" else there
            level = (level / over.sum(-1, keepdim=True).clamp(min=1)).expand_as(rollouts.old_logp)
        sign = torch.where(rollouts.correct, 1.0, -1.0).to(advantages)[..., None]
        force = self.weight * advantages.abs() * sign * there.any(-1, keepdim=True)
        return {"expert_level": level * rollouts.mask, "expert_force": force, "expert_sign": sign.expand_as(force)}

    def __call__(self, logp: Tensor, rollouts: Rollouts, vocab_logp: Tensor | None = None) -> Term:
        extras = rollouts.extras
        gap = (logp - extras["expert_level"]).masked_fill(~rollouts.mask, 0.0)
        whole, level = gap.detach(), extras["expert_level"]
        if self.level != "token":
            whole, level = whole.sum(-1, keepdim=True), level.sum(-1, keepdim=True)
        rounding = ROUNDING * torch.finfo(logp.dtype).eps * (1 + level.abs())
        full = -extras["expert_sign"] * whole > rounding
        loss = -extras["expert_force"] * torch.where(full, gap, self.slope * gap)
        known = extras["expert_mask"].any(-1, keepdim=True) & rollouts.mask
        past, right = (~full & known).to(logp), extras["expert_sign"] > 0
        return loss, {"past_expert_right": past * right, "past_expert_wrong": past * ~right}
