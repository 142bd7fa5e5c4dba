"""Logged transitions of a tabular MDP: the usual dictionary of arrays, checked and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from toykit._checks import nearest
from toykit.control.checks import real

KEYS = ("observations", "actions", "rewards", "terminations", "truncations")
UNKNOWN = -1  # the next state of a transition after which the log was cut


@dataclass(frozen=True, eq=False)
class TabularData:
    """N logged transitions over states 0..S-1 and actions 0..A-1, in the order in which they were made.

    states, actions, next_states int64 [N]; rewards float64 [N]; terminated, truncated bool [N]. An episode ends where
    one of these two is set, and with the last transition. A next state is UNKNOWN (-1) where the log does not tell it.
    """

    states: Tensor
    actions: Tensor
    rewards: Tensor
    next_states: Tensor
    terminated: Tensor
    truncated: Tensor

    @classmethod
    def of(cls, data: Mapping[str, ArrayLike | Tensor], n_states: int, n_actions: int) -> TabularData:
        """Reads a dictionary of arrays as offline data sets have it (Minari, D4RL).

        data  observations and actions (integers), rewards, terminations and truncations (bool or 0 and 1), each [N];
              observations may have one entry more, the state after the last action; next_observations [N] is optional

        Without next_observations a next state is the following observation; it is UNKNOWN after a truncation, and
        after the last transition where `observations` has N entries. After a termination it is UNKNOWN too unless it
        is given, for nothing follows it. Other keys are left out. Raises ValueError, naming the key, for one that is
        missing, lengths that differ, no transition at all, numbers that are no integers, NaN or infinite rewards, and
        states or actions that the MDP has not.
        """
        missing = [key for key in KEYS if key not in data]
        if missing:
            raise ValueError(f"data must have the key {missing[0]!r}{nearest(missing[0], data)}, got {sorted(data)}")
        rewards = real("rewards", data["rewards"])
        n = len(rewards) if rewards.dim() else 0
        if rewards.dim() != 1 or n == 0:
            raise ValueError(f"rewards must have shape [N] with N >= 1 transitions, got {list(rewards.shape)}")
        if not bool(rewards.isfinite().all()):
            at = int((~rewards.isfinite()).nonzero()[0, 0])
            raise ValueError(f"rewards must be finite, got {rewards[at].item()} at transition {at}")
        observations = _places("observations", data["observations"], (n, n + 1), n_states, "state")
        ends = [_flags(key, data[key], n) for key in ("terminations", "truncations")]
        if "next_observations" in data:
            after = _places("next_observations", data["next_observations"], (n,), n_states, "state")
        else:
            after = torch.full((n,), UNKNOWN)
            after[: len(observations) - 1] = observations[1:]
            after[ends[0] | ends[1]] = UNKNOWN
            if len(observations) > n:
                after[-1] = observations[-1]
        actions = _places("actions", data["actions"], (n,), n_actions, "action")
        return cls(observations[:n], actions, rewards, after, *ends)

    def __len__(self) -> int:
        return len(self.rewards)

    def __getitem__(self, index: Tensor | slice) -> TabularData:
        """The transitions at `index` (int64, bool or a slice)."""
        return TabularData(*(getattr(self, field.name)[index] for field in fields(self)))

    @property
    def episode(self) -> Tensor:
        """int64 [N]: the number of each transition's episode, from 0."""
        ended = (self.terminated | self.truncated).long()
        return ended.cumsum(0) - ended

    @property
    def step(self) -> Tensor:
        """int64 [N]: the step of each transition in its episode, from 0."""
        lengths = self.episode.bincount()
        return torch.arange(len(self)) - (lengths.cumsum(0) - lengths)[self.episode]

    def returns_to_go(self, discount: float = 1.0) -> Tensor:
        """[N] sum of the discounted rewards from each transition to the end of its episode."""
        episode, step = self.episode, self.step
        table = torch.zeros(int(episode[-1]) + 1, int(step.max()) + 1, dtype=torch.float64)
        table[episode, step] = self.rewards
        for h in reversed(range(table.shape[1] - 1)):
            table[:, h] += discount * table[:, h + 1]
        return table[episode, step]

    def returns(self, discount: float = 1.0) -> Tensor:
        """[number of episodes] the return of each episode."""
        episode = self.episode
        first = torch.cat([torch.ones(1, dtype=torch.bool), episode[1:] != episode[:-1]])
        return self.returns_to_go(discount)[first]

    def as_dictionary(self) -> dict[str, np.ndarray[Any, Any]]:
        """The arrays under their usual names, with next_observations."""
        names = ("observations", "actions", "rewards", "next_observations", "terminations", "truncations")
        return {name: getattr(self, field.name).numpy() for name, field in zip(names, fields(self), strict=True)}


def _places(key: str, values: ArrayLike | Tensor, lengths: tuple[int, ...], n: int, what: str) -> Tensor:
    """int64 places from 0 to n - 1; raises ValueError naming the key and the transition."""
    given = values if isinstance(values, Tensor) else torch.from_numpy(np.asarray(values))
    if given.dim() == 2 and given.shape[1] == 1:
        given = given[:, 0]
    if given.dim() != 1 or len(given) not in lengths:
        wanted = " or ".join(str(length) for length in lengths)
        raise ValueError(f"{key} must have shape [{wanted}], as rewards have, got {list(given.shape)}")
    if given.is_floating_point() or given.dtype == torch.bool:
        raise ValueError(f"{key} must be integers, got {str(given.dtype).removeprefix('torch.')}")
    given = given.long()
    if bool((wrong := (given < 0) | (given >= n)).any()):
        at = int(wrong.nonzero()[0, 0])
        raise ValueError(f"{key} must be {what}s from 0 to {n - 1}, got {int(given[at])} at transition {at}")
    return given


def _flags(key: str, values: ArrayLike | Tensor, n: int) -> Tensor:
    given = values if isinstance(values, Tensor) else torch.from_numpy(np.asarray(values))
    if given.shape != (n,):
        raise ValueError(f"{key} must have shape [{n}], as rewards have, got {list(given.shape)}")
    if not bool(((given == 0) | (given == 1)).all()):
        raise ValueError(f"{key} must be true or false, got {given.tolist()}")
    return given.bool()
