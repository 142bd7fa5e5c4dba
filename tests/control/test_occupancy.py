from __future__ import annotations

import pytest
import torch

from toykit.control import (
    TabularMDP,
    evaluate,
    expected_return,
    flow_residual,
    garnet,
    occupancy,
    policy_of,
    river_swim,
    uniform_policy,
    visits,
)
from toykit.tasks import kl_bayes_tree

HALF = TabularMDP([[[0.5, 0.5]], [[0.0, 1.0]]], [[1.0], [0.0]])  # over with probability 1/2 a step


def random_policy(mdp, seed=0, *lead):
    generator = torch.Generator().manual_seed(seed)
    p = torch.rand(*lead, mdp.n_states, mdp.n_actions, generator=generator, dtype=torch.float64) * mdp.allowed
    return p / p.sum(-1, keepdim=True)


@pytest.mark.parametrize("mdp", [HALF, HALF.to_sparse()], ids=["dense", "sparse"])
def test_a_geometric_episode_by_hand(mdp):
    half = mdp.with_(discount=0.5)
    assert occupancy(half, [0, 0])[:, 0].tolist() == pytest.approx([0.5 / 0.75, 1 - 0.5 / 0.75], abs=1e-9)
    assert visits(half, [0, 0])[:, 0].tolist() == pytest.approx([1 / 0.75, 0], abs=1e-9)
    assert visits(mdp, [0, 0])[:, 0].tolist() == pytest.approx([2, 0], abs=1e-9)
    steps = half.with_(horizon=3)
    assert occupancy(steps, [0, 0])[..., 0].tolist() == [[1, 0], [0.5, 0.5], [0.25, 0.75]]
    assert visits(steps, [0, 0])[:, 0].tolist() == [1 + 0.25 + 0.0625, 0]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("discount", [0.0, 0.5, 0.95, 0.999])
def test_flow_is_conserved_and_mass_is_1(sparse, discount):
    for seed in range(3):
        world = garnet(25, 3, 2, discount, seed).with_(terminal=[3])
        mdp = world if sparse else world.to_dense()
        d = occupancy(mdp, random_policy(mdp, seed))
        assert d.sum().item() == pytest.approx(1.0, abs=1e-9) and bool((d >= 0).all())
        assert flow_residual(mdp, d).abs().sum() < 1e-9


@pytest.mark.parametrize("sparse", [False, True])
def test_flow_is_conserved_from_step_to_step(sparse):
    world = garnet(25, 3, 2, 0.9).with_(horizon=7)
    mdp = world if sparse else world.to_dense()
    d = occupancy(mdp, random_policy(mdp, 0, 7))
    assert d.shape == (7, 25, 3)
    assert torch.allclose(d.sum((-1, -2)), torch.ones(7, dtype=torch.float64))
    assert flow_residual(mdp, d).abs().max() < 1e-14
    assert flow_residual(mdp, d.flip(0)).abs().max() > 1e-3


def test_what_is_no_occupancy_measure_has_a_residual():
    mdp = river_swim()
    wrong = torch.full((6, 2), 1 / 12, dtype=torch.float64)
    assert flow_residual(mdp, wrong).abs().max() > 0.05


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("changes", [{}, {"terminal": [0], "discount": 1.0}, {"horizon": 5}, {"terminal": [2]}])
def test_visits_times_rewards_are_the_return(sparse, changes):
    world = garnet(15, 3, 4, 0.9, seed=1).with_(**changes)
    mdp = world if sparse else world.to_dense()
    policy = random_policy(mdp)
    n = visits(mdp, policy)
    assert (n * mdp.R).sum().item() == pytest.approx(expected_return(mdp.to_dense(), policy), abs=1e-8)
    assert float(n[mdp.terminal].abs().sum()) == 0.0


def test_the_occupancy_measure_times_rewards_is_the_return_times_1_minus_discount():
    mdp = garnet(15, 3, 4, 0.9, seed=1)
    policy = random_policy(mdp)
    assert (occupancy(mdp, policy) * mdp.R).sum().item() == pytest.approx(0.1 * expected_return(mdp, policy), abs=1e-9)


def test_the_policy_of_an_occupancy_measure_is_the_policy():
    mdp = garnet(15, 3, 4, 0.9, seed=1).to_dense()
    policy = random_policy(mdp)
    assert torch.allclose(policy_of(mdp, occupancy(mdp, policy)), policy, atol=1e-12)
    steps = mdp.with_(horizon=4)
    policies = random_policy(mdp, 3, 4)
    assert torch.allclose(policy_of(steps, occupancy(steps, policies)), policies, atol=1e-12)


def test_where_a_policy_never_is_its_policy_is_uniform():
    mdp = TabularMDP.of_tree(kl_bayes_tree()[0].as_mdp())
    first = torch.zeros(22, dtype=torch.int64)
    found = policy_of(mdp, visits(mdp, first))
    assert found[0].tolist() == [1, 0, 0, 0]
    assert found[2].tolist() == [0.25] * 4


def test_visits_of_a_tree_are_the_probabilities_of_its_prefixes():
    task, logits = kl_bayes_tree()
    mdp = TabularMDP.of_tree(task.as_mdp())
    p = logits.softmax(-1)
    n = visits(mdp, torch.cat([p, torch.full((1, 4), 0.25, dtype=torch.float64)]))
    assert torch.allclose(n[0], p[0], atol=1e-15)
    assert torch.allclose(n[1:5], p[0][:, None] * p[1:5], atol=1e-15)


def test_the_gradient_of_the_return_is_visits_times_advantages():
    mdp = garnet(6, 3, 2, 0.9, seed=4).to_dense()
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    policy = logits.softmax(-1)
    v = evaluate(mdp, policy)
    exact = visits(mdp, policy) * (mdp.q(v) - v[:, None])
    step = torch.zeros_like(logits)
    step[2, 1] = 1e-5
    up, down = (expected_return(mdp, (logits + s).softmax(-1)) for s in (step, -step))
    assert exact[2, 1].item() == pytest.approx((up - down) / 2e-5, abs=1e-8)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="discount must be < 1, or horizon given, for a normalised occupancy, got 1"):
        occupancy(HALF, [0, 0])
    with pytest.raises(ValueError, match="from state 0 no terminal state can be reached"):
        visits(river_swim(discount=1.0), [0] * 6)
    with pytest.raises(ValueError, match=r"occupancy must have shape \[6, 2\], got \[2, 6\]"):
        flow_residual(river_swim(), torch.zeros(2, 6))
    with pytest.raises(ValueError, match=r"occupancy must have shape \[4, 6, 2\], got \[6, 2\]"):
        flow_residual(river_swim(horizon=4), torch.zeros(6, 2))
    with pytest.raises(ValueError, match="tol must be >= "):
        occupancy(garnet(), uniform_policy(garnet()), tol=1e-18)
