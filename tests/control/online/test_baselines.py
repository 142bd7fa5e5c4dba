"""PPO and DQN of Stable-Baselines3 on tables."""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest
import torch

from toykit.control import dice_tree, expected_return, river_swim
from toykit.control.online.baselines import learn
from toykit.control.worlds import decoy_corridor

SHORT = decoy_corridor(3, 0.0)  # nothing to be misled by: moving on is the best there is, and pays 1
EXACT = 1 - 1e-9


@pytest.fixture
def copies():
    """Makes copies of an MDP where Stable-Baselines3 is installed."""
    pytest.importorskip("stable_baselines3")
    from toykit.control.online.copies import Copies

    return Copies


@pytest.mark.parametrize("algorithm", ["ppo", "dqn"])
def test_both_learn_a_short_corridor_exactly_and_stop_there(algorithm):
    pytest.importorskip("stable_baselines3")
    found = learn(SHORT, algorithm, steps=8000, seed=0, every=1000, solved=EXACT)
    assert found.values[-1].item() == 1.0 and found.solved_at == found.steps[-1] < 8000
    assert found.steps.tolist() == list(range(0, found.solved_at + 1, 1000))
    assert bool((found.values[:-1] < EXACT).all()) and found.values.dtype == torch.float64
    assert found.policy.shape == (3, 5) and found.policy[[0, 1, 2], [0, 1, 2]].tolist() == [0, 0, 0]
    assert expected_return(SHORT, found.policy) == found.values[-1]


@pytest.mark.parametrize(("algorithm", "settings"), [("ppo", {"n_steps": 16}), ("dqn", {})])
def test_the_seed_fixes_every_byte_and_nothing_outside_is_drawn(algorithm, settings):
    pytest.importorskip("stable_baselines3")
    mdp = decoy_corridor(4, 0.3, slip=0.2)
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = random.random(), np.random.rand(), torch.rand(1).item()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    one, other = (learn(mdp, algorithm, 600, seed=5, every=200, **settings) for _ in range(2))
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected
    assert one.steps.tolist() == other.steps.tolist() and one.solved_at is None
    assert torch.equal(one.values, other.values) and torch.equal(one.policy, other.policy)
    assert not torch.equal(one.policy, learn(mdp, algorithm, 600, seed=6, every=200, **settings).policy)


def test_what_is_solved_from_the_beginning_is_not_trained_and_the_end_is_evaluated():
    pytest.importorskip("stable_baselines3")
    at_once = learn(SHORT, "dqn", 400, seed=0, every=100, solved=0.0)
    assert at_once.solved_at == 0 and at_once.steps.tolist() == [0]
    never = learn(SHORT, "dqn", 400, seed=0, every=150, solved=2.0)
    assert never.solved_at is None and never.steps.tolist() == [0, 152, 304, 400]  # after whole steps of 8 copies


def test_settings_are_the_algorithms_own():
    pytest.importorskip("stable_baselines3")
    still = [learn(SHORT, "ppo", n, seed=2, every=10**6, learning_rate=0.0, n_steps=16).policy for n in (1, 1000)]
    assert torch.equal(*still)
    moved = learn(SHORT, "ppo", 1000, seed=2, every=10**6, n_steps=16).policy
    assert not torch.equal(moved, still[0])


def test_the_mdps_discount_is_the_algorithms(monkeypatch):
    sb3 = pytest.importorskip("stable_baselines3")
    asked = {}

    class Spy(sb3.DQN):
        def __init__(self, **settings):
            asked.update(settings)
            super().__init__(**settings)

    monkeypatch.setattr(sb3, "DQN", Spy)
    learn(SHORT.with_(discount=0.7), "dqn", 8, seed=0, every=8)
    assert asked["gamma"] == 0.7 and asked["seed"] == 0 and asked["learning_rate"] == 1e-3
    learn(SHORT.with_(discount=0.7), "dqn", 8, seed=0, every=8, copies=2)
    assert asked["train_freq"] == 2 and asked["gradient_steps"] == 1


def test_copies_show_the_state_and_the_share_of_the_horizon_and_begin_again_at_once(copies):
    env = copies(SHORT, 2)
    assert env.observation_space.shape == (6,) and env.action_space.n == 3 and env.num_envs == 2
    first = np.array([1, 0, 0, 0, 0, 0], dtype=np.float32)
    assert np.array_equal(env.reset(), [first, first])
    seen, rewards, ended, infos = env.step(np.array([0, 1]))
    assert np.allclose(seen[0], [0, 1, 0, 0, 0, 1 / 3]) and np.array_equal(seen[1], first)
    assert ended.tolist() == [False, True] and rewards.tolist() == [0, 0] and infos[0] == {}
    assert np.allclose(infos[1]["terminal_observation"], [0, 0, 0, 0, 1, 1 / 3])  # the dead end
    env.step(np.array([0, 0]))
    seen, rewards, ended, infos = env.step(np.array([0, 0]))
    assert np.array_equal(seen[0], first) and np.allclose(seen[1], [0, 0, 1, 0, 0, 2 / 3])
    assert rewards.tolist() == [1, 0] and ended.tolist() == [True, False]
    assert np.allclose(infos[0]["terminal_observation"], [0, 0, 0, 1, 0, 1])
    env.close()


def test_the_horizon_is_an_end_from_which_nothing_is_expected(copies):
    env = copies(river_swim(3, horizon=2), 1)
    env.reset()
    env.step(np.array([0]))
    seen, _, ended, infos = env.step(np.array([0]))
    assert ended.tolist() == [True] and infos[0]["TimeLimit.truncated"] is False
    assert infos[0]["terminal_observation"][-1] == 1 and seen[0, -1] == 0
    for name in ("spec", "state"):
        with pytest.raises(AttributeError, match=f"copies of a table have no '{name}'"):
            env.get_attr(name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"algorithm": "pp0"}, "algorithm must be one of dqn, ppo, got 'pp0'; did you mean 'ppo'?"),
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"every": 0}, "every must be >= 1, got 0"),
        ({"copies": 0}, "copies must be >= 1, got 0"),
        ({"mdp": river_swim()}, "horizon must be a number of steps"),
        (
            {"mdp": dice_tree().with_(horizon=2)},
            "mdp must allow every action to be learned by dqn, not 2 in state 0",
        ),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    usual = {"mdp": SHORT, "algorithm": "dqn", "steps": 8, "seed": 0, "every": 8}
    with pytest.raises(ValueError, match=message):
        learn(**(usual | arguments))


def test_a_setting_that_the_algorithm_does_not_have_is_refused():
    pytest.importorskip("stable_baselines3")
    for settings, message in (
        ({"n_stps": 4}, "settings must be one of .*got 'n_stps'; did you mean 'n_steps'?"),
        ({"env": None}, "settings must be one of .*got 'env'"),
    ):
        with pytest.raises(ValueError, match=message):
            learn(SHORT, "ppo", 8, 0, 8, **settings)


def test_stable_baselines3_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(ImportError, match=r"stable-baselines3 must be installed .* pip install 'toykit\[control\]'"):
        learn(SHORT, "ppo", 8, 0, 8)
