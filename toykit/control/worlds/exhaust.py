"""A deterministic environment becomes a tabular MDP by trying every action in every state that can be reached."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from copy import deepcopy
from typing import Any

import gymnasium
import numpy as np

from toykit._checks import at_least
from toykit.control.mdp import TabularMDP

Key = Callable[[Any], Hashable]


def _nothing(world: Any) -> None:
    """For an environment that has no clock."""


def exhaust(
    env: gymnasium.Env[Any, Any],
    key: Key | None = None,
    discount: float = 1.0,
    horizon: int | None = None,
    seed: int = 0,
    most: int = 10_000,
    prepare: Callable[[Any], None] = _nothing,
) -> TabularMDP:
    """The MDP of all states that can be reached from `env.reset(seed=seed)`, breadth first; the last state is the end.

    env      an environment with Discrete actions that is deterministic after its reset; the wrappers are taken off
    key      what tells the unwrapped environment's states apart, a hashable value; None: `minigrid_key`
    most     states at most
    prepare  what is done to each copy of the unwrapped environment before its step, to set back a clock, say

    Each action is taken twice, in deep copies with different random numbers, which shows most of what is random. States
    come in the order in which they are found, the first being where episodes start; all ends lead to one more state.
    Raises ValueError for more states than `most`; where the two copies differ, with the state and the action; where a
    step is cut by a time limit; and for other actions.
    """
    at_least("most", most, 1)
    world = env.unwrapped
    if not isinstance(world.action_space, gymnasium.spaces.Discrete) or world.action_space.start != 0:
        raise ValueError(f"env must have Discrete actions from 0, got {world.action_space}")
    if key is None:
        if not hasattr(world, "agent_pos"):
            raise ValueError(f"key must be given for {world}: only states of MiniGrid are known")
        key = minigrid_key
    env.reset(seed=seed)
    worlds = [_copied(world)]
    index = {key(world): 0}
    after: list[list[int]] = []
    reward: list[list[float]] = []
    while len(after) < len(worlds):
        state = len(after)
        after.append([])
        reward.append([])
        for action in range(int(world.action_space.n)):
            reached, name, paid, over = _one_step(worlds[state], action, state, key, prepare)
            if not over and name not in index:
                if len(index) == most:
                    raise ValueError(f"most must be larger: {env} has more than {most} states")
                index[name] = len(worlds)
                worlds.append(reached)
            after[state].append(-1 if over else index[name])
            reward[state].append(paid)
        worlds[state] = None  # it is not needed again
    n, n_actions = np.shape(after)
    successors = np.where(np.array(after) < 0, n, after)
    rows = np.concatenate([successors, np.full((1, n_actions), n)])[..., None]
    R = np.concatenate([reward, np.zeros((1, n_actions))])
    return TabularMDP(np.ones(rows.shape), R, discount, horizon, start=0, successors=rows, terminal=[n])


def _copied(world: Any) -> Any:
    """A deep copy that shares what does not change, or is set anew: spaces, spec and random numbers."""
    same = (world.action_space, world.observation_space, world.spec, world.np_random)
    return deepcopy(world, {id(x): x for x in same})


def _one_step(
    world: Any, action: int, state: int, key: Key, prepare: Callable[[Any], None]
) -> tuple[Any, Hashable, float, bool]:
    """The copy after the action, its key, the reward, and whether the episode ended."""
    found = []
    for copy in range(2):
        trial = _copied(world)
        trial.np_random = np.random.default_rng((state, action, copy))  # others each time, or an outcome stays hidden
        prepare(trial)
        _, paid, over, cut, _ = trial.step(action)
        if cut:
            raise ValueError(f"env must not cut episodes: it does in state {state} at action {action}, see `prepare`")
        found.append((trial, key(trial), float(paid), bool(over)))
    if found[0][1:] != found[1][1:]:
        raise ValueError(f"env must be deterministic: in state {state} action {action} has two outcomes")
    return found[0]


def minigrid_key(world: Any) -> Hashable:
    """The state of a MiniGrid environment: the agent's place and direction, the grid, and what is carried."""
    carried = None if world.carrying is None else world.carrying.encode()
    return tuple(map(int, world.agent_pos)), int(world.agent_dir), world.grid.encode().tobytes(), carried


def _no_time(world: Any) -> None:
    world.step_count = -1


def minigrid(
    name: str, discount: float = 0.99, horizon: int | None = None, seed: int = 0, most: int = 10_000, **options: Any
) -> TabularMDP:
    """A MiniGrid environment as a tabular MDP; `seed` lays out its grid.

    name     its id, as "MiniGrid-Empty-5x5-v0", made with `options`

    Success pays 1: MiniGrid itself takes off a share of the time that was used, which is no function of the state (a
    discount stands for it). Raises ImportError without the package minigrid, and as `exhaust`, also for environments
    whose obstacles move at random.
    """
    try:
        import minigrid  # noqa: F401  registers the ids
    except ImportError as error:
        raise ImportError("minigrid must be installed for its environments: pip install 'toykit[control]'") from error
    with gymnasium.make(name, **options) as env:
        return exhaust(env, minigrid_key, discount, horizon, seed, most, _no_time)
