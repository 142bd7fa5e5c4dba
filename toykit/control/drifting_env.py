"""MDPs that change with time as environments."""

from __future__ import annotations

from typing import Any

import gymnasium

from toykit.control.gym import MDPEnv
from toykit.control.worlds.drifting import Drifting, swapped_chain


class DriftingEnv(gymnasium.Wrapper[int, int, int, int]):
    """A piecewise-stationary MDP as an environment: the `MDPEnv` of its first phase, which changes as the phases do.

    world        the phases; `env.unwrapped.mdp` is the table of the one that holds
    render_mode  as of `MDPEnv`

    Steps are counted from the last reset. `info["phase"]` is the index of the phase in which the next action is taken,
    and `info["action_mask"]` its allowed actions. Errors are those of `MDPEnv`.
    """

    env: MDPEnv

    def __init__(self, world: Drifting, render_mode: str | None = None) -> None:
        super().__init__(MDPEnv(world.phases[0], render_mode))
        self.world, self.env.drifts = world, True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Starts in the first phase; see `MDPEnv.reset`."""
        self.env.change(self.world.phases[0])
        state, info = self.env.reset(seed=seed, options=options)
        return state, info | {"phase": 0}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Takes an action in the phase of the step; see `MDPEnv.step`."""
        state, reward, terminated, truncated, info = self.env.step(action)
        phase = self.world.phase(info["step"])
        self.env.change(self.world.phases[phase])
        mask = {"action_mask": self.env.action_mask}
        return state, reward, terminated, truncated, info | mask | {"phase": phase}


def drifting_env(world: Drifting | None = None, render_mode: str | None = None) -> DriftingEnv:
    """The environment of any piecewise-stationary MDP; without one, of `swapped_chain`."""
    return DriftingEnv(swapped_chain() if world is None else world, render_mode)
