"""Copies of an MDP in the form that Stable-Baselines3 learns from; imported only where that is installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from toykit.control.horizon import steps_of
from toykit.control.mdp import TabularMDP
from toykit.control.worlds.table import TableVectorEnv

Floats = NDArray[np.float32]


def observations(states: NDArray[np.int64], steps: NDArray[np.int64] | int, n_states: int, horizon: int) -> Floats:
    """[N, S + 1]: the state one-hot, and the share of the horizon that is over, from `states` [N] and `steps` [N]."""
    seen = np.zeros((len(states), n_states + 1), dtype=np.float32)
    seen[np.arange(len(states)), states] = 1.0
    seen[:, -1] = np.asarray(steps) / horizon
    return seen


class Copies(VecEnv):
    """`n` copies of an MDP with a horizon, stepped together; an episode that ends begins again at once.

    Observations are those of `observations`; the horizon is an end like any other, so no time limit is reported.
    """

    def __init__(self, mdp: TabularMDP, n: int) -> None:
        self._world = TableVectorEnv(mdp, n, autoreset_mode=AutoresetMode.SAME_STEP)
        self._size = mdp.n_states, steps_of(mdp)
        self._steps = np.zeros(n, dtype=np.int64)
        self._actions = np.zeros(n, dtype=np.int64)
        space = gymnasium.spaces.Box(0.0, 1.0, (mdp.n_states + 1,), np.float32)
        super().__init__(n, space, self._world.single_action_space)

    def reset(self) -> Floats:
        """First observations; the draws of all copies follow the first one's seed."""
        states, _ = self._world.reset(seed=self._seeds[0])
        self._reset_seeds()
        self._steps[:] = 0
        return observations(states, self._steps, *self._size)

    def step_async(self, actions: NDArray[np.int64]) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[Floats, Floats, NDArray[np.bool_], list[dict[str, Any]]]:
        states, rewards, ended, _, found = self._world.step(self._actions)
        self._steps += 1
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if found:
            over = ended.nonzero()[0]
            last = observations(found["final_obs"][over].astype(np.int64), self._steps[over], *self._size)
            for i, seen in zip(over, last, strict=True):
                infos[i] = {"terminal_observation": seen, "TimeLimit.truncated": False}
            self._steps[over] = 0
        return observations(states, self._steps, *self._size), rewards.astype(np.float32), ended, infos

    def close(self) -> None:
        self._world.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The copies have one attribute, which they share."""
        if attr_name != "render_mode":
            raise AttributeError(f"copies of a table have no {attr_name!r}")
        return [None] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise AttributeError(f"copies of a table have no {attr_name!r}")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **options: Any) -> list[Any]:
        raise AttributeError(f"copies of a table have no {method_name!r}")

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> Sequence[bool]:
        return [False] * len(list(self._get_indices(indices)))
