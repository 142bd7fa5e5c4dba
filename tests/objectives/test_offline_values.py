"""CQL and ILQL: by hand, and on a tree whose optimal values are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from toykit.objectives import CQL, ILQL, decoding_logits, expectile
from toykit.objectives.baselines import at_last_token
from toykit.objectives.offline_values import bellman_target, conservative
from toykit.tasks.bandit import TreeTask
from toykit.tasks.tree import Tree

MASK = torch.tensor([[True, True, False]])
TOKENS = torch.tensor([[1, 0, 0]])
Q = torch.tensor([[[0.5, 0.2], [0.3, 0.9], [8.0, 8.0]]], dtype=torch.float64)
V = torch.tensor([[0.1, 0.4, 8.0]], dtype=torch.float64)
REWARDS = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64)


def lse(*values: float) -> float:
    return math.log(sum(map(math.exp, values)))


def test_targets_and_terms_by_hand():
    assert at_last_token(torch.tensor([1.0]), MASK).tolist() == [[0, 1, 0]]
    assert bellman_target(REWARDS, V, MASK, 0.5).tolist() == [pytest.approx([0.5 * 0.4, 1.0, 0.0])]
    assert conservative(Q, TOKENS)[0, :2].tolist() == pytest.approx([lse(0.5, 0.2) - 0.2, lse(0.3, 0.9) - 0.3])
    assert expectile(torch.tensor([2.0, -2.0, 0.0]), 0.75).tolist() == [3.0, 1.0, 0.0]


def test_cql_by_hand():
    first = (0.2 - 0.5 * 0.9) ** 2 + 2 * (lse(0.5, 0.2) - 0.2)
    second = (0.3 - 1) ** 2 + 2 * (lse(0.3, 0.9) - 0.3)
    assert CQL(alpha=2, gamma=0.5)(Q, TOKENS, REWARDS, MASK).tolist() == pytest.approx([(first + second) / 2])


def test_ilql_by_hand():
    temporal = (0.2 - 0.5 * 0.4) ** 2 + (0.3 - 1) ** 2
    towards = 0.8 * (0.2 - 0.1) ** 2 + 0.2 * (0.3 - 0.4) ** 2  # Q > V, then Q < V
    keep = lse(0.5, 0.2) - 0.2 + lse(0.3, 0.9) - 0.3
    found = ILQL(tau=0.8, alpha=0.1, gamma=0.5)(Q, V, TOKENS, REWARDS, MASK)
    assert found.tolist() == pytest.approx([(temporal + towards + 0.1 * keep) / 2])


def test_each_term_of_ilql_moves_one_of_q_and_v():
    q, v = Q.clone().requires_grad_(), V.clone().requires_grad_()
    by_q, by_v = torch.autograd.grad(ILQL(0.8, alpha=0.0, gamma=0.5)(q, v, TOKENS, REWARDS, MASK).sum(), (q, v))
    assert by_q[0, :2].gather(-1, TOKENS[0, :2, None])[:, 0].tolist() == pytest.approx([0.2 - 0.2, 0.3 - 1.0])
    assert by_v[0].tolist() == pytest.approx([-0.8 * 0.1, 0.2 * 0.1, 0.0])


def test_the_policy_of_ilql_is_the_data_s_tilted_by_the_advantage():
    behaviour = torch.tensor([0.25, 0.75], dtype=torch.float64)
    logits = decoding_logits(behaviour.log(), Q[0, 0], V[0, 0], beta=2.0)
    expected = [math.log(0.25) + 2 * 0.4, math.log(0.75) + 2 * 0.1]
    assert logits.tolist() == pytest.approx(expected)
    assert decoding_logits(behaviour.log(), Q[0, 0], V[0, 0], 0.0).exp().tolist() == pytest.approx([0.25, 0.75])


# Three tokens out of two: rewards of 000, 001, ..., 111.
LEAVES = torch.tensor([0.1, 0.9, 0.3, 0.0, 0.2, 0.4, 0.8, 0.5], dtype=torch.float64)
TASK = TreeTask(Tree(2, horizon=3), LEAVES)
DATA = torch.tensor([0.3, 0.02, 0.1, 0.2, 0.1, 0.08, 0.05, 0.15], dtype=torch.float64)  # hardly ever the best one


def learned(loss: CQL | ILQL, steps: int = 400, law: Tensor = DATA) -> tuple[Tensor, Tensor]:
    """(Q [7, 2], V [7]) at the tree's nodes, by Adam on the loss of completions with the data's law alone."""
    tree = TASK.tree
    q = torch.zeros(7, 2, dtype=torch.float64, requires_grad=True)
    v = torch.zeros(7, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.Adam([q, v], 0.05, betas=(0.8, 0.9))
    rewards = at_last_token(LEAVES, tree.mask)
    for step in range(steps):
        solver.param_groups[0]["lr"] = 0.05 * (1 - step / steps)
        solver.zero_grad()
        values = (q[tree.nodes],) if isinstance(loss, CQL) else (q[tree.nodes], v[tree.nodes])
        (law * loss(*values, tree.tokens, rewards, tree.mask)).sum().backward()
        solver.step()
    return q.detach(), v.detach()


def optimal(q_leaves: Tensor) -> Tensor:
    """Q* [7, 2] by backward induction."""
    by_depth = [q_leaves.view(4, 2)]
    for _ in range(2):
        by_depth.insert(0, by_depth[0].amax(-1).view(-1, 2))
    return torch.cat(by_depth)


def expectile_of(values: Tensor, weights: Tensor, tau: float) -> float:
    """v with sum_i w_i |tau - 1[x_i < v]| (x_i - v) = 0, by bisection."""
    low, high = values.min(), values.max()
    for _ in range(60):
        middle = (low + high) / 2
        pull = (weights * torch.where(values > middle, tau, 1 - tau) * (values - middle)).sum()
        low, high = (middle, high) if pull > 0 else (low, middle)
    return float(low)


def fixed_point(tau: float) -> Tensor:
    """V [7] of ILQL without its conservative term: the expectile, under the data's law, of the values behind a node."""
    mass, value, found = DATA, LEAVES, []
    for _ in range(3):
        rows = list(zip(mass.view(-1, 2), value.view(-1, 2), strict=True))
        value = torch.tensor([expectile_of(v, m / m.sum(), tau) for m, v in rows], dtype=torch.float64)
        mass = mass.view(-1, 2).sum(-1)
        found.insert(0, value)
    return torch.cat(found)


