from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.control import TabularMDP, expected_return, lookahead, river_swim
from toykit.control.effective_horizon import backed_up
from toykit.control.worlds import completion_tree, decoy_corridor


@pytest.mark.parametrize(
    ("length", "decoy", "least", "horizon"),
    [(4, 0.05, 2, 7.454), (5, 0.05, 3, 8.454), (6, 0.05, 4, 9.454), (5, 0.2, 4, 7.668), (5, 0.005, 1, 10.645)],
)
def test_the_decoy_corridor_of_card_14(length, decoy, least, horizon):
    found = lookahead(decoy_corridor(length, decoy))
    assert found.least == least == next(k for k in range(1, length + 1) if 3.0 ** -(length - k) > decoy)
    assert found.horizons[least - 1].item() == pytest.approx(horizon, abs=5e-4)
    assert found.returns.tolist() == pytest.approx([decoy] * (least - 1) + [1.0] * (length - least + 1), abs=1e-12)
    assert found.optimum == 1.0


def test_the_corridor_with_slip():
    found = lookahead(decoy_corridor(5, 0.05, slip=0.1))
    assert found.least == 3
    assert found.returns[:3].tolist() == pytest.approx([0.0736, 0.0736, 0.7116], abs=5e-5)


def test_histograms_of_random_trees_of_card_14():
    for slip, binary, expected in (
        (0.0, True, [60, 0, 0, 0]),
        (0.0, False, [13, 10, 19, 18]),
        (0.25, True, [59, 1, 0, 0]),
        (0.25, False, [13, 10, 26, 11]),
    ):
        least = [lookahead(completion_tree(seed, not binary, slip)).least for seed in range(60)]
        assert [least.count(k) for k in (1, 2, 3, 4)] == expected


def test_a_later_k_may_fail_again():
    found = lookahead(completion_tree(195, graded=True, slip=0.25))
    assert found.returns.tolist() == pytest.approx([0.666612, 0.671596, 0.649201, 0.671596], abs=5e-7)
    assert found.solvable.tolist() == [False, True, False, True]


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), slip=st.sampled_from([0.0, 0.3]), binary=st.booleans())
def test_the_whole_horizon_is_solvable_and_optimal_returns_are_those_that_are_solvable(seed, slip, binary):
    found = lookahead(completion_tree(seed, not binary, slip))
    assert bool(found.solvable[-1]) and found.returns[-1].item() == pytest.approx(found.optimum, abs=1e-12)
    assert bool((found.returns <= found.optimum + 1e-12).all())
    assert torch.equal((found.returns - found.optimum).abs() < 1e-9, found.solvable)
    if slip == 0 and binary:
        assert found.least == 1


def test_near_the_best_is_measured_by_its_size():
    found = lookahead(decoy_corridor(5, 0.05))
    assert found.least == 3 and found.near() == 3 and found.near(0.96) == 1 and found.near(0.94) == 3
    assert lookahead(decoy_corridor(5, 0.05), most=2).near() is None
    costs = decoy_corridor(4, 0.0)
    costs = costs.with_(R=torch.where(costs.terminal[:, None], 0.0, costs.R - 2.0))
    found = lookahead(costs)
    assert found.optimum == -2.0 and found.near() == 1  # quitting at once is cheapest
    with pytest.raises(ValueError, match="share must be > 0"):
        found.near(0.0)


def test_a_first_q_of_another_policy_and_a_single_action():
    mdp = river_swim(4, discount=1.0, horizon=6)
    nothing = torch.zeros(6, 4, 2, dtype=torch.float64)  # every action ties: the worst of all policies counts
    found = lookahead(mdp, most=2, first=nothing)
    assert len(found.returns) == 2 and found.gaps[0].item() == math.inf and not bool(found.solvable[0])
    assert found.returns[0].item() == 0.0  # swims in state 0 and never swims in the last one
    assert found.returns[1].item() <= expected_return(mdp, [0] * 4)
    line = TabularMDP([[[0.0, 1.0]], [[0.0, 1.0]]], [[1.0], [0.0]], horizon=3)
    assert lookahead(line).horizons.tolist() == [1.0, 2.0, 3.0] and lookahead(line).gaps[0].item() == math.inf


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="horizon must be a number of steps for values by step, got None"):
        lookahead(river_swim())
    for options, message in (({"most": 0}, "most must be >= 1"), ({"tie": 0.0}, "tie must be > 0")):
        with pytest.raises(ValueError, match=message):
            lookahead(river_swim(horizon=3), **options)


def test_a_sweep_by_hand():
    """Two steps in a line of two states: from state 0 action 1 leads to state 1, which pays 3 or 1."""
    P = [[[1.0, 0], [0, 1.0]], [[0, 1.0], [0, 1.0]]]
    mdp = TabularMDP(P, [[0.0, 0.5], [3.0, 1.0]], discount=0.5, horizon=2, start=0)
    q = torch.tensor([[[0.0, 0], [0, 0]], [[2.0, 4], [6, 8]]], dtype=torch.float64)
    assert backed_up(mdp, q).tolist() == [[[2.0, 4.5], [7.0, 5.0]], [[0.0, 0.5], [3.0, 1.0]]]
