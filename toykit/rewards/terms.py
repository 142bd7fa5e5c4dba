"""Terms that are added to a task's reward: each a function of the whole batch, weighted and logged by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from toykit._checks import positive
from toykit.rollouts.batch import Rollouts

Term = Callable[[Rollouts], Tensor]  # [B, G]


@dataclass(frozen=True)
class Shaping:
    """The task's reward plus weighted terms: {name: (weight, term)}."""

    terms: dict[str, tuple[float, Term]] = field(default_factory=dict)

    def __call__(self, rollouts: Rollouts) -> tuple[Rollouts, dict[str, float]]:
        """(rollouts with the shaped reward, the mean of each term before its weight).

        The task's own reward stays in `extras["task_rewards"]`, and its mean is that of the term "task". Raises
        ValueError naming the prompt where the shaped reward is not finite.
        """
        if not self.terms:
            return rollouts.check(), {}
        task = rollouts.extras.get("task_rewards", rollouts.rewards)
        rewards, means = rollouts.rewards, {"reward/task": float(rollouts.mean(task).mean())}
        for name, (weight, term) in self.terms.items():
            values = term(rollouts).to(rewards)
            rewards = rewards + weight * values
            means[f"reward/{name}"] = float(rollouts.mean(values).mean())
        return rollouts.with_(rewards=rewards, extras={"task_rewards": task}).check(), means


@dataclass(frozen=True)
class Gated:
    """A term that is paid as far as the task is: the task's reward times the term.

    What it says of a completion that is wrong (whose task reward is 0) cannot pay. Source: the consistency reward of
    R1-Reward (arXiv 2505.02835).
    """

    term: Term

    def __call__(self, rollouts: Rollouts) -> Tensor:
        return rollouts.task_rewards * self.term(rollouts).to(rollouts.task_rewards)


@dataclass(frozen=True)
class SoftOverlong:
    """DAPO's soft overlong penalty (arXiv 2503.14476, eq. 13): 0 up to horizon - cache tokens, then linearly to -1.

    `cache` is in tokens; None means a fifth of the horizon, the proportion of the paper (4096 of 20480).
    """

    cache: float | None = None

    def __post_init__(self) -> None:
        if self.cache is not None:
            positive("cache", self.cache)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        if rollouts.horizon is None:
            raise ValueError("horizon must be given for the overlong penalty, got None")
        cache = self.cache or rollouts.horizon / 5
        over = rollouts.lengths - (rollouts.horizon - cache)
        return torch.clamp(-over / cache, max=0.0)


def length(rollouts: Rollouts) -> Tensor:
    """The completion's length over the horizon (over the longest, where the horizon is not known)."""
    return rollouts.lengths / (rollouts.horizon or rollouts.mask.shape[-1])
