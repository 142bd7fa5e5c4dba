"""The reference policy: the first one, and how it follows the policy."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from toykit.objectives import Plateau, Reference
from toykit.policies import lora


class Follower:
    """Moves a reference as its settings say; what it has seen of a figure belongs to one run, and to its checkpoint."""

    def __init__(self, how: Reference) -> None:
        self.how = how
        self.best: float | None = None
        self.waited = 0

    @torch.no_grad()
    def __call__(
        self,
        reference: nn.Module,
        policy: nn.Module,
        optimizer: torch.optim.Optimizer | None,
        done: int,
        figures: Mapping[str, float],
    ) -> dict[str, float]:
        """Moves the reference after `done` steps, of which the last had `figures`; returns {"reset": 0 or 1} where it
        is reset now and then, else nothing."""
        if self.how.kind == "frozen":
            return {}
        if self.how.kind == "average":
            _move(reference, policy, 1.0 - self.how.decay)
            return {}
        stalled = self.how.on_plateau is not None and self._stalled(self.how.on_plateau, figures)
        due = stalled or (self.how.every is not None and done % self.how.every == 0)
        if due:
            _move(reference, policy, 1.0)
            self.best, self.waited = None, 0
            if self.how.optimizer and optimizer is not None:
                optimizer.state.clear()  # made anew by its next step, as in its first
        return {"reset": float(due)}

    def _stalled(self, plateau: Plateau, figures: Mapping[str, float]) -> bool:
        if (value := figures.get(plateau.figure)) is None:
            return False
        if self.best is None or value > self.best + plateau.min_delta:
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        return self.waited >= plateau.patience

    def state(self) -> dict[str, Tensor]:
        if self.how.on_plateau is None:
            return {}
        best = torch.tensor([] if self.best is None else [self.best], dtype=torch.float64)
        return {"best": best, "waited": torch.tensor(self.waited)}

    def load(self, state: dict[str, Tensor]) -> None:
        if self.how.on_plateau is not None:
            self.best, self.waited = next(iter(state["best"].tolist()), None), int(state["waited"])


def _move(reference: nn.Module, policy: nn.Module, weight: float) -> None:
    for ours, theirs in zip(reference.parameters(), policy.parameters(), strict=True):
        ours.lerp_(theirs, weight)


def first(policy: nn.Module, how: Reference) -> nn.Module:
    """The policy as it is now: a copy, or, where that stays the same, an adapted model with its adapters off."""
    return lora.Unadapted(policy) if how.kind == "frozen" and lora.untrained(policy) else frozen_copy(policy)


def frozen_copy(policy: nn.Module) -> nn.Module:
    """A copy that is not trained."""
    return copy.deepcopy(policy).requires_grad_(False).eval()
