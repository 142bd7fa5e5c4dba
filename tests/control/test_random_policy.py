"""The values of the uniform policy on trees: ROVER's theorems, and the two ways in which they end."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.control import (
    Max,
    TabularMDP,
    dice_tree,
    expected_return,
    greedy_actions,
    softmax_bound,
    softmax_policy,
    uniform_values,
    value_iteration,
    worst_greedy_value,
)
from toykit.tasks import Tree, TreeTask


def mdp_of(rewards, actions: int, horizon: int) -> TabularMDP:
    return TabularMDP.of_tree(TreeTask(Tree(actions, horizon), torch.tensor(rewards, dtype=torch.float64)).as_mdp())


def test_values_are_shares_of_successful_continuations():
    """Two tokens, two places; of the leaves 00, 01, 10, 11 all but 10 and 01 are right, and pay 3."""
    mdp = mdp_of([3.0, 0.0, 0.0, 3.0], 2, 2)
    q = uniform_values(mdp)
    assert q[0].tolist() == [1.5, 1.5] and q[1].tolist() == [3.0, 0.0] and q[2].tolist() == [0.0, 3.0]
    assert greedy_actions(q)[0].tolist() == [True, True]
    assert softmax_policy(q, 1.5)[1].tolist() == pytest.approx([math.e**2 / (math.e**2 + 1), 1 / (math.e**2 + 1)])
    right = math.e**2 / (math.e**2 + 1)
    assert expected_return(mdp, softmax_policy(q, 1.5)) == pytest.approx(3 * right, abs=1e-14)
    # N = 1 in both inner states, which are reached with 1/2 each: the bound is exact here
    assert softmax_bound(mdp, q, 1.5, reward=3.0) == pytest.approx(3 * right, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.booleans(), min_size=27, max_size=27), st.floats(0.01, 10.0), st.floats(0.5, 4.0))
def test_greedy_is_optimal_and_softmax_above_its_bound_on_every_binary_tree(right, rho, reward):
    mdp = mdp_of([reward * x for x in right], 3, 3)
    q = uniform_values(mdp)
    best = float(value_iteration(mdp).v[0])
    assert float(worst_greedy_value(mdp, q)[0]) == pytest.approx(best, abs=1e-12)
    earned = expected_return(mdp, softmax_policy(q, rho))
    assert softmax_bound(mdp, q, rho, reward) - 1e-12 <= earned <= best + 1e-12
    assert expected_return(mdp, softmax_policy(q, 1e-6)) == pytest.approx(best, abs=1e-9)


def test_ties_are_broken_the_worst_way():
    """Both tokens have Q_u = 1/2 by graded rewards, and one leads to 1/2 alone where the other may have 1."""
    mdp = mdp_of([0.5, 0.5, 1.0, 0.0], 2, 2)
    q = uniform_values(mdp)
    assert q[0].tolist() == [0.5, 0.5]
    assert float(worst_greedy_value(mdp, q)[0]) == 0.5
    assert float(value_iteration(mdp, Max()).v[0]) == 1.0


def test_a_coin_in_the_tree_breaks_it():
    """The card's counterexample: Q_u is 1/2 and 1/4, what can be had 1/2 and 1."""
    mdp = dice_tree()
    q, best = uniform_values(mdp), value_iteration(mdp)
    assert q[0, :2].tolist() == [0.5, 0.25] and best.q[0, :2].tolist() == [0.5, 1.0]
    assert float(worst_greedy_value(mdp, q)[0]) == 0.5 and float(best.v[0]) == 1.0


def test_where_nothing_succeeds_the_bound_is_nothing():
    mdp = mdp_of([0.0] * 4, 2, 2)
    q = uniform_values(mdp)
    assert softmax_bound(mdp, q, 0.1) == 0.0 == expected_return(mdp, softmax_policy(q, 0.1))


def test_rho_is_positive():
    with pytest.raises(ValueError, match="rho must be > 0"):
        softmax_policy(torch.zeros(2, 2, dtype=torch.float64), 0.0)
