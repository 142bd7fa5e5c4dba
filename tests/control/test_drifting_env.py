"""Piecewise-stationary MDPs as environments."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from toykit.control import DriftingEnv, MDPEnv, TabularMDP, from_gymnasium, river_swim
from toykit.control.worlds import Drifting, TableVectorEnv, swapped_chain

HERE = torch.eye(2, dtype=torch.float64)[:, None].expand(2, 2, 2)  # whatever one does, one stays where one is
FIRST = TabularMDP(HERE, [[0.0, 1.0], [0.0, 1.0]], start=1)
SECOND = TabularMDP(HERE.flip(-1), [[2.0, 3.0], [4.0, 5.0]], start=0, allowed=[[True, False], [True, True]])


def test_steps_are_those_of_their_phase_by_hand():
    env = DriftingEnv(Drifting((FIRST, SECOND), (2,)))
    for _ in range(2):  # a reset begins with the first phase again
        state, info = env.reset(seed=0)
        assert (state, info["phase"], info["step"]) == (1, 0, 0) and env.unwrapped.mdp is FIRST
        seen = [env.step(action) for action in (1, 0, 1, 0)]
        assert [(state, reward) for state, reward, *_ in seen] == [(1, 1.0), (1, 0.0), (0, 5.0), (1, 2.0)]
        assert [info["phase"] for *_, info in seen] == [0, 1, 1, 1]
        assert [info["step"] for *_, info in seen] == [1, 2, 3, 4] and env.unwrapped.mdp is SECOND
        assert [info["action_mask"].tolist() for *_, info in seen] == [[1, 1], [1, 1], [1, 0], [1, 1]]
        assert not any(terminated or truncated for _, _, terminated, truncated, _ in seen)


def test_an_action_that_the_new_phase_forbids_ends_the_episode():
    env = DriftingEnv(Drifting((FIRST, SECOND), (1,)))
    env.reset(options={"state": 0})
    *_, info = env.step(1)
    assert info["action_mask"].tolist() == [1, 0]
    _, reward, terminated, _, info = env.step(1)
    assert (reward, terminated, info["invalid"]) == (0.0, True, True)


def test_the_chain_turns_its_actions_over():
    """In the second of three phases of 300 steps action 0 is what action 1 was: right with probability 0.7."""
    env = gymnasium.make("toykit/Drifting-v0", world=swapped_chain(900), max_episode_steps=900)
    env.reset(seed=3)
    right: list[list[bool]] = [[], [], []]
    state = 0
    for t in range(900):
        after, *_, truncated, _ = env.step(int(t // 300 != 1))
        if state < 2:
            right[t // 300].append(after > state)
        state = after
    assert truncated
    for moved in right:
        share, n = np.mean(moved), len(moved)
        assert abs(share - 0.7) < 4 * (0.21 / n) ** 0.5


def test_gymnasium_finds_nothing_to_say_about_them():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped version.*")
        check_env(DriftingEnv(swapped_chain()), skip_render_check=True)
    for name in ("Drifting", "LinearMDP"):
        env = gymnasium.make(f"toykit/{name}-v0")
        assert isinstance(env.unwrapped, MDPEnv)
        states = [env.reset(seed=5)[0], *(env.step(1)[0] for _ in range(5))]
        assert states == [env.reset(seed=5)[0], *(env.step(1)[0] for _ in range(5))]


@pytest.mark.parametrize("read", [from_gymnasium, lambda env: TableVectorEnv(env, 2)])
def test_an_environment_that_drifts_is_not_one_table(read):
    with pytest.raises(ValueError, match="env must follow one transition table, one that drifts has its phases"):
        read(gymnasium.make("toykit/Drifting-v0"))


def test_another_number_of_states_is_refused():
    with pytest.raises(ValueError, match=r"mdp must have states and actions \[2, 2\], got \[6, 2\]"):
        MDPEnv(FIRST).change(river_swim())
