"""Advantages that look neither at a group nor at a critic: a running mean, and rewards of single tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Moving(Protocol):
    """A piece that keeps something from batch to batch, as named tensors that a checkpoint holds."""

    def state(self) -> dict[str, Tensor]: ...

    def load(self, state: dict[str, Tensor]) -> None: ...


@dataclass
class RunningMean:
    """r - b, with b the moving average of the rewards of earlier batches, 0 before the first (Williams 1992).

    b does not depend on the batch that it is taken from, so that the gradient stays unbiased, and a group of one is
    enough. It is one number for all prompts. Raises ValueError for a decay outside (0, 1).
    """

    decay: float = 0.9
    mean: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.decay < 1:
            raise ValueError(f"decay must be between 0 and 1, got {self.decay}")

    def __call__(self, rewards: Tensor, weights: Tensor, enumerated: bool = False) -> Tensor:
        """Advantages [..., B, G] of rewards [..., B, G] with weights [..., B, G]; then b moves."""
        batch, before = float((weights * rewards).sum(-1).mean()), self.mean
        self.mean = batch if before is None else self.decay * before + (1 - self.decay) * batch
        return rewards - (before or 0.0)

    def state(self) -> dict[str, Tensor]:
        return {"mean": torch.tensor([] if self.mean is None else [self.mean], dtype=torch.float64)}

    def load(self, state: dict[str, Tensor]) -> None:
        self.mean = next(iter(state["mean"].tolist()), None)


@dataclass(frozen=True)
class TokenReturns:
    """gamma^(t-1) times each token's own reward or, with `to_go`, the sum of gamma^(s-1) r_s from its place on.

    To go, it is the gradient of E[sum_t gamma^(t-1) r_t]. The immediate rewards, as the survey of CoT reward
    optimisation prints them, credit a token for nothing that comes after it: another direction, also for a constant
    reward where lengths differ. Source: Srivastava and Aggarwal 2025, arXiv 2507.04136; Sutton et al. 1999.
    """

    gamma: float = 1.0
    to_go: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma must be in (0, 1], got {self.gamma}")

    def __call__(self, rewards: Tensor, mask: Tensor) -> Tensor:
        """Advantages [..., T] of token rewards [..., T] with mask [..., T]."""
        place = torch.arange(rewards.shape[-1], dtype=rewards.dtype, device=rewards.device)
        discounted = (self.gamma**place * rewards).masked_fill(~mask, 0.0)
        if not self.to_go:
            return discounted
        return discounted.flip(-1).cumsum(-1).flip(-1).masked_fill(~mask, 0.0)


def at_last_token(rewards: Tensor, mask: Tensor) -> Tensor:
    """Token rewards [..., T] of completions' rewards [...]: all of it with the last token."""
    return rewards[..., None] * (mask & ~torch.nn.functional.pad(mask[..., 1:], (0, 1)))
