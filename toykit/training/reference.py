"""The reference policy: frozen, reset to the policy now and then, or its moving average."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn

from toykit._checks import at_least, one_of
from toykit.policies import lora


@dataclass(frozen=True)
class Reference:
    """How the reference follows the policy.

    frozen   it stays what it was at the start
    reset    it becomes a copy of the policy after every `every` steps
    average  it moves by (1 - decay) towards the policy after each step
    """

    kind: str = "frozen"
    every: int = 100
    decay: float = 0.99

    def __post_init__(self) -> None:
        one_of("reference", self.kind, ("frozen", "reset", "average"))
        at_least("every", self.every, 1)
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {self.decay}")

    @torch.no_grad()
    def follow(self, reference: nn.Module, policy: nn.Module, done: int) -> None:
        """Moves the reference after the policy has made `done` steps."""
        if self.kind == "frozen" or (self.kind == "reset" and done % self.every):
            return
        weight = 1.0 if self.kind == "reset" else 1.0 - self.decay
        for ours, theirs in zip(reference.parameters(), policy.parameters(), strict=True):
            ours.lerp_(theirs, weight)


def first(policy: nn.Module, how: Reference) -> nn.Module:
    """The policy as it is now: a copy, or, where that stays the same, an adapted model with its adapters off."""
    return lora.Unadapted(policy) if how.kind == "frozen" and lora.untrained(policy) else frozen_copy(policy)


def frozen_copy(policy: nn.Module) -> nn.Module:
    """A copy that is not trained."""
    return copy.deepcopy(policy).requires_grad_(False).eval()
