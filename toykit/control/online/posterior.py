"""A posterior over finitely many hypotheses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class FinitePosterior:
    """Log-probabilities [..., K] of K hypotheses, normalised when made; leading axes are problems of their own.

    Raises ValueError where no hypothesis has a positive probability: then what was observed contradicts all of them.
    """

    log_probs: Tensor

    def __post_init__(self) -> None:
        total = self.log_probs.logsumexp(-1, keepdim=True)
        if bool((wrong := ~total.isfinite()).any()):
            at = wrong.nonzero()[0].tolist()[:-1]
            raise ValueError(f"log_probs must leave a hypothesis possible, got probability 0 of all at index {at}")
        object.__setattr__(self, "log_probs", self.log_probs - total)

    @classmethod
    def uniform(cls, *size: int) -> FinitePosterior:
        """Equal probabilities of the last axis, in float64."""
        return cls(torch.zeros(size, dtype=torch.float64))

    @property
    def probabilities(self) -> Tensor:
        """[..., K]."""
        return self.log_probs.exp()

    def after(self, log_likelihood: Tensor) -> FinitePosterior:
        """The posterior after an observation, from its log-likelihood [..., K] under each hypothesis.

        Where none makes the observation possible, as two opposite answers of a judge who never errs, the observation
        contradicts the hypotheses: raises ValueError, with the index.
        """
        return FinitePosterior(self.log_probs + log_likelihood)

    def draw(self, uniforms: Tensor) -> Tensor:
        """int64 [...]: one hypothesis each, by `uniforms` [...] in [0, 1)."""
        below = uniforms[..., None] >= self.probabilities.cumsum(-1)
        return below.sum(-1).clamp(max=self.log_probs.shape[-1] - 1)
