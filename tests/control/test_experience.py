from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

from toykit.control import Distractors, Transitions, collect


def some(n=6):
    numbers = torch.arange(float(n))
    return Transitions(numbers[:, None], 10 * numbers[:, None], -numbers, numbers[:, None] + 1, numbers > 3)


def test_transitions_follow_the_environment():
    data = collect(gymnasium.make("Pendulum-v1"), 450, seed=3)
    assert len(data) == 450
    assert (data.states.shape, data.actions.shape, data.rewards.shape) == ((450, 3), (450, 1), (450,))
    assert data.states.dtype == torch.float32 and data.terminated.dtype == torch.bool
    new = ~torch.isclose(data.states[1:], data.next_states[:-1]).all(-1)
    assert (new.nonzero()[:, 0] + 1).tolist() == [200, 400]  # the time limit
    assert not bool(data.terminated.any())
    angle = torch.atan2(data.states[:, 1], data.states[:, 0])
    cost = angle**2 + 0.1 * data.states[:, 2] ** 2 + 0.001 * data.actions[:, 0] ** 2
    assert torch.allclose(data.rewards, -cost, atol=1e-4)
    assert data.actions.abs().max() <= 2 and data.actions.std() > 1


def test_the_seed_fixes_the_transitions():
    def states(seed):
        return collect(Distractors(gymnasium.make("Pendulum-v1"), 2), 30, seed).states

    assert torch.equal(states(0), states(0)) and not torch.equal(states(0), states(1))


def test_a_policy_chooses_the_actions():
    data = collect(gymnasium.make("Pendulum-v1"), 20, 0, policy=lambda s, rng: np.array([s[0]], dtype=np.float32))
    assert torch.equal(data.actions[:, 0], data.states[:, 0])


def test_an_end_is_not_a_cut():
    data = collect(gymnasium.make("MountainCarContinuous-v0"), 120, 0, policy=lambda s, rng: np.sign(s[1:]))
    over = data.terminated.nonzero()[:, 0]
    assert len(over) >= 1 and bool((data.next_states[over, 0] >= 0.45).all())


def test_parts_and_splits():
    data = some()
    assert data[torch.tensor([2, 0])].rewards.tolist() == [-2, 0]
    assert data[4:].terminated.tolist() == [True, True]
    first, rest = data.split(0.5, torch.Generator().manual_seed(0))
    assert (len(first), len(rest)) == (3, 3)
    assert sorted((first.rewards.tolist() + rest.rewards.tolist()), reverse=True) == data.rewards.tolist()
    assert torch.equal(first.next_states, first.states + 1)


def test_bad_input_is_refused():
    data = some()
    with pytest.raises(ValueError, match="transitions must all have one length, got {'states': 6, 'actions': 6, 'rew"):
        Transitions(data.states, data.actions, data.rewards[:5], data.next_states, data.terminated)
    with pytest.raises(ValueError, match="rewards must be finite, got nan at index \\[1\\]"):
        rewards = data.rewards.clone()
        rewards[1] = torch.nan
        Transitions(data.states, data.actions, rewards, data.next_states, data.terminated)
    for fraction in (0.0, 1.0, 0.1):
        with pytest.raises(ValueError, match="fraction must leave both parts some of 6 transitions"):
            data.split(fraction, torch.Generator())
    with pytest.raises(ValueError, match="n must be >= 1, got 0"):
        collect(gymnasium.make("Pendulum-v1"), 0, 0)
    with pytest.raises(ValueError, match=r"env must have a bounded Box of actions, got Discrete\(4\)"):
        collect(gymnasium.make("FrozenLake-v1"), 5, 0)
