"""Learning from right completions alone, or from wrong ones alone."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from toykit._checks import one_of
from toykit.rollouts.batch import Rollouts


@dataclass(frozen=True)
class OneSign:
    """Keeps the positive advantages (PSR) or the negative ones (NSR) as they are; the others become 0.

    Both parts add up to the whole. For rewards 0 and 1 less the mean of a group of G, the expected steps are
    (1 - 1/G) (1 - p) grad p (positive) and (1 - 1/G) p grad p (negative), p the success of the prompt: one direction,
    because the scores of right and of wrong completions cancel in the mean. Raises ValueError for another `keep`.
    Source: Zhu et al. 2025 (arXiv 2506.01347), who give 1 and -1 in the place of rewards less their mean.
    """

    keep: str = "negative"
    needs_reference = False
    needs_entropy = False

    def __post_init__(self) -> None:
        one_of("keep", self.keep, ("negative", "positive"))

    def __call__(self, advantages: Tensor, rollouts: Rollouts) -> Tensor:
        return advantages.clamp(min=0) if self.keep == "positive" else advantages.clamp(max=0)
