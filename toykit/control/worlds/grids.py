"""Grids of cells: a maze in which the best path is made of two, and rooms with many designs of reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from toykit._checks import one_of
from toykit.control.mdp import TabularMDP
from toykit.control.worlds.noise import slippery

Cell = tuple[int, int]
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1), (0, 0))  # up, right, down, left, stay

STITCHING = (
    "######",
    "#  ###",
    "#    #",
    "######",
)
SIDE = 8


def cells(rows: Sequence[str]) -> list[Cell]:
    """The free cells (row, column) of a map in which "#" is a wall, in reading order."""
    return [(i, j) for i, row in enumerate(rows) for j, letter in enumerate(row) if letter != "#"]


def neighbours(free: Sequence[Cell]) -> NDArray[np.int64]:
    """[S, 5] the cell that each of `MOVES` leads to; where that is none of the free ones, the cell itself."""
    index = {cell: s for s, cell in enumerate(free)}
    return np.array([[index.get((i + di, j + dj), index[i, j]) for di, dj in MOVES] for i, j in free])


def distances(after: NDArray[np.int64], target: int) -> NDArray[np.int64]:
    """[S] the least number of steps to `target`; the number of cells where it cannot be reached."""
    found = np.full(len(after), len(after))
    found[target] = 0
    for _ in range(len(after)):
        found = np.minimum(found, 1 + found[after].min(1))
    return found


def stitching_maze(horizon: int = 10) -> TabularMDP:
    """Six cells in which the shortest path to the goal is a stitch of two that are easily logged apart.

    Free cells in reading order are the states: (1, 1), (1, 2) where episodes start, (2, 1), (2, 2), (2, 3) and the goal
    (2, 4); actions are `MOVES`, and a move into a wall stays. A step pays exp(-d), d the number of steps from the cell
    it reaches to the goal, which does not end the episode. One kind of path goes down to (2, 2) and stays there, the
    other makes a detour over (1, 1) and (2, 1) and goes on through (2, 2) to the goal.
    Source: the point maze of MBRCSL (arXiv 2310.19308), a cell for each of its free squares.
    """
    free = cells(STITCHING)
    after = neighbours(free)
    reward = np.exp(-distances(after, free.index((2, 4))))[after]
    P = np.ones((*after.shape, 1))
    return TabularMDP(P, reward, horizon=horizon, start=free.index((1, 2)), successors=after[..., None]).to_dense()


@dataclass(frozen=True)
class GridDesign:
    """What is paid in a room of 8 x 8 cells; episodes start in cell (7, 0).

    goal      the cell that pays 1 and ends the episode
    decoys    cells that pay what is said and end the episode
    progress  what is paid for each step by which the goal comes nearer (lost for one by which it comes less near)
    key       a cell that must have been visited: without it the goal's cell is closed; None: it is always open
    toll      what is lost for taking the key
    horizon   the steps of an episode
    """

    goal: Cell = (0, 7)
    decoys: Mapping[Cell, float] = field(default_factory=dict)
    progress: float = 0.0
    key: Cell | None = None
    toll: float = 0.0
    horizon: int = 40


GRID_DESIGNS = {  # with the steps that one must look ahead to be within 1 % of the best, with the usual slip
    "shaped": GridDesign(progress=0.1),  # 1
    "shaped_centre": GridDesign(goal=(3, 4), progress=0.1),  # 1
    "shaped_decoy": GridDesign(progress=0.1, decoys={(7, 1): 0.6}),  # 1
    "shaped_weak_decoy": GridDesign(progress=0.02, decoys={(7, 1): 0.3}),  # 10
    "key": GridDesign(key=(7, 7)),  # 1
    "key_toll": GridDesign(goal=(4, 0), key=(7, 3), toll=0.2),  # 4
    "key_toll_centre": GridDesign(goal=(3, 3), key=(7, 3), toll=0.2),  # 5
    "key_toll_far": GridDesign(key=(7, 7), toll=0.02),  # 7
    "key_toll_high": GridDesign(goal=(4, 0), key=(7, 3), toll=0.4),  # 9
    "sparse": GridDesign(),  # 1
    "decoys": GridDesign(decoys={(7, 2): 0.05, (5, 0): 0.05}),  # 3
    "decoy_centre": GridDesign(goal=(3, 3), decoys={(7, 1): 0.4}),  # 4
    "decoy_small": GridDesign(decoys={(7, 1): 0.05}),  # 6
    "decoy_large": GridDesign(decoys={(7, 1): 0.6}),  # 14
}
"""Designs by name: shaped rewards, a key before the door, sparse rewards with decoys."""


def grid_world(design: GridDesign | str, slip: float = 0.25) -> TabularMDP:
    """The room of a design, in which a uniform action is executed instead with probability `slip`.

    design  a `GridDesign` or a name from `GRID_DESIGNS`

    States are the cells in reading order, twice where there is a key: first without it, then with it. Actions are
    `MOVES` without staying. Raises ValueError for an unknown name, cells outside the room, and a slip outside [0, 1].
    Source: the three kinds of reward are those by which the effective horizon (arXiv 2312.08369) is studied.
    """
    if isinstance(design, str):
        design = GRID_DESIGNS[one_of("design", design, GRID_DESIGNS)]
    free = [(i, j) for i in range(SIDE) for j in range(SIDE)]
    for cell in (design.goal, *design.decoys, *(() if design.key is None else (design.key,))):
        if cell not in free:
            raise ValueError(f"design must name cells from (0, 0) to {(SIDE - 1, SIDE - 1)}, got {cell}")
    index = {cell: s for s, cell in enumerate(free)}
    n, goal = len(free), index[design.goal]
    moves = neighbours(free)[:, :4]
    away = distances(moves, goal)
    pays = np.zeros(n)
    pays[goal] = 1.0
    for cell, paid in design.decoys.items():
        pays[index[cell]] = paid
    ends = np.isin(np.arange(n), [goal, *(index[cell] for cell in design.decoys)])
    nearer = design.progress * (away[:, None] - away[moves])
    if design.key is None:
        return _room(moves, pays[moves] + nearer, ends, index[7, 0], design.horizon, slip)
    key = index[design.key]
    closed = np.where(moves == goal, np.arange(n)[:, None], moves)
    without = np.where(closed == key, n + key, closed)
    reward = np.where(closed == key, -design.toll, 0.0) + pays[closed] + np.where(closed == moves, nearer, 0.0)
    both = np.concatenate([without, n + moves]), np.concatenate([reward, pays[moves] + nearer])
    return _room(*both, np.concatenate([ends, ends]), index[7, 0], design.horizon, slip)


def _room(
    after: NDArray[np.int64],
    reward: NDArray[np.float64],
    ends: NDArray[np.bool_],
    start: int,
    horizon: int,
    slip: float,
) -> TabularMDP:
    P = torch.ones(*after.shape, 1, dtype=torch.float64)
    mdp = TabularMDP(P, reward, horizon=horizon, start=start, successors=after[..., None], terminal=torch.tensor(ends))
    return slippery(mdp.to_dense(), slip)
