from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from toykit.control import (
    LogSumExp,
    Max,
    Mean,
    TabularMDP,
    as_policy,
    evaluate,
    expected_return,
    garnet,
    modified_policy_iteration,
    policy_iteration,
    river_swim,
    uniform_policy,
    value_iteration,
)
from toykit.tasks import kl_bayes_tree

METHODS = [value_iteration, policy_iteration, modified_policy_iteration]


def best_by_enumeration(mdp):
    """The largest value of each state over all deterministic policies."""
    every = itertools.product(range(mdp.n_actions), repeat=mdp.n_states)
    return torch.stack([evaluate(mdp, list(actions)) for actions in every]).amax(0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_optimum_is_the_best_of_all_policies(method, sparse, seed):
    mdp = garnet(5, 3, 2, 0.9, seed)
    dense = mdp.to_dense()
    solution = method(mdp if sparse else dense)
    assert torch.allclose(solution.v, best_by_enumeration(dense), atol=1e-8)
    assert torch.allclose(evaluate(dense, solution.policy), solution.v, atol=1e-8)
    assert torch.allclose(solution.q.amax(-1), solution.v, atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("aggregator", [Max(), LogSumExp(0.5)], ids=["max", "soft"])
@pytest.mark.parametrize("discount", [0.0, 0.5, 0.99])
def test_the_error_is_no_larger_than_said(method, aggregator, discount):
    for seed in range(3):
        mdp = garnet(40, 4, 2, discount, seed)
        exact = policy_iteration(mdp.to_dense(), aggregator)
        for tol in (1e-3, 1e-9):
            solution = method(mdp, aggregator, tol=tol)
            assert (solution.v - exact.v).abs().max().item() <= solution.error + exact.error + 1e-12
            assert solution.error <= 1.01 * tol * max(1, solution.v.abs().max().item())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("aggregator", [Max(), LogSumExp(0.5)], ids=["max", "soft"])
def test_action_values_are_those_of_the_values_within_the_error(method, aggregator):
    mdp = garnet(40, 4, 3, 0.9).with_(terminal=[0, 7])
    solution = method(mdp, aggregator, tol=1e-3)
    assert (solution.q - mdp.q(solution.v)).abs().max().item() <= solution.error + 1e-12
    assert solution.q[[0, 7]].abs().max() == 0 and solution.v[[0, 7]].abs().max() == 0
    if method is not policy_iteration:
        torch.testing.assert_close(
            aggregator(solution.q).masked_fill(mdp.terminal, 0.0), solution.v, atol=1e-12, rtol=0
        )


def test_sweeps_of_the_policy_end_when_they_have_done_their_part():
    mdp = garnet(200, 10, 200, 0.95).to_dense()  # each sweep divides what is wrong by 30
    few, many = (modified_policy_iteration(mdp, sweeps=n, tol=1e-9) for n in (3, 1000))
    assert few.iterations == many.iterations and torch.equal(few.v, many.v)


def test_a_span_stop_gives_values_and_not_only_the_policy():
    mdp = garnet(200, 10, 200, 0.95).to_dense()  # mixes at once: a stop on the span alone would be wrong by far
    solution = value_iteration(mdp)
    assert solution.iterations < 12
    assert (solution.v - policy_iteration(mdp).v).abs().max() < 1e-8


def test_evaluation_is_planning_with_a_mean():
    mdp = garnet(30, 3, 3).to_dense()
    policy = uniform_policy(mdp)
    exact = evaluate(mdp, policy)
    for method in METHODS:
        assert torch.allclose(method(mdp, Mean(policy)).v, exact, atol=1e-8)
    assert policy_iteration(mdp, Mean(policy)).iterations == 1


@dataclass(frozen=True)
class Expectile:
    """As card 12 and implicit Q-learning will want it: (tau, 1 - tau) are the weights of values above and below."""

    weights: torch.Tensor
    tau: float

    def __call__(self, q):
        return (self.policy(q) * q).sum(-1)

    def policy(self, q):
        v = (self.weights * q).sum(-1, keepdim=True)
        for _ in range(100):
            p = self.weights * torch.where(q > v, self.tau, 1 - self.tau)
            p = p / p.sum(-1, keepdim=True)
            v = (p * q).sum(-1, keepdim=True)
        return p


@pytest.mark.parametrize("method", METHODS)
def test_another_aggregator_fits_in(method):
    mdp = garnet(10, 3, 3).to_dense()
    uniform = uniform_policy(mdp)
    low, middle, high = (method(mdp, Expectile(uniform, tau)).v for tau in (0.5, 0.9, 0.999999))
    assert torch.allclose(low, evaluate(mdp, uniform), atol=1e-8)
    assert bool((middle > low).all() & (middle < high).all())
    assert torch.allclose(high, value_iteration(mdp).v, atol=1e-2)


def test_the_mdp_of_card_29():
    rng = np.random.default_rng(3)
    mdp = TabularMDP(rng.dirichlet(np.full(6, 0.3), size=(6, 3)), rng.random((6, 3)).round(2), 0.9)
    solution = policy_iteration(mdp)
    assert (mdp.start @ solution.v).item() == pytest.approx(7.6333, abs=5e-5)
    assert solution.policy.argmax(-1).tolist() == [0, 1, 0, 0, 0, 0]


def test_in_support_value_iteration_of_card_12():
    rng = np.random.default_rng(0)
    P, R, mu = rng.dirichlet(np.full(5, 0.5), size=(5, 3)), rng.uniform(size=(5, 3)), rng.dirichlet(np.ones(3), size=5)
    mu[np.arange(5), R.argmax(1)] = 0
    mu = torch.from_numpy(mu / mu.sum(1, keepdims=True))
    mdp = TabularMDP(P, R, 0.9)
    supported = value_iteration(mdp.with_(allowed=mu > 0)).v
    assert value_iteration(mdp).v.min() > 8.9 and 5.2 < supported.min() < supported.max() < 5.75
    errors = [(value_iteration(mdp, LogSumExp(a, mu)).v - supported).abs().max().item() for a in (1, 0.1, 0.01)]
    assert errors == pytest.approx([1.497, 1.202, 0.163], abs=6e-4)


@pytest.mark.parametrize("method", METHODS)
def test_at_discount_1_a_tree_is_solved_exactly(method):
    task, logits = kl_bayes_tree()
    mdp = TabularMDP.of_tree(task.as_mdp())
    assert method(mdp).v[0].item() == task.rewards.max().item()
    prior = torch.cat([logits.softmax(-1), torch.full((1, 4), 0.25, dtype=torch.float64)])
    p = logits.softmax(-1)[task.tree.nodes, task.tree.tokens].log().sum(-1)
    soft = 0.5 * (p + task.rewards[0] / 0.5).logsumexp(0).item()
    assert method(mdp, LogSumExp(0.5, prior)).v[0].item() == pytest.approx(soft, abs=1e-13)


# 0: walk to 1 (action 0) or rest (1); 1: end with reward 1 (action 0), or back to 0 (1); 2: the end.
WALK = torch.zeros(3, 2, 3, dtype=torch.float64)
WALK[0, 0, 1] = WALK[0, 1, 0] = WALK[1, 0, 2] = WALK[1, 1, 0] = 1.0
WALK[2, :, 2] = 1.0


@pytest.mark.parametrize("sparse", [False, True])
def test_at_discount_1_the_best_policy_that_ends_is_found_among_loops(sparse):
    R = torch.zeros(3, 2, dtype=torch.float64)
    R[1, 0] = 1.0
    for rest, best in ((0.0, [1.0, 1.0, 0.0]), (-0.1, [1.0, 1.0, 0.0])):
        R[0, 1] = rest
        mdp = TabularMDP(WALK, R, terminal=[2])
        mdp = mdp.to_sparse() if sparse else mdp
        solution = policy_iteration(mdp)
        assert solution.v.tolist() == pytest.approx(best, abs=1e-9)
        assert solution.policy[:2].tolist() == [[1, 0], [1, 0]]
        for method in (value_iteration, modified_policy_iteration):
            with pytest.raises(ValueError, match="some policy may go on for ever, as from state 0"):
                method(mdp)


def test_at_discount_1_a_loop_of_positive_reward_is_refused_with_a_state():
    R = torch.tensor([[0.0, 0.1], [1.0, 0.0], [0.0, 0.0]])
    with pytest.raises(ValueError, match="state 0 leads to a loop of positive reward"):
        policy_iteration(TabularMDP(WALK, R, terminal=[2]))


def test_at_discount_1_without_an_end_nothing_is_planned():
    for method in METHODS:
        with pytest.raises(ValueError, match="discount must be < 1, or horizon given"):
            method(river_swim(discount=1.0))


def test_forbidden_actions_are_never_taken():
    mdp = river_swim().with_(allowed=[[True, False]] * 5 + [[False, True]])
    for method in METHODS:
        assert method(mdp).policy.tolist() == [[1, 0]] * 5 + [[0, 1]]


def test_the_swimmer_swims_right():
    mdp = river_swim()
    assert policy_iteration(mdp).policy.tolist() == [[0, 1]] * 6
    assert expected_return(mdp, as_policy(mdp, [1] * 6)) > expected_return(mdp, as_policy(mdp, [0] * 6))


def test_a_horizon_is_refused():
    for method in METHODS:
        with pytest.raises(ValueError, match="horizon must be None here, got 5: use backward_induction"):
            method(river_swim(horizon=5))


def test_tolerances_below_rounding_are_refused():
    for method in (value_iteration, modified_policy_iteration):
        with pytest.raises(ValueError, match="tol must be >= 7.1e-14 where values add up over 20 steps"):
            method(river_swim(), tol=1e-16)
    with pytest.raises(ValueError, match="sweeps must be >= 0, got -1"):
        modified_policy_iteration(river_swim(), sweeps=-1)


def test_an_aggregator_that_never_settles_is_refused(monkeypatch):
    class Fickle(Max):
        calls = 0

        def __call__(self, q):
            Fickle.calls += 1
            return q.amax(-1) + torch.tensor([(-1) ** Fickle.calls, 0, 0, 0])

    mdp = garnet(4, 2, 2, 0.1)
    for method in (value_iteration, modified_policy_iteration):
        with pytest.raises(ValueError, match="tol must be larger: the error stays near"):
            method(mdp, Fickle(), tol=0.01)
    monkeypatch.setattr("toykit.control.planning.MOST_POLICIES", 20)
    with pytest.raises(ValueError, match="aggregator must let policies settle"):
        policy_iteration(mdp, Fickle())