def test_ilql_goes_to_the_expectiles_of_the_data_and_these_to_the_optimal_values():
    best, away = optimal(LEAVES).amax(-1), []
    for tau in (0.5, 0.9, 0.99, 0.9999):
        away.append((fixed_point(tau) - best).abs().max().item())
    assert away == sorted(away, reverse=True) and away[-1] < 0.01 and away[0] > 0.4
    for tau in (0.5, 0.9):
        _, v = learned(ILQL(tau, alpha=0.0, gamma=1.0))
        assert torch.allclose(v, fixed_point(tau), rtol=0, atol=2e-3)


def test_ilql_with_tau_near_1_learns_the_optimal_policy_from_data_that_rarely_show_it():
    q, v = learned(ILQL(0.995, alpha=0.0, gamma=1.0), steps=800)
    best = optimal(LEAVES)
    assert torch.equal(q.argmax(-1)[[0, 1, 3]], best.argmax(-1)[[0, 1, 3]])  # the way to 001, in 2 % of the data
    assert (v - best.amax(-1)).abs().max() < 0.1
    behaviour = DATA.view(2, 4).sum(-1)
    greedy = decoding_logits(behaviour.log(), q[0], v[0], beta=50.0).softmax(-1)
    assert behaviour[0] < 0.7 and greedy[0] > 0.9


def test_cql_without_its_term_is_q_learning_and_with_it_lies_below_where_data_are_rare():
    q, _ = learned(CQL(alpha=0.0))
    assert torch.allclose(q, optimal(LEAVES), rtol=0, atol=2e-3)
    careful, _ = learned(CQL(alpha=0.1))
    rare = 3, 1  # 001: 2 % of the data, against 30 % for 000
    assert careful[rare] < q[rare] - 0.2 and careful[3, 0] > q[3, 0]


def test_bounds_are_checked():
    for make in (lambda: ILQL(tau=1.0), lambda: ILQL(tau=0.0)):
        with pytest.raises(ValueError, match=r"tau must be in \(0, 1\), got"):
            make()
    with pytest.raises(ValueError, match=r"gamma must be in \[0, 1\], got 1.1"):
        CQL(gamma=1.1)
    with pytest.raises(ValueError, match="alpha must be >= 0, got -1"):
        CQL(alpha=-1)
