"""What is there to solve? MDPs to try things on, real environments read into tables, and many copies at once."""

from __future__ import annotations

from toykit.control.worlds.corridors import decoy_corridor, linear_q
from toykit.control.worlds.drifting import Drifting, draw, swapped_chain
from toykit.control.worlds.examples import dice_tree, garnet, river_swim
from toykit.control.worlds.exhaust import exhaust, minigrid, minigrid_key
from toykit.control.worlds.grids import GRID_DESIGNS, GridDesign, grid_world, stitching_maze
from toykit.control.worlds.noise import slippery, sticky
from toykit.control.worlds.random import LinearMDP, completion_tree, linear_mdp, random_dense
from toykit.control.worlds.table import TableVectorEnv

__all__ = [
    "GRID_DESIGNS",
    "Drifting",
    "GridDesign",
    "LinearMDP",
    "TableVectorEnv",
    "completion_tree",
    "decoy_corridor",
    "dice_tree",
    "draw",
    "exhaust",
    "garnet",
    "grid_world",
    "linear_mdp",
    "linear_q",
    "minigrid",
    "minigrid_key",
    "random_dense",
    "river_swim",
    "slippery",
    "sticky",
    "stitching_maze",
    "swapped_chain",
]
