from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toykit.control import TabularData

LOG = {
    "observations": [0, 1, 2, 0, 2],
    "actions": [1, 1, 0, 0, 1],
    "rewards": [1.0, 2.0, 4.0, 8.0, 16.0],
    "terminations": [False, False, True, False, False],
    "truncations": [False, False, False, False, True],
}


def read(**changes):
    return TabularData.of(LOG | changes, n_states=3, n_actions=2)


def test_a_log_is_read():
    data = read()
    assert len(data) == 5
    assert data.next_states.tolist() == [1, 2, -1, 2, -1]
    assert data.episode.tolist() == [0, 0, 0, 1, 1] and data.step.tolist() == [0, 1, 2, 0, 1]
    assert data.returns_to_go().tolist() == [7, 6, 4, 24, 16]
    assert data.returns_to_go(0.5).tolist() == [3, 4, 4, 16, 16]
    assert data.returns().tolist() == [7, 24]
    assert data[1:3].rewards.tolist() == [2, 4]


def test_the_state_after_the_last_action_and_given_next_states_are_read():
    assert read(observations=[0, 1, 2, 0, 2, 1]).next_states.tolist() == [1, 2, -1, 2, 1]
    assert read(next_observations=[1, 2, 0, 2, 0]).next_states.tolist() == [1, 2, 0, 2, 0]
    column = np.array(LOG["observations"])[:, None]
    assert read(observations=column, terminations=np.array([0, 0, 1, 0, 0])).states.tolist() == LOG["observations"]


def test_a_dictionary_is_read_back():
    again = TabularData.of(read(next_observations=[1, 2, 0, 2, 0]).as_dictionary(), 3, 2)
    assert again.next_states.tolist() == [1, 2, 0, 2, 0]
    assert again.truncated.tolist() == LOG["truncations"]


@given(seed=st.integers(0, 1000), discount=st.sampled_from([1.0, 0.9, 0.0]))
def test_returns_to_go_are_rewards_plus_discounted_returns_to_go(seed, discount):
    rng = np.random.default_rng(seed)
    ends = rng.random((2, 12)) < 0.2
    data = read(
        observations=rng.integers(0, 3, 12),
        actions=rng.integers(0, 2, 12),
        rewards=rng.normal(size=12),
        terminations=ends[0],
        truncations=ends[1],
    )
    going = data.returns_to_go(discount)
    last = data.terminated | data.truncated
    later = torch.cat([going[1:], torch.zeros(1, dtype=torch.float64)]).masked_fill(last, 0.0)
    assert torch.allclose(going, data.rewards + discount * later, atol=1e-12)
    assert len(data.returns()) == int(data.episode[-1]) + 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observations": [0, 1, 3, 0, 2]}, "observations must be states from 0 to 2, got 3 at transition 2"),
        ({"actions": [1, 1, 0, 0, -1]}, "actions must be actions from 0 to 1, got -1 at transition 4"),
        ({"next_observations": [0, 1, 2, 0, 7]}, "next_observations must be states from 0 to 2, got 7"),
        ({"actions": [0.0, 1.0, 0.0, 0.0, 1.0]}, "actions must be integers, got float64"),
        ({"actions": [0, 1]}, r"actions must have shape \[5\], as rewards have, got \[2\]"),
        ({"observations": [0, 1]}, r"observations must have shape \[5 or 6\], as rewards have, got \[2\]"),
        ({"rewards": []}, r"rewards must have shape \[N\] with N >= 1 transitions, got \[0\]"),
        ({"rewards": [0.0, 1.0, float("nan"), 0.0, 0.0]}, "rewards must be finite, got nan at transition 2"),
        ({"rewards": ["a"] * 5}, "rewards must be an array of numbers"),
        ({"truncations": [0, 0, 0, 0, 2]}, "truncations must be true or false"),
        ({"terminations": [0]}, r"terminations must have shape \[5\], as rewards have, got \[1\]"),
    ],
)
def test_bad_logs_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        read(**changes)


@pytest.mark.parametrize("key", LOG)
def test_a_missing_key_is_named(key):
    with pytest.raises(ValueError, match=f"data must have the key '{key}'"):
        TabularData.of({name: values for name, values in LOG.items() if name != key}, 3, 2)
    wrong = {name.removesuffix("s"): values for name, values in LOG.items()}
    with pytest.raises(ValueError, match="data must have the key 'observations'; did you mean 'observation'"):
        TabularData.of(wrong, 3, 2)
