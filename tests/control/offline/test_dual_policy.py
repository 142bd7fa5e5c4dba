"""Policies by linear duals: the exact duals' values and gradients, the discriminator, and learning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.control import TabularMDP, occupancy
from toykit.control.offline import LinearDual, dual_q, learn_policy, likelihood, log_ratio, recoil, recoil_dual

TABLE = torch.eye(15, dtype=torch.float64).view(5, 3, 15)


def problem(seed):
    rng = np.random.default_rng(seed)
    P, R = rng.dirichlet([0.5] * 5, (5, 3)), rng.uniform(size=(5, 3))
    mdp = TabularMDP(P, R, 0.9, start=np.full(5, 0.2), terminal=[])
    policies = [torch.from_numpy(rng.dirichlet([1.0] * 3, 5)) for _ in range(3)]
    return mdp, policies, [occupancy(mdp, p) for p in policies]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.2, 0.8))
def test_with_exact_laws_and_a_table_the_minimum_is_that_of_the_exact_duals(seed, share):
    mdp, policies, (expert, other, _) = problem(seed)
    mine = replace(recoil_dual(mdp.P, mdp.start, 0.9, TABLE, expert, other, share), ridge=1e-11)
    valued = LinearDual(mdp.P, mdp.start, 0.9, TABLE, other, torch.zeros_like(other), mdp.R, alpha=0.5, ridge=1e-11)
    for found, exact in (
        (mine(policies[2]), recoil(mdp, policies[2], expert, other, share)),
        (mine(policies[0]), recoil(mdp, policies[0], expert, other, share)),
        (valued(policies[2]), dual_q(mdp, policies[2], other, 0.5)),
    ):
        most = 1e-11 / 2 * exact.q.square().sum().item()  # what the ridge adds at the exact minimum
        assert -1e-5 <= float(found) - exact.value <= most + 1e-5


def test_the_gradient_by_the_policy_is_that_of_the_minimum():
    mdp, policies, (expert, other, _) = problem(1)
    dual = recoil_dual(mdp.P, mdp.start, 0.9, TABLE, expert, other)
    policy = policies[2].clone().requires_grad_()
    (slope,) = torch.autograd.grad(dual(policy), policy)
    for s, a in ((0, 0), (3, 2)):
        moved = [policies[2].clone() for _ in range(2)]
        moved[0][s, a] += 1e-5
        moved[1][s, a] -= 1e-5
        assert float(slope[s, a]) == pytest.approx(float(dual(moved[0]) - dual(moved[1])) / 2e-5, abs=1e-5)


def test_recoil_learns_the_expert_from_exact_laws_and_data_sets_side_by_side_are_learned_alike():
    mdp, policies, (expert, other, third) = problem(2)
    laws = torch.stack([expert, expert]), torch.stack([other, third])
    P = mdp.P.expand(2, -1, -1, -1)
    found = learn_policy(recoil_dual(P, mdp.start, 0.9, TABLE, *laws), TABLE, (2,), steps=400)
    assert (found - policies[0]).abs().max() < 0.05
    alone = learn_policy(recoil_dual(mdp.P, mdp.start, 0.9, TABLE, expert, third), TABLE, steps=400)
    assert torch.allclose(found[1], alone, atol=1e-6)


def test_cloning_goes_to_the_shares_of_the_data():
    law = torch.tensor([[0.3, 0.1, 0.0], [0.0, 0.3, 0.3]], dtype=torch.float64)
    found = learn_policy(likelihood(law), torch.eye(6, dtype=torch.float64).view(2, 3, 6), steps=400)
    assert torch.allclose(found, law / law.sum(-1, keepdim=True), atol=0.01)


def test_the_discriminator_finds_the_log_ratio_and_stays_finite_without_it():
    features = torch.eye(3, dtype=torch.float64)[None]
    expert, other = (torch.tensor([x], dtype=torch.float64) for x in ([0.5, 0.5, 0.0], [0.25, 0.5, 0.25]))
    found = log_ratio(features, expert, other, ridge=1e-9)[0]
    assert found[:2].tolist() == pytest.approx([np.log(2), 0.0], abs=1e-6)
    assert -25 < float(found[2]) < -10
    u = log_ratio(features, expert, other, ridge=0.1)[0]
    pull = expert[0] * torch.sigmoid(-u) - other[0] * torch.sigmoid(u)
    assert torch.allclose(pull, 0.1 * u, atol=1e-9)


def test_bad_input_is_named():
    mdp, _, (expert, other, _) = problem(0)
    given = (mdp.P, mdp.start, 0.9, TABLE, expert, other)
    for share in (0.0, 1.0):
        with pytest.raises(ValueError, match="share must be between 0 and 1"):
            recoil_dual(*given, share=share)
    for name, value in (("alpha", 0.0), ("ridge", 0.0)):
        with pytest.raises(ValueError, match=f"{name} must be > 0 and finite, got 0"):
            LinearDual(*given, **{name: value})
    with pytest.raises(ValueError, match="discount must be between 0 and 1, got 1.0"):
        LinearDual(mdp.P, mdp.start, 1.0, *given[3:])
    with pytest.raises(ValueError, match="minus must have shape"):
        LinearDual(*given[:5], other[:4])
    with pytest.raises(ValueError, match="P must have shape"):
        LinearDual(mdp.P[:4], *given[1:])
    with pytest.raises(ValueError, match="start must have shape"):
        LinearDual(mdp.P, mdp.start[:3], *given[2:])
    with pytest.raises(ValueError, match="ridge must be > 0"):
        log_ratio(TABLE, expert, other, ridge=0.0)
    with pytest.raises(ValueError, match="steps must be >= 1, got 0"):
        learn_policy(likelihood(expert), TABLE, steps=0)
    with pytest.raises(ValueError, match="lr must be > 0"):
        learn_policy(likelihood(expert), TABLE, lr=0.0)
