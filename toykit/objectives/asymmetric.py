"""APO's two asymmetries: a KL that is light on the right answers to hard questions, and long wrong answers punished."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from toykit._checks import one_of, positive
from toykit.rollouts.batch import Rollouts

RELEASED_LNB = math.log(1.00001)
CURVES = ("saturating", "exponential")


@dataclass(frozen=True)
class DADS:
    """Difficulty-adaptive divergence shaping: the KL counts less for positive advantages on hard prompts.

    With the group's accuracy `acc` the weight of a completion of positive advantage is, by `curve`,

        saturating   1 - exp(-e acc)      what is run in the released code
        exponential  exp(-e (1 - acc))    what stands there commented out

    and 1 for every other completion, and in groups that are all right or all wrong: it jumps there. It is a
    `KL.weight`. Raises ValueError for another curve. Source: APO (arXiv 2506.21655), ppo_actor.py.
    """

    curve: str = "saturating"

    def __post_init__(self) -> None:
        one_of("curve", self.curve, CURVES)

    def __call__(self, rollouts: Rollouts, advantages: Tensor) -> Tensor:
        right = rollouts.correct
        mixed = right.any(-1) & ~right.all(-1)
        lighter = mixed[..., None] & (advantages.sum(-1) > 0)
        return torch.where(lighter, self.of(rollouts.mean(right.to(advantages)))[..., None], 1.0)

    def of(self, accuracy: Tensor) -> Tensor:
        """The weight [...] of a right completion at accuracies [...] between 0 and 1."""
        return -torch.expm1(-math.e * accuracy) if self.curve == "saturating" else torch.exp(-math.e * (1 - accuracy))


@dataclass(frozen=True)
class STCR:
    """Suboptimal trajectory complexity regularisation: wrong completions that are too long have a larger advantage.

    It is multiplied by 2 - exp(-lnb D), from 1 to 2, with D > 0 the tokens by which a wrong completion is longer than
    the group's right ones are on average; groups without a right one stay as they are. `lnb` is per token, by default
    the released ln 1.00001. With `strict` only negative advantages are enlarged: where the reward has further terms,
    as for format, a wrong completion can have a positive one. A `Transform`. Raises ValueError for lnb <= 0.
    Source: APO (arXiv 2506.21655), experience_maker.py.
    """

    lnb: float = RELEASED_LNB
    strict: bool = False
    needs_reference = False
    needs_entropy = False

    def __post_init__(self) -> None:
        positive("lnb", self.lnb)

    def __call__(self, advantages: Tensor, rollouts: Rollouts) -> Tensor:
        right, lengths = rollouts.correct, rollouts.lengths.to(advantages)
        share = rollouts.mean(right.to(advantages))
        usual = rollouts.mean(lengths * right) / torch.where(share > 0, share, 1.0)
        longer = torch.where(right | (share == 0)[..., None], 0.0, lengths - usual[..., None])
        enlarged = advantages * self.of(longer)[..., None]
        return torch.where(advantages < 0, enlarged, advantages) if self.strict else enlarged

    def of(self, longer: Tensor) -> Tensor:
        """What the advantage is multiplied by [...], of the tokens [...] by which a wrong completion is longer."""
        return 1 - torch.expm1(-self.lnb * longer.clamp(min=0))
