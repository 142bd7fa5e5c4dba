from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toykit.control import Counts, TabularData, bonus, garnet, simulate, uniform_policy


def tensors(*columns):
    return [torch.tensor(column) for column in columns]


def test_counts_by_hand():
    counts = Counts.empty(2, 2)
    states, actions, after = tensors([0, 0, 0, 1], [1, 1, 0, 0], [1, 0, 1, -1])
    counts.add(states, actions, torch.tensor([1.0, 3.0, 5.0, 7.0], dtype=torch.float64), after)
    assert counts.visits.tolist() == [[1, 2], [1, 0]]
    assert counts.mean_rewards(unseen=9.0).tolist() == [[5, 2], [7, 9]]
    assert counts.transitions[0].tolist() == [[0, 1], [1, 1]]
    assert counts.law().tolist() == [[[0, 1], [0.5, 0.5]], [[0.5, 0.5], [0.5, 0.5]]]
    assert counts.law("zero")[1].tolist() == [[0, 0], [0, 0]]


def test_runs_side_by_side_are_counted_apart_and_forgotten_apart():
    counts = Counts.empty(2, 1, runs=3)
    one = torch.ones(3, dtype=torch.float64)
    states, actions, after = tensors([0, 1, 0], [0, 0, 0], [1, 1, 0])
    counts.add(states, actions, one, after)
    counts.add(states, actions, 3 * one, after)
    assert counts.visits[..., 0].tolist() == [[2, 0], [0, 2], [2, 0]]
    assert counts.mean_rewards()[..., 0].tolist() == [[2, 0], [0, 2], [2, 0]]
    counts.add(states, actions, 3 * one, after, times=-1)
    assert counts.rewards[..., 0].tolist() == [[1, 0], [0, 1], [1, 0]]
    counts.clear(torch.tensor([True, False, False]))
    assert counts.visits.sum((-1, -2)).tolist() == [0, 1, 1]
    pairs = torch.zeros(3, 2, 1, dtype=torch.bool)
    pairs[1, 1] = True
    counts.clear(pairs)
    assert counts.transitions.sum((-1, -2, -3)).tolist() == [0, 0, 1]


def test_many_transitions_of_each_run_are_counted_at_once():
    states, actions, after = (torch.randint(2, (3, 7), generator=torch.Generator().manual_seed(i)) for i in range(3))
    rewards = torch.arange(21, dtype=torch.float64).view(3, 7)
    at_once, by_step = Counts.empty(2, 2, runs=3), Counts.empty(2, 2, runs=3)
    at_once.add(states, actions, rewards, after)
    for column in zip(states.mT, actions.mT, rewards.mT, after.mT, strict=True):
        by_step.add(*column)
    for name in ("visits", "rewards", "transitions"):
        assert torch.equal(getattr(at_once, name), getattr(by_step, name))


def test_counts_of_many_episodes_come_near_the_mdp():
    mdp = garnet(5, 2, 3, seed=1).to_dense()
    counts = Counts.of(simulate(mdp, uniform_policy(mdp), n=400, most=100), 5, 2)
    assert counts.visits.sum() == 40_000
    assert (counts.law() - mdp.P).abs().max() < 0.03
    assert torch.allclose(counts.mean_rewards(), mdp.R, atol=1e-12)


@given(seed=st.integers(0, 10_000), n=st.integers(1, 30))
def test_laws_are_distributions_and_adding_at_once_is_adding_one_by_one(seed, n):
    draws = torch.Generator().manual_seed(seed)
    states, after = torch.randint(0, 3, (2, n), generator=draws)
    actions = torch.randint(0, 2, (n,), generator=draws)
    rewards = torch.randn(n, generator=draws, dtype=torch.float64)
    ends = torch.zeros(n, dtype=torch.bool)
    whole, single = Counts.of(TabularData(states, actions, rewards, after, ends, ends), 3, 2), Counts.empty(3, 2)
    for i in range(n):
        single.add(states[i], actions[i], rewards[i], after[i])
    for name in ("visits", "rewards", "transitions"):
        assert torch.allclose(getattr(whole, name), getattr(single, name), atol=1e-12)
    assert torch.allclose(whole.law().sum(-1), torch.ones(3, 2, dtype=torch.float64))


def test_the_bonus_by_hand_and_bad_input():
    visits = torch.tensor([[0.0, 1.0, 4.0]], dtype=torch.float64)
    assert bonus(visits, 9.0, scale=2.0).tolist() == [[6.0, 6.0, 3.0]]
    for arguments, message in (
        ((visits, -1.0), "log_term must be >= 0"),
        ((visits, 1.0, -0.1), "scale must be >= 0, got -0.1"),
    ):
        with pytest.raises(ValueError, match=message):
            bonus(*arguments)
    with pytest.raises(ValueError, match="n_states must be >= 1, got 0"):
        Counts.empty(0, 1)
    with pytest.raises(ValueError, match="unseen must be one of uniform, zero, got 'unifrom'"):
        Counts.empty(1, 1).law("unifrom")
