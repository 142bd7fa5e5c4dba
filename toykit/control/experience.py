"""Transitions with continuous states and actions, and where they come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from toykit._checks import at_least, finite

Action = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Transitions:
    """N transitions, float32.

    states [N, d]; actions [N, k]; rewards [N]; next_states [N, d]; terminated bool [N], True where the next state ended
    the episode (not where a time limit cut it). Raises ValueError for lengths that differ, and NaN or infinite numbers.
    """

    states: Tensor
    actions: Tensor
    rewards: Tensor
    next_states: Tensor
    terminated: Tensor

    def __post_init__(self) -> None:
        lengths = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"transitions must all have one length, got {lengths}")
        for name in ("states", "actions", "rewards", "next_states"):
            finite(name, getattr(self, name))

    def __len__(self) -> int:
        return len(self.rewards)

    def __getitem__(self, index: Tensor | slice) -> Transitions:
        """The transitions at `index` (int64, bool or a slice)."""
        return Transitions(*(getattr(self, field.name)[index] for field in fields(self)))

    def split(self, fraction: float, generator: torch.Generator) -> tuple[Transitions, Transitions]:
        """A random `fraction` of the transitions, rounded down, and the others (training and validation, say).

        Raises ValueError where one of the two would be empty.
        """
        order = torch.randperm(len(self), generator=generator)
        first = int(fraction * len(self))
        if not 0 < first < len(self):
            raise ValueError(f"fraction must leave both parts some of {len(self)} transitions, got {fraction}")
        return self[order[:first]], self[order[first:]]


def collect(
    env: Any, n: int, seed: int, policy: Callable[[Action, np.random.Generator], Action] | None = None
) -> Transitions:
    """`n` transitions of a gymnasium environment with Box states and actions.

    policy  the action [k] of an observation [d], with a generator to draw from; None: uniform over the action space

    Episodes start anew where they end or are cut. The same seed gives the same transitions. Raises ValueError for
    n < 1 and an action space without bounds.
    """
    at_least("n", n, 1)
    low, high = (getattr(env.action_space, name, None) for name in ("low", "high"))
    if low is None or high is None or not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ValueError(f"env must have a bounded Box of actions, got {env.action_space}")
    draws = np.random.default_rng(seed)
    rows: list[tuple[Any, ...]] = []
    state, _ = env.reset(seed=seed)
    for _ in range(n):
        action = draws.uniform(low, high).astype(low.dtype) if policy is None else policy(state, draws)
        after, reward, terminated, truncated, _ = env.step(action)
        rows.append((state, action, reward, after, terminated))
        state = env.reset()[0] if terminated or truncated else after
    states, actions, rewards, after, terminated = (torch.as_tensor(np.array(c)) for c in zip(*rows, strict=True))
    return Transitions(states.float(), actions.float(), rewards.float(), after.float(), terminated.bool())
