from __future__ import annotations

import pytest
import torch

from toykit.control import backward_induction, expected_return, lookahead, river_swim
from toykit.control.online.sqirl import of_estimator, sqirl, table_means
from toykit.control.worlds import decoy_corridor

CARD = decoy_corridor(5, 0.05, slip=0.1)  # card 14: its least k is 3


def successes(k, m, seeds=20):
    best = backward_induction(CARD).v[0, 0].item()
    return sum(abs(expected_return(CARD, sqirl(CARD, k, m, seed=seed).policy) - best) < 1e-9 for seed in range(seeds))


def test_with_enough_sweeps_more_data_helps_and_with_too_few_it_misleads():
    assert lookahead(CARD).least == 3
    assert successes(3, 3000) >= 17
    assert successes(1, 3000) <= 1


def test_with_much_data_its_policy_is_greedy_in_the_exact_q_of_the_same_k():
    mdp = decoy_corridor(5, 0.05, slip=0.3)
    for k in (1, 3):
        found = sqirl(mdp, k, m=20_000, seed=1)
        assert expected_return(mdp, found.policy) == pytest.approx(lookahead(mdp).returns[k - 1].item(), abs=1e-9)
        assert found.steps <= 5 * 5 * 20_000


def test_q_of_the_last_step_is_the_mean_reward():
    mdp = river_swim(3, discount=1.0, horizon=2)
    found = sqirl(mdp, 1, m=4000)
    seen = found.q[1] != 0
    assert torch.allclose(found.q[1][seen], mdp.R[seen], atol=1e-12)
    assert found.q[0][0, 0].item() == pytest.approx(mdp.R[0, 0].item() + 0.0025, abs=2e-4)  # then half of the time .005


def test_an_estimator_on_a_table_of_features_is_the_table():
    linear = pytest.importorskip("sklearn.linear_model")
    mdp = decoy_corridor(4, 0.05, slip=0.1)
    features = torch.eye(mdp.n_states * mdp.n_actions).view(mdp.n_states, mdp.n_actions, -1)
    fitted = sqirl(mdp, 2, 300, of_estimator(linear.LinearRegression(fit_intercept=False), features), seed=2)
    table = sqirl(mdp, 2, 300, seed=2)
    assert torch.allclose(fitted.q, table.q, atol=1e-9) and torch.equal(fitted.policy, table.policy)


def test_a_small_network_of_scikit_learn_learns_the_corridor():
    neural = pytest.importorskip("sklearn.neural_network")
    mdp = decoy_corridor(3, 0.2)
    features = torch.cat([torch.eye(5)[:, None].expand(5, 3, 5), torch.eye(3)[None].expand(5, 3, 3)], -1)
    network = neural.MLPRegressor(hidden_layer_sizes=(16,), solver="lbfgs", max_iter=300, tol=1e-3, random_state=0)
    found = sqirl(mdp, lookahead(mdp).least, 300, of_estimator(network, features))
    assert expected_return(mdp, found.policy) == pytest.approx(1.0)


def test_means_by_hand_and_bad_input():
    q = table_means(2, 2)(torch.tensor([0, 0, 1]), torch.tensor([1, 1, 0]), torch.tensor([1.0, 4.0, 7.0]).double())
    assert q.tolist() == [[0, 2.5], [7, 0]]
    mdp = river_swim(3, horizon=2)
    for arguments, message in (
        ((mdp, 0, 1), "k must be >= 1, got 0"),
        ((mdp, 1, 0), "m must be >= 1, got 0"),
        ((river_swim(3), 1, 1), "horizon must be a number of steps"),
    ):
        with pytest.raises(ValueError, match=message):
            sqirl(*arguments)
