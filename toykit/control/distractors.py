"""A gymnasium wrapper that adds state dimensions which nothing depends on."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from toykit._checks import at_least, positive

Observation = NDArray[np.float32]


class Distractors(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Observations [d + n]: those of a Box environment, then `n` distractors z that neither reward nor state depend on.

    z' = persistence M z + std sqrt(1 - persistence^2) noise, from z ~ N(0, std^2) at every reset, with a random
    orthogonal matrix M of `seed`: each z has standard deviation `std` at all times. With persistence 1 they can be
    predicted exactly, with 0 they are white noise.

    Raises ValueError for n < 1, std <= 0, a persistence outside [0, 1], and an environment without Box observations.
    Source: VaGraM's distracting dimensions, z' = M z; its M has independent N(0, 1) entries, under which z grows
    without bound for n > 1.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], n: int, std: float = 3.0, persistence: float = 1.0, seed: int = 0):
        super().__init__(env)
        at_least("n", n, 1)
        positive("std", std)
        if not 0 <= persistence <= 1:
            raise ValueError(f"persistence must be from 0 to 1, got {persistence}")
        space = env.observation_space
        if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
            raise ValueError(f"env must have observations in a Box of one axis, got {space}")
        self.std, self.persistence = std, persistence
        q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))
        self.matrix = q * np.sign(np.diag(r))  # signs make it uniform over the orthogonal matrices
        low, high = (
            np.concatenate([bound, np.full(n, sign * np.inf)]) for bound, sign in ((space.low, -1), (space.high, 1))
        )
        self.observation_space = gymnasium.spaces.Box(low.astype(np.float32), high.astype(np.float32))
        self._z = np.zeros(n)
        self._draws: np.random.Generator | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Resets the environment and draws new distractors."""
        observation, info = self.env.reset(seed=seed, options=options)
        if seed is not None or self._draws is None:
            self._draws = self.env.unwrapped.np_random.spawn(1)[0]
        self._z = self.std * self._draws.normal(size=self._z.shape)
        return self._with(observation), info

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """A step of the environment and of the distractors."""
        if self._draws is None:
            raise ValueError("env must be reset before the first step")
        observation, reward, terminated, truncated, info = self.env.step(action)
        noise = self.std * (1 - self.persistence**2) ** 0.5 * self._draws.normal(size=self._z.shape)
        self._z = self.persistence * self.matrix @ self._z + noise
        return self._with(observation), float(reward), terminated, truncated, info

    def _with(self, observation: Any) -> Observation:
        return np.concatenate([observation, self._z]).astype(np.float32)
