"""Clipping: how far one batch may push a ratio."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from toykit._checks import positive


@dataclass(frozen=True)
class Clip:
    """PPO's clipped surrogate with separate bounds (Schulman et al. 2017; clip-higher: DAPO, arXiv 2503.14476).

    min(w A, clip(w, 1 - low, 1 + high) A); with `dual` = c > 1 and A < 0, not below c A (dual clip, arXiv 1912.09729).
    """

    low: float = 0.2
    high: float = 0.2
    dual: float | None = None

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            positive(name, getattr(self, name))
        if self.low > 1:
            raise ValueError(f"low must be <= 1, got {self.low}")
        if self.dual is not None and self.dual <= 1:
            raise ValueError(f"dual must be > 1 or None, got {self.dual}")

    def __call__(self, w: Tensor, advantage: Tensor) -> Tensor:
        """The surrogate, elementwise, of ratios and advantages of one shape."""
        kept = torch.minimum(w * advantage, w.clamp(1 - self.low, 1 + self.high) * advantage)
        if self.dual is None:
            return kept
        return torch.where(advantage < 0, torch.maximum(kept, self.dual * advantage), kept)

    def active(self, w: Tensor, advantage: Tensor) -> tuple[Tensor, Tensor]:
        """(low, high), bool: where the lower or the upper bound has stopped the gradient."""
        return (advantage < 0) & (w < 1 - self.low), (advantage > 0) & (w > 1 + self.high)
