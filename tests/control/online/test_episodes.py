"""Layered MDPs, trajectories and values of batches, and least-squares value iteration."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toykit.control import backward_induction, expected_return, river_swim, to_gymnasium
from toykit.control.online import (
    Moves,
    best_policies,
    layered,
    noisy_lsvi,
    one_hot_features,
    policy_values,
    returns,
    trajectories,
    truncated,
)


def tables(seed, h=3, s=2, a=2):
    draw = torch.Generator().manual_seed(seed)
    P = torch.rand(h, s, a, s, generator=draw, dtype=torch.float64)
    return P / P.sum(-1, keepdim=True), torch.randn(h, s, a, generator=draw, dtype=torch.float64)


def test_a_layered_mdp_has_the_values_of_its_steps():
    P, R = tables(0)
    mdp, v = layered(P, R, start=1), torch.zeros(2).double()
    for h in (2, 1, 0):
        v = (R[h] + P[h] @ v).amax(-1)
    assert backward_induction(mdp).v[0][1].item() == pytest.approx(v[1].item())
    assert mdp.n_states == 7 and mdp.horizon == 3 and mdp.terminal.tolist() == [False] * 6 + [True]
    env = to_gymnasium(mdp)
    state, _ = env.reset(seed=0)
    assert state == 1 and [env.step(0)[2] for _ in range(3)] == [False, False, True]


def test_bad_tables_are_named():
    P, R = tables(0)
    with pytest.raises(ValueError, match=r"must be \[H, S, A, S\] and \[H, S, A\], got \[3, 2, 2, 2\] and \[3, 2\]"):
        layered(P, R[..., 0])
    with pytest.raises(ValueError, match="P must sum to 1"):
        layered(P * 1.1, R)


@given(st.integers(0, 100))
def test_values_of_a_batch_of_policies_are_those_of_each(seed):
    mdp = layered(*tables(seed))
    policies = torch.randint(2, (4, 3, mdp.n_states), generator=torch.Generator().manual_seed(seed))
    found = policy_values(mdp.P, mdp.R, mdp.start, policies)
    assert found.tolist() == pytest.approx([expected_return(mdp, p) for p in policies])
    best = best_policies(mdp.P, mdp.R, 3)
    every = torch.tensor(list(itertools.product((0, 1), repeat=6))).view(-1, 3, 2)
    whole = torch.zeros(len(every), 3, 7, dtype=torch.int64)
    for h in range(3):
        whole[:, h, 2 * h : 2 * h + 2] = every[:, h]
    top = policy_values(mdp.P, mdp.R, mdp.start, whole).max().item()
    assert policy_values(mdp.P, mdp.R, mdp.start, best).item() == pytest.approx(top)


def test_trajectories_follow_the_policy_and_the_probabilities():
    mdp = layered(*tables(1))
    n = 40_000
    policy = torch.randint(2, (3, 7), generator=torch.Generator().manual_seed(1))
    uniforms = torch.rand(n, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    states, actions = trajectories(mdp.P, mdp.start, policy.expand(n, 3, 7), uniforms)
    assert (states[:, 0] == 0).all() and (states[:, 3] == 6).all()
    assert all(torch.equal(actions[:, h], policy[h][states[:, h]]) for h in range(3))
    share = (states[:, 1] == 3).double().mean().item()
    assert share == pytest.approx(mdp.P[0, policy[0, 0], 3].item(), abs=0.01)
    mean = returns(mdp.R, states, actions).mean().item()
    assert mean == pytest.approx(expected_return(mdp, policy), abs=0.03)
    own = trajectories(mdp.P.expand(n, 7, 2, 7), mdp.start, policy.expand(n, 3, 7), uniforms)
    assert torch.equal(own[0], states)  # tables for each row


def test_truncation_between_and_beyond_its_norms():
    norm = torch.tensor([0.0, 0.7, 0.85, 1.0, 2.0]).double()
    found = truncated(torch.full((5,), 1.0).double(), norm, 3.0, 0.7, 1.0)
    assert found.tolist() == pytest.approx([1, 1, 2, 3, 3])
    assert truncated(torch.ones(5).double(), norm, 3.0, torch.inf, torch.inf).tolist() == [1] * 5


def test_moves_count_states_and_actions_of_each_step():
    features = one_hot_features(2, 2, 2)
    moves = Moves.none(1, steps=2, size=4, n_states=5)
    moves.add(features, torch.tensor([[0, 3, 4]]), torch.tensor([[1, 0]]))
    assert moves.gram[0, 0].diagonal().tolist() == [1, 2, 1, 1] and moves.gram[0, 1].diagonal().tolist() == [1, 1, 2, 1]
    assert moves.ahead[0, 0, 1].tolist() == [0, 0, 0, 1, 0] and moves.ahead[0].sum() == 2


def plan(mdp, moves, rewards, sigma=0.0, low=torch.inf, high=torch.inf, noise=None, bound=1.0):
    features = one_hot_features(2, 2, 3)
    noise = torch.zeros(1, 3, 4).double() if noise is None else noise
    return noisy_lsvi(features, rewards, moves, noise, sigma, bound, low, high)


def test_with_many_transitions_and_no_noise_it_is_backward_induction():
    P, R = tables(2)
    mdp, features = layered(P, R), one_hot_features(2, 2, 3)
    moves = Moves.none(1, steps=3, size=4, n_states=7, ridge=1e-9)
    for h in range(3):  # as often as the probabilities say
        moves.gram[0, h] += 1e6 * torch.eye(4).double()
        moves.ahead[0, h] += 1e6 * mdp.P[2 * h : 2 * h + 2].flatten(0, 1)
    q = plan(mdp, moves, R.flatten(1)[None])[0]
    exact = backward_induction(mdp).q
    for h in range(3):
        assert torch.allclose(q[h, 2 * h : 2 * h + 2], exact[h, 2 * h : 2 * h + 2], atol=1e-6)
    assert features[6].abs().sum() == 0 and (q[:, 6] == 0).all()


def test_what_is_unknown_gets_the_default_and_one_visit_nearly_ends_it():
    mdp = layered(*tables(3))
    moves = Moves.none(1, steps=3, size=4, n_states=7)
    q = plan(mdp, moves, torch.zeros(1, 3, 4).double(), low=0.7, high=1.0, bound=5.0)[0]
    assert [q[h, 2 * h].tolist() for h in range(3)] == [[10, 10], [5, 5], [0, 0]]  # (H - h) bound
    moves.add(one_hot_features(2, 2, 3), torch.tensor([[0, 2, 4, 6]]), torch.tensor([[0, 0, 0]]))
    q = plan(mdp, moves, torch.zeros(1, 3, 4).double(), low=0.7, high=1.0, bound=5.0)[0]
    weight = (1 - 0.5**0.5) / 0.3  # of the estimate, half the next value by the ridge
    assert q[1, 2].tolist() == pytest.approx([5 * (1 - weight), 5])
    assert q[0, 0].tolist() == pytest.approx([weight * 2.5 + (1 - weight) * 10, 10])


def test_noise_has_the_spread_of_the_gram():
    mdp, n = layered(*tables(4)), 20_000
    moves = Moves.none(n, steps=3, size=4, n_states=7)
    moves.gram[:, 2, 0, 0] = 4.0
    noise = torch.randn(n, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    q = plan(mdp, moves, torch.zeros(n, 3, 4).double(), sigma=0.5, noise=noise)
    assert q[:, 2, 4, 0].std().item() == pytest.approx(0.25, rel=0.03)
    assert q[:, 2, 4, 1].std().item() == pytest.approx(0.5, rel=0.03)


def test_an_mdp_without_layers_is_walked_too():
    mdp = river_swim(3, horizon=4, discount=1.0)
    always = torch.ones(4, 3, dtype=torch.int64)
    assert policy_values(mdp.P, mdp.R, mdp.start, always).item() == pytest.approx(expected_return(mdp, always))
