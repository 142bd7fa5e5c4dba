from __future__ import annotations

import numpy as np
import pytest
import torch

from toykit.control import LogSumExp, Max, Mean, TabularMDP, backward_induction, garnet, uniform_policy, value_iteration
from toykit.exact import posterior
from toykit.tasks import kl_bayes_tree


def corridor(length: int, quit: float, slip: float = 0.0, n_actions: int = 3) -> TabularMDP:
    """Card 14: action 0 walks on to a reward of 1 at the end, any other gives up, for `quit` in the first state."""
    goal, dead = length, length + 1
    P, R = np.zeros((length + 2, n_actions, length + 2)), np.zeros((length + 2, n_actions))
    for s in range(length):
        P[s, 0, s + 1] = P[s, 1:, dead] = 1
    P[goal, :, goal] = P[dead, :, dead] = 1
    R[length - 1, 0], R[0, 1:] = 1, quit
    mixed = [(1 - slip) * x + slip * x.mean(1, keepdims=True) for x in (P, R)]
    return TabularMDP(*mixed, horizon=length, start=0)


def greedy_returns(mdp: TabularMDP, most: int) -> list[float]:
    """J_k for k = 1..most: the worst greedy policy of the uniform policy's Q after k - 1 sweeps of value iteration."""
    q, found = backward_induction(mdp, Mean(uniform_policy(mdp))).q, []
    end = torch.zeros(1, mdp.n_states, dtype=torch.float64)
    for _ in range(most):
        greedy = q >= Max()(q)[..., None] - 1e-9
        v = end[0]
        for step in reversed(greedy):
            v = mdp.q(v).masked_fill(~step, torch.inf).amin(-1)
        found.append((mdp.start @ v).item())
        q = mdp.q(torch.cat([Max()(q)[1:], end]))
    return found


CARD = [
    (4, 0.05, 0.0, [0.05, 1, 1, 1]),
    (5, 0.05, 0.0, [0.05, 0.05, 1, 1]),
    (6, 0.05, 0.0, [0.05, 0.05, 0.05, 1]),
    (5, 0.2, 0.0, [0.2, 0.2, 0.2, 1]),
    (5, 0.005, 0.0, [1, 1, 1, 1]),
    (5, 0.05, 0.1, [0.0736, 0.0736, 0.7116, 0.7116]),
    (5, 0.05, 0.25, [0.0860, 0.0860, 0.4102, 0.4102]),
]


@pytest.mark.parametrize(("length", "quit", "slip", "returns"), CARD)
@pytest.mark.parametrize("sparse", [False, True])
def test_the_corridors_of_card_14(length, quit, slip, returns, sparse):
    mdp = corridor(length, quit, slip)
    mdp = mdp.to_sparse() if sparse else mdp
    assert greedy_returns(mdp, 4) == pytest.approx(returns, abs=5e-5)
    assert backward_induction(mdp).v[0, 0].item() == pytest.approx(returns[-1], abs=5e-5)


def test_shapes_and_the_end():
    mdp = garnet(6, 3, 2).with_(horizon=4)
    solution = backward_induction(mdp)
    assert (solution.v.shape, solution.q.shape, solution.policy.shape) == ((5, 6), (4, 6, 3), (4, 6, 3))
    assert solution.v[-1].tolist() == [0.0] * 6
    assert torch.equal(solution.q[-1], mdp.R)
    assert torch.equal(solution.policy.sum(-1), torch.ones(4, 6))
    assert torch.equal((solution.policy * solution.q).sum(-1), solution.v[:-1])


def test_soft_backward_induction_on_a_tree_is_the_log_evidence_and_its_policy_the_posterior():
    task, logits = kl_bayes_tree()
    tree, prior = task.tree, logits.softmax(-1)
    mdp = TabularMDP.of_tree(task.as_mdp()).with_(horizon=3)
    padded = torch.cat([prior, torch.full((1, 4), 0.25, dtype=torch.float64)])
    soft = backward_induction(mdp, LogSumExp(0.3, padded))
    log_prior = prior[tree.nodes, tree.tokens].log().sum(-1)
    score = log_prior + task.rewards[0] / 0.3
    assert soft.v[0, 0].item() == pytest.approx(0.3 * score.logsumexp(0).item(), abs=1e-14)
    steps = soft.policy[torch.arange(3), tree.nodes, tree.tokens].log().sum(-1)
    assert torch.allclose(steps, posterior(log_prior, task.rewards[0], 0.3), atol=1e-12)


def test_each_step_may_have_its_own_aggregator():
    mdp = TabularMDP([[[1.0], [1.0]]], [[1.0, 3.0]], horizon=2)
    half = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    assert backward_induction(mdp, [Max(), Mean(half)]).v[0].item() == 5.0
    assert backward_induction(mdp, [Mean(half), Mean(half)]).v[0].item() == 4.0


def test_a_horizon_beyond_every_episode_is_no_horizon():
    task, _ = kl_bayes_tree()
    mdp = TabularMDP.of_tree(task.as_mdp())
    assert torch.equal(backward_induction(mdp.with_(horizon=5)).v[0], value_iteration(mdp).v)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="horizon must be a number of steps for values by step, got None"):
        backward_induction(garnet())
    with pytest.raises(ValueError, match="aggregator must be one, or one for each of 3 steps, got 2"):
        backward_induction(garnet().with_(horizon=3), [Max(), Max()])
