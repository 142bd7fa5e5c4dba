from __future__ import annotations

import numpy as np
import pytest
import torch

from toykit.control import TabularMDP, evaluate, garnet, river_swim, uniform_policy, value_iteration
from toykit.tasks import kl_bayes_tree, tricks_tree

HALF = [[[0.5, 0.5]], [[0.0, 1.0]]]  # one action: stay with probability 1/2, else end in state 1


def test_fields_are_float64_tensors_whatever_was_given():
    mdp = TabularMDP(np.array(HALF, dtype=np.float32), [[1], [0]], discount=0.5, start=[0.25, 0.75])
    assert (mdp.n_states, mdp.n_actions, mdp.sparse) == (2, 1, False)
    assert mdp.P.dtype == mdp.R.dtype == mdp.start.dtype == torch.float64
    assert mdp.start.tolist() == [0.25, 0.75]
    assert repr(mdp) == "TabularMDP(states=2, actions=1, discount=0.5, horizon=None, dense)"


def test_absorbing_states_without_reward_are_terminal_and_the_start_is_uniform_over_the_others():
    mdp = TabularMDP(HALF, [[1.0], [0.0]])
    assert mdp.terminal.tolist() == [False, True]
    assert mdp.start.tolist() == [1.0, 0.0]
    assert TabularMDP(HALF, [[1.0], [2.0]], 0.9).terminal.tolist() == [False, False]
    both = TabularMDP(P=[[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]], R=torch.zeros(2, 2))
    assert both.terminal.tolist() == [False, True]
    one = both.with_(terminal=None, allowed=[[True, False], [True, True]])
    assert one.terminal.tolist() == [True, True]


@pytest.mark.parametrize("terminal", [[1], torch.tensor([False, True]), np.array([1])])
def test_rows_of_terminal_states_are_not_read(terminal):
    mdp = TabularMDP([[[0.5, 0.5]], [[9.0, np.nan]]], [[1.0], [np.inf]], terminal=terminal)
    assert mdp.P.tolist() == HALF
    assert mdp.R.tolist() == [[1.0], [0.0]]


def test_rewards_of_transitions_are_averaged_and_impossible_ones_do_not_count():
    R = [[[2.0, 6.0]], [[np.nan, 0.0]]]
    assert TabularMDP(HALF, R).R.tolist() == [[4.0], [0.0]]
    listed = TabularMDP(
        [[[0.25, 0.75]], [[1.0, 0.0]]], [[[2.0, 6.0]], [[0.0, np.inf]]], successors=[[[1, 1]], [[1, 0]]]
    )
    assert listed.R.tolist() == [[5.0], [0.0]]


