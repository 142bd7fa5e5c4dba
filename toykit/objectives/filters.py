"""Filters of advantages: which of them are too far out to be learned from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from toykit._checks import one_of, positive
from toykit.rollouts.batch import Rollouts

ABOUT = ("zero", "mean")
ROUNDING = (
    1e-9  # a rare class of exactly a tenth lies at the bound of 3, where rounding must not decide (float32: 1e-5)
)


@dataclass(frozen=True)
class SigmaFilter:
    """Standardised advantages farther than `bound` from 0 become 0, the others stay (StableReinforce).

    bound  in standard deviations
    about  "zero", the paper's; "mean" is what the released code compares with, `bound` to either side of the batch's
           mean reward, which is not standardised

    Raises ValueError for a bound <= 0 and another `about`. Source: arXiv 2505.02835.
    """

    bound: float = 3.0
    about: str = "zero"

    def __post_init__(self) -> None:
        positive("bound", self.bound)
        one_of("about", self.about, ABOUT)

    @property
    def needs_reference(self) -> bool:
        return False

    @property
    def needs_entropy(self) -> bool:
        return False

    def __call__(self, advantages: Tensor, rollouts: Rollouts) -> Tensor:
        far = advantages
        if self.about == "mean":
            far = advantages - rollouts.mean(rollouts.rewards).mean(-1)[..., None, None, None]
        bound = self.bound + max(ROUNDING, 32 * torch.finfo(far.dtype).eps * self.bound)
        return torch.where(far.abs() <= bound, advantages, 0.0)
