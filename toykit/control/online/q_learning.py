"""Q-learning that explores by chance, as a plain baseline."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from toykit._checks import inside
from toykit.control.online.draws import Draws


@dataclass(frozen=True)
class QLearning:
    """Q(s, a) moves by a share `rate` towards r + discount max Q(s'); a random action with probability `epsilon`.

    It begins at `first`, of all actions, and takes the first of equal ones. A constant rate forgets by itself. Raises
    ValueError unless discount and rate are between 0 and 1 and 0 <= epsilon <= 1. Source: Watkins (1989).
    """

    discount: float = 0.95
    rate: float = 0.1
    epsilon: float = 0.1
    first: float = 0.0

    def __post_init__(self) -> None:
        inside("discount", self.discount)
        inside("rate", self.rate)
        if not 0 <= self.epsilon <= 1:
            raise ValueError(f"epsilon must be from 0 to 1, got {self.epsilon}")

    def start(self, n_states: int, n_actions: int, seeds: Iterable[int]) -> QLearningRuns:
        """Runs that have seen nothing, one for each seed, which draws what is explored."""
        return QLearningRuns(self, n_states, n_actions, Draws(seeds, stream=1))


class QLearningRuns:
    """B runs of Q-learning side by side; `act` and `learn` take turns. `q` float64 [B, S, A]; none restarts."""

    def __init__(self, how: QLearning, n_states: int, n_actions: int, draws: Draws) -> None:
        self.how, self.draws, self.every = how, draws, np.arange(len(draws))
        self.q = np.full((len(draws), n_states, n_actions), how.first)
        self.restarted = np.zeros(len(draws), dtype=bool)

    def act(self, states: np.ndarray) -> np.ndarray:
        """Actions [B] in states [B]."""
        u, n_actions = self.draws.next(), self.q.shape[-1]
        explores = u < self.how.epsilon
        action = (u / max(self.how.epsilon, 1e-300) * n_actions).clip(max=n_actions - 1).astype(np.int64)
        return np.where(explores, action, self.q[self.every, states].argmax(-1))

    def learn(self, states: np.ndarray, actions: np.ndarray, rewards: np.ndarray, next_states: np.ndarray) -> None:
        """Takes in one step of each run, all [B]."""
        target = rewards + self.how.discount * self.q[self.every, next_states].max(-1)
        at = self.every, states, actions
        self.q[at] += self.how.rate * (target - self.q[at])
