from __future__ import annotations

import pytest
import torch

from toykit.control import MLP, backward_induction, expected_return, lookahead, river_swim, simulate, uniform_policy
from toykit.control.online.sqirl import of_estimator, of_network, pooled_sqirl, sqirl, table_means
from toykit.control.worlds import decoy_corridor, grid_world

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


def test_episodes_may_come_from_elsewhere():
    asked = []

    def episodes(behaviour, learned):
        asked.append((learned, bool((behaviour[:learned].amax(-1) == 1).all())))
        return simulate(CARD, behaviour, 200, seed=5 * 7 + learned)

    given, own = sqirl(CARD, 3, 1, seed=0, episodes=episodes), sqirl(CARD, 3, 200, seed=7)
    assert torch.equal(given.q, own.q) and given.steps == own.steps
    assert asked == [(i, True) for i in range(5)]


def test_pooled_sqirl_succeeds_and_is_misled_as_sqirl_is():
    """In a corridor the state tells the step, so that leaving the step out loses nothing."""

    def solved(k, seed):
        found = pooled_sqirl(CARD, 3000, [table_means(CARD.n_states, CARD.n_actions)] * k, seed)
        return expected_return(CARD, found.policy) == pytest.approx(lookahead(CARD).optimum, abs=1e-9)

    assert sum(solved(3, seed) for seed in range(10)) >= 8
    assert sum(solved(1, seed) for seed in range(10)) <= 1


def test_pooled_sqirl_fits_all_that_random_actions_follow():
    """At step 1 the transitions from step 1 on of the first episodes, and of those whose first step is learned."""
    seen = []

    def counting(states, actions, targets):
        seen.append((len(states), sorted(set(states.tolist()))))
        return table_means(CARD.n_states, CARD.n_actions)(states, actions, targets)

    found = pooled_sqirl(CARD, 2000, [counting], seed=1)
    assert [states for _, states in seen] == [list(range(i, 5)) for i in range(5)]
    behaviour = uniform_policy(CARD).repeat(5, 1, 1)
    first = simulate(CARD, behaviour, 2000, seed=5)
    behaviour[0] = torch.nn.functional.one_hot(found.policy[0], 3)
    second = simulate(CARD, behaviour, 2000, seed=6)
    assert seen[0][0] == len(first) and seen[1][0] == int((first.step > 0).sum() + (second.step > 0).sum())


def test_a_later_head_of_pooled_sqirl_expects_nothing_after_an_end():
    """The first head says 1 of everything: the second's target is r + 1, and r alone where the episode is over."""
    seen = []

    def ones(states, actions, targets):
        return torch.ones(CARD.n_states, CARD.n_actions, dtype=torch.float64)

    def watching(states, actions, targets):
        seen.append((CARD.R[states, actions], targets))
        return ones(states, actions, targets)

    pooled_sqirl(CARD, 50, [ones, watching], seed=0)
    after = torch.cat([targets - rewards for rewards, targets in seen])
    assert set(after.round(decimals=9).tolist()) == {0.0, 1.0} and 0.2 < after.mean() < 0.8


def test_a_network_weighs_the_means_by_their_counts():
    """Two states that it cannot tell apart, with targets 1 (three times) and 0 (once)."""
    blind = of_network(torch.nn.Linear(1, 1), torch.zeros(2, 1), updates=300, lr=0.05)
    q = blind(torch.tensor([0, 0, 0, 1]), torch.zeros(4, dtype=torch.int64), torch.tensor([1.0, 1, 1, 0]).double())
    assert q.flatten().tolist() == pytest.approx([0.75, 0.75], abs=1e-3)


def test_a_network_learns_weighed_means_and_goes_on_from_its_last_fit():
    inputs = torch.eye(2)
    regress = of_network(MLP(2, 2, (8,), seed=0), inputs, updates=150, lr=2e-2)
    rows = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 1, 1]), torch.tensor([1.0, 0.0, 2.0, -1.0]).double()
    q = regress(*rows)
    assert q[[0, 0, 1], [0, 1, 1]].tolist() == pytest.approx([0.5, 2.0, -1.0], abs=0.05)
    again = of_network(MLP(2, 2, (8,), seed=0), inputs, updates=75, lr=2e-2)
    again(*rows)
    assert torch.allclose(again(*rows), q, atol=1e-6)  # twice 75 updates are 150
    empty = (torch.zeros(0, dtype=torch.int64),) * 2
    assert torch.isfinite(regress(*empty, torch.zeros(0, dtype=torch.float64))).all()


def test_pooled_sqirl_with_a_network_solves_a_room():
    mdp = grid_world("shaped")
    heads = [of_network(MLP(mdp.n_states, 4, seed=seed), torch.eye(mdp.n_states)) for seed in range(2)]
    found = pooled_sqirl(mdp, 20, heads, seed=3)
    assert expected_return(mdp, found.policy) > 0.95 * lookahead(mdp, most=1).optimum
    assert 20 * 40 < found.steps <= 20 * 40 * 40


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
    mean = table_means(3, 2)
    for arguments, message in (
        ((mdp, 1, []), "number of heads must be >= 1, got 0"),
        ((mdp, 0, [mean]), "m must be >= 1, got 0"),
        ((river_swim(3), 1, [mean]), "horizon must be a number of steps"),
    ):
        with pytest.raises(ValueError, match=message):
            pooled_sqirl(*arguments)
    for options, message in (({"updates": 0}, "updates must be >= 1, got 0"), ({"lr": 0.0}, "lr must be > 0")):
        with pytest.raises(ValueError, match=message):
            of_network(MLP(3, 2), torch.eye(3), **options)
