from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.control import TabularMDP, average_reward, diameter, garnet, occupancy, optimal_average, river_swim
from toykit.control.worlds import swapped_chain

CHAIN = swapped_chain().phases[0]


def test_the_best_gain_of_the_chain_of_card_47():
    found = optimal_average(CHAIN)
    assert found.gain == pytest.approx(0.863158, abs=5e-7)
    assert found.error <= 1e-10
    assert found.policy.argmax(-1).tolist() == [1, 1, 1]
    assert found.gain == pytest.approx(average_reward(CHAIN, found.policy).gain, abs=1e-10)


def test_gain_and_bias_of_two_states_by_hand():
    cycle = TabularMDP([[[0.0, 1.0]], [[1.0, 0.0]]], [[3.0], [1.0]], terminal=[])
    found = average_reward(cycle, [0, 0])
    assert found.gain == pytest.approx(2.0, abs=1e-15)
    assert found.bias.tolist() == pytest.approx([0.0, -1.0], abs=1e-15)  # h(1) = 1 - 2 + h(0)
    assert optimal_average(cycle).bias.tolist() == pytest.approx([0.0, -1.0], abs=1e-9)  # periodic, and still found


def test_diameter_by_hand():
    assert diameter(CHAIN) == pytest.approx(3.0612244897959, abs=1e-9)  # 1 / .7 + 1.142857 / .7
    assert diameter(TabularMDP([[[0.0, 1.0]], [[1.0, 0.0]]], torch.zeros(2, 1), terminal=[])) == pytest.approx(1.0)
    assert diameter(TabularMDP([[[0.0, 1.0]], [[0.0, 1.0]]], [[1.0], [0.0]])) == math.inf


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_the_gain_is_the_limit_of_the_discounted_value_and_the_mean_over_occupancy(seed):
    mdp = garnet(6, 2, 4, seed=seed).to_dense()
    policy = torch.rand(6, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1
    policy = policy / policy.sum(-1, keepdim=True)
    found = average_reward(mdp, policy)
    late = occupancy(mdp.with_(discount=1 - 1e-9), policy)
    assert found.gain == pytest.approx((late * mdp.R).sum().item(), abs=1e-6)
    q = mdp.with_(discount=1.0).q(found.bias)
    assert torch.allclose((policy * q).sum(-1) - found.gain, found.bias, atol=1e-10)
    assert optimal_average(mdp).gain >= found.gain - 1e-9


def test_river_swim_swims():
    assert optimal_average(river_swim()).policy.argmax(-1).tolist() == [1] * 6


def test_bad_input_is_refused():
    split = TabularMDP([[[1.0, 0.0]], [[0.0, 1.0]]], [[1.0], [2.0]], terminal=[])
    with pytest.raises(ValueError, match="policy must have one recurrent class"):
        average_reward(split, [0, 0])
    with pytest.raises(ValueError, match="mdp must have one best gain from every state, got from 1 to 2"):
        optimal_average(split)
    with pytest.raises(ValueError, match="tol must be > 0"):
        optimal_average(CHAIN, tol=0.0)
