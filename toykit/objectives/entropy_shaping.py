"""Entropy shaping: a little more advantage where the policy was uncertain."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from toykit._checks import one_of, positive
from toykit.rollouts.batch import Rollouts


@dataclass(frozen=True)
class EntropyShaping:
    """A + min(alpha H, |A| / kappa) on each token, held without a gradient: a `Transform`.

    With kappa 2 no sign changes, right tokens count up to 3/2 and wrong ones down to 1/2. `entropy` says what H is:
    "law", the entropy of the next-token law as the paper has it, or "sampled", -p log p of the token that was drawn, as
    the released code has it, which is at most 1/e. Source: MSSR (arXiv 2512.18215), after "Reasoning with
    Exploration: An Entropy Perspective".
    """

    alpha: float = 0.4
    kappa: float = 2.0
    entropy: str = "sampled"

    def __post_init__(self) -> None:
        positive("alpha", self.alpha)
        positive("kappa", self.kappa)
        one_of("entropy", self.entropy, ("sampled", "law"))

    @property
    def needs_reference(self) -> bool:
        return False

    @property
    def needs_entropy(self) -> bool:
        return self.entropy == "law"

    def __call__(self, advantages: Tensor, rollouts: Rollouts) -> Tensor:
        """Advantages [..., B, G, T] from advantages."""
        more = torch.minimum(self.alpha * self._entropies(rollouts), advantages.abs() / self.kappa)
        return advantages + more.masked_fill(~rollouts.mask, 0.0)

    def _entropies(self, rollouts: Rollouts) -> Tensor:
        if self.entropy == "sampled":
            return -rollouts.old_logp.exp() * rollouts.old_logp
        if "token_entropy" not in rollouts.extras:
            raise ValueError(f"extras['token_entropy'] must be given for this objective, got {sorted(rollouts.extras)}")
        return rollouts.extras["token_entropy"]
