"""The ids under which `gymnasium.make` knows toykit's environments."""

from __future__ import annotations

import gymnasium
from gymnasium.envs.registration import registry

IDS = {
    "toykit/Bandit-v0": "toykit.control.envs:bandit_env",
    "toykit/DecoyCorridor-v0": "toykit.control.gym:decoy_corridor_env",
    "toykit/Drifting-v0": "toykit.control.drifting_env:drifting_env",
    "toykit/FeatureBandit-v0": "toykit.control.envs:feature_bandit_env",
    "toykit/GridWorld-v0": "toykit.control.gym:grid_world_env",
    "toykit/LinearMDP-v0": "toykit.control.gym:linear_mdp_env",
    "toykit/LinearQ-v0": "toykit.control.gym:linear_q_env",
    "toykit/RiverSwim-v0": "toykit.control.gym:river_swim_env",
    "toykit/StitchingMaze-v0": "toykit.control.gym:stitching_maze_env",
    "toykit/TabularMDP-v0": "toykit.control.gym:mdp_env",
    "toykit/Tree-v0": "toykit.control.envs:tree_env",
}


def register() -> None:
    """Makes the environments known to `gymnasium.make` under `toykit/`; a second call changes nothing."""
    for name, entry_point in IDS.items():
        if name not in registry:
            gymnasium.register(name, entry_point=entry_point)
