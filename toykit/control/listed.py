"""The effective horizons of every environment of this package, as a table."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from toykit._checks import one_of
from toykit.control.effective_horizon import lookahead
from toykit.control.gym import from_gymnasium
from toykit.control.horizon import steps_of
from toykit.control.mdp import TabularMDP
from toykit.control.worlds.corridors import decoy_corridor, linear_q
from toykit.control.worlds.drifting import swapped_chain
from toykit.control.worlds.examples import dice_tree, garnet, river_swim
from toykit.control.worlds.exhaust import minigrid
from toykit.control.worlds.grids import GRID_DESIGNS, grid_world, stitching_maze
from toykit.control.worlds.random import completion_tree, linear_mdp


@dataclass(frozen=True)
class Entry:
    """What looking ahead is worth in an environment with a horizon of T steps, without discount.

    environment        its name in `LISTED`
    states, actions    how many
    horizon            T
    optimum            J*, the best return
    first              J_1 / J*, the share that is had greedily in the random policy's values; above 1 for costs
    least              min_k, the first k for which every greedy policy of Q^k is optimal
    near               the first k for which the worst greedy policy of Q^k is within 1 % of J*
    gap                Delta_k at min_k
    effective_horizon  H-bar, the least of k + log_A(1 / Delta_k^2) over the k that are enough
    """

    environment: str
    states: int
    actions: int
    horizon: int
    optimum: float
    first: float
    least: int
    near: int
    gap: float
    effective_horizon: float


def _within(make: Callable[[], TabularMDP], horizon: int) -> TabularMDP:
    """What `make` makes, with a horizon and without discount."""
    return make().with_(horizon=horizon, discount=1.0)


def _linear(seed: int) -> TabularMDP:
    return linear_mdp(20, 4, 10, 4, seed).mdp


def _phase(i: int) -> TabularMDP:
    return swapped_chain().phases[i]


_gym = partial(from_gymnasium, sparse=True)

LISTED: dict[str, Callable[[], TabularMDP]] = {
    **{
        f"decoy_corridor({length}, {decoy})": partial(decoy_corridor, length, decoy)
        for length, decoy in ((4, 0.05), (5, 0.05), (6, 0.05), (5, 0.2), (5, 0.005))
    },
    **{f"decoy_corridor(5, 0.05, slip={p})": partial(decoy_corridor, 5, 0.05, slip=p) for p in (0.1, 0.25)},
    **{f"linear_q({u})": partial(linear_q, u) for u in (1, 4)},
    **{
        f"completion_tree({seed}, graded={graded}, slip={p})": partial(completion_tree, seed, graded, p)
        for seed, graded, p in ((0, False, 0.0), (0, True, 0.0), (0, False, 0.25), (0, True, 0.25), (195, True, 0.25))
    },
    "dice_tree()": partial(_within, dice_tree, 2),
    "stitching_maze()": stitching_maze,
    **{f"grid_world({name})": partial(grid_world, name) for name in GRID_DESIGNS},
    **{f"swapped_chain(), phase {i + 1}": partial(_within, partial(_phase, i), 20) for i in range(3)},
    **{f"linear_mdp(20, 4, 10, 4, seed={seed})": partial(_linear, seed) for seed in range(3)},
    **{f"garnet(seed={seed})": partial(_within, partial(garnet, seed=seed), 20) for seed in range(3)},
    "river_swim()": partial(_within, river_swim, 20),
    "FrozenLake-v1": partial(_gym, "FrozenLake-v1", horizon=100),
    "FrozenLake-v1, is_slippery=False": partial(_gym, "FrozenLake-v1", horizon=100, is_slippery=False),
    "CliffWalking-v1": partial(_gym, "CliffWalking-v1", horizon=100),
    "Taxi-v4": partial(_gym, "Taxi-v4", horizon=200),
    **{
        f"MiniGrid-{room}-5x5-v0": partial(minigrid, f"MiniGrid-{room}-5x5-v0", 1.0, 100)
        for room in ("Empty", "DoorKey")
    },
}
"""Environments by name: what makes each one, with its horizon."""


def entry(name: str) -> Entry:
    """The entry of an environment of `LISTED`, computed for every k up to its horizon, the last of which is enough.

    Raises ValueError for another name, and ImportError where the environment's package is not installed.
    """
    mdp = LISTED[one_of("name", name, LISTED)]()
    found = lookahead(mdp)
    least, near = found.least, found.near()
    assert least is not None and near is not None  # k = T solves every MDP
    return Entry(
        name,
        mdp.n_states,
        mdp.n_actions,
        steps_of(mdp),
        found.optimum,
        found.returns[0].item() / found.optimum,
        least,
        near,
        found.gaps[least - 1].item(),
        found.effective_horizon,
    )


def available() -> list[str]:
    """The names of `LISTED` whose packages are installed, in their order."""
    rooms = importlib.util.find_spec("minigrid") is not None
    return [name for name in LISTED if rooms or not name.startswith("MiniGrid")]