def test_both_layouts_say_the_same():
    sparse = garnet(7, 3, 4, seed=1)
    dense = sparse.to_dense()
    v = torch.randn(2, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mass = torch.rand(7, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for other in (dense, dense.to_sparse(), dense.to_sparse().to_dense()):
        assert torch.allclose(other.expect(v), sparse.expect(v), atol=1e-14)
        assert torch.allclose(other.q(v[0]), sparse.q(v[0]), atol=1e-14)
        assert torch.allclose(other.push(mass), sparse.push(mass), atol=1e-14)
    assert dense.to_sparse().P.shape == (7, 3, 4)
    assert dense.to_dense() is dense and sparse.to_sparse() is sparse


def test_a_push_is_the_transpose_of_an_expectation():
    mdp = garnet(9, 2, 3)
    v, mass = (torch.rand(*s, generator=torch.Generator().manual_seed(3), dtype=torch.float64) for s in ((9,), (9, 2)))
    assert (mdp.push(mass) @ v).item() == pytest.approx((mass * mdp.expect(v)).sum().item(), rel=1e-14)


def test_a_successor_may_be_listed_twice():
    mdp = TabularMDP([[[0.25, 0.5, 0.25]], [[1.0, 0.0, 0.0]]], [[1.0], [0.0]], successors=[[[0, 1, 0]], [[1, 0, 0]]])
    assert mdp.to_dense().P.tolist() == HALF
    assert mdp.terminal.tolist() == [False, True]


def test_actions_that_are_not_allowed_have_minus_infinite_value_and_unread_rows():
    P = [[[0.5, 0.5], [np.nan, 7.0]], [[0.0, 1.0], [0.0, 1.0]]]
    mdp = TabularMDP(P, [[1.0, np.nan], [0.0, 0.0]], allowed=[[True, False], [True, True]])
    assert mdp.q(torch.zeros(2, dtype=torch.float64)).tolist() == [[1.0, -torch.inf], [0.0, 0.0]]
    assert mdp.P.sum(-1).tolist() == [[1.0, 1.0], [1.0, 1.0]]
    nowhere = torch.tensor([[[0, 1], [-1, -1]], [[-1, 9], [0, 1]]])
    listed = TabularMDP([P[0], [[9, 9], [0, 1]]], mdp.R, successors=nowhere, terminal=[1], allowed=[[True, False]] * 2)
    assert torch.equal(listed.to_dense().P, mdp.P)


def test_a_change_is_checked_again_and_leaves_the_original():
    mdp = river_swim()
    assert mdp.with_(discount=0.5).discount == 0.5 and mdp.discount == 0.95
    assert torch.equal(mdp.with_(R=mdp.R - 1).R, mdp.R - 1)
    with pytest.raises(ValueError, match="discount must be from 0 to 1, got 2"):
        mdp.with_(discount=2)


def test_sums_within_rounding_of_float32_are_made_exact_and_exact_ones_are_left_alone():
    third = torch.full((1, 1, 3), 1 / 3)
    P = torch.cat([third, torch.eye(3)[1:, None]]).numpy()
    assert (TabularMDP(P, np.zeros((3, 1))).P.sum(-1) - 1).abs().max() < 1e-15
    given = garnet().P
    assert torch.equal(TabularMDP(given, garnet().R, 0.9, successors=garnet().successors).P, given)


def test_a_tree_of_completions_becomes_an_mdp_with_one_state_for_its_ends():
    task, logits = kl_bayes_tree()
    mdp = TabularMDP.of_tree(task.as_mdp())
    assert (mdp.n_states, mdp.n_actions) == (22, 4)
    assert mdp.terminal.nonzero().tolist() == [[21]]
    policy = torch.cat([logits.softmax(-1), torch.full((1, 4), 0.25, dtype=torch.float64)])
    p = task.tree.nodes, task.tree.tokens
    expected = (logits.softmax(-1)[p].prod(-1) * task.rewards[0]).sum()
    assert evaluate(mdp, policy)[0].item() == pytest.approx(expected.item(), abs=1e-14)
    assert value_iteration(mdp).v[0].item() == task.rewards.max().item()


def test_tokens_that_a_tree_forbids_are_not_allowed():
    mdp = TabularMDP.of_tree(tricks_tree()[0].as_mdp())
    assert mdp.allowed.tolist() == [[True, True, True], [True, True, False], [True, True, False], [True, True, True]]
    assert evaluate(mdp, uniform_policy(mdp))[0].item() == pytest.approx(1 / 3 + 1 / 3 * 1 / 2 * 1 / 2, abs=1e-15)


BAD = {
    "P must have shape [S, A, S], got [2, 1, 3]": {"P": torch.ones(2, 1, 3) / 3},
    "P must have shape [S, A, S], got [2, 2]": {"P": torch.eye(2)},
    "P must be an array of numbers, got list": {"P": [[["a", "b"]]]},
    "P must be >= 0, got -0.5 for state 0, action 0": {"P": [[[-0.5, 1.5]], [[0.0, 1.0]]]},
    "P must be >= 0, got nan for state 1, action 0": {"P": [[[0.5, 0.5]], [[np.nan, 1.0]]]},
    "P must sum to 1 over the next states, got 0.9 for state 1, action 0": {"P": [[[0.5, 0.5]], [[0.0, 0.9]]]},
    "R must have shape [2, 1] or [2, 1, 2], got [2]": {"R": [1.0, 0.0]},
    "R must be finite, got nan for state 0, action 0": {"R": [[np.nan], [0.0]]},
    "R must be finite, got inf for state 0, action 0": {"R": [[[np.inf, 0.0]], [[0.0, 0.0]]]},
    "discount must be from 0 to 1, got -0.1": {"discount": -0.1},
    "discount must be from 0 to 1, got nan": {"discount": float("nan")},
    "horizon must be >= 1, got 0": {"horizon": 0},
    "horizon must be a whole number of steps, got 2.5": {"horizon": 2.5},
    "start must have shape [2], got [3]": {"start": [0.0, 0.5, 0.5]},
    "start must be >= 0, got -1 for state 1": {"start": [2.0, -1.0]},
    "start must sum to 1, got 0.5": {"start": [0.25, 0.25]},
    "start must sum to 1, got 0": {"start": [0.0, 0.0]},
    "start must be a state from 0 to 1, got 2": {"start": 2},
    "terminal must have shape [2], got [1]": {"terminal": [True]},
    "terminal must hold states from 0 to 1, got [2]": {"terminal": [2]},
    "allowed must be bool of shape [2, 1], got int64 [2, 1]": {"allowed": [[1], [1]]},
    "allowed must leave an action in every state, state 0 has none": {"allowed": [[False], [True]]},
    "successors must be integers of P's shape [2, 1, 2], got [2, 1]": {"successors": [[0], [1]]},
    "successors must be from 0 to 1, got 2 for state 1, action 0": {"successors": [[[0, 1]], [[0, 2]]]},
    "P must have shape [S, A, K], got [2, 2]": {"P": torch.eye(2), "successors": [[0, 1], [0, 1]]},
}


@pytest.mark.parametrize(("message", "changes"), BAD.items(), ids=list(BAD))
def test_bad_input_is_refused_with_the_place(message, changes):
    good = {"P": HALF, "R": [[1.0], [0.0]]}
    with pytest.raises(ValueError) as error:
        TabularMDP(**good | changes)
    assert message in str(error.value)
