from __future__ import annotations

import pytest
import torch

from toykit.control import (
    TabularMDP,
    action_values,
    advantages,
    evaluate,
    expected_return,
    garnet,
    river_swim,
    uniform_policy,
)
from toykit.control.evaluation import bounds
from toykit.tasks import tricks_tree

HALF = TabularMDP([[[0.5, 0.5]], [[0.0, 1.0]]], [[1.0], [0.0]])  # 1 a step, over with probability 1/2


@pytest.mark.parametrize("mdp", [HALF, HALF.to_sparse()], ids=["dense", "sparse"])
@pytest.mark.parametrize("discount", [0.0, 0.5, 0.9, 1.0])
def test_a_geometric_episode_by_hand(mdp, discount):
    v = evaluate(mdp.with_(discount=discount), [0, 0])
    assert v.tolist() == pytest.approx([1 / (1 - discount / 2), 0.0], rel=1e-10)


def test_a_finite_horizon_by_hand():
    v = evaluate(HALF.with_(horizon=3), [0, 0])
    assert v.tolist() == [[1.75, 0.0], [1.5, 0.0], [1.0, 0.0], [0.0, 0.0]]
    assert expected_return(HALF.with_(horizon=3, discount=0.5), [0, 0]) == 1 + 0.25 + 0.0625


def test_a_policy_may_change_with_the_step():
    mdp = TabularMDP([[[1.0], [1.0]]], [[1.0, 10.0]], 0.5, horizon=3)
    assert evaluate(mdp, [[0], [1], [0]])[0].tolist() == [1 + 0.5 * 10 + 0.25]
    assert action_values(mdp, [[0], [1], [0]])[:, 0].tolist() == [[6.25, 15.25], [1.5, 10.5], [1.0, 10.0]]


@pytest.mark.parametrize("discount", [0.5, 0.95, 0.999])
@pytest.mark.parametrize("tol", [1e-4, 1e-8, 1e-11])
def test_sweeps_are_as_exact_as_they_say(discount, tol):
    for seed in range(5):
        mdp = garnet(30, 3, 2, discount, seed)
        policy = uniform_policy(mdp)
        exact = evaluate(mdp.to_dense(), policy)
        assert (evaluate(mdp, policy, tol) - exact).abs().max() <= tol * max(1, exact.abs().max()) + 1e-13


@pytest.mark.parametrize("tol", [1e-3, 1e-9])
def test_sweeps_to_a_certain_end_are_as_exact_as_they_say(tol):
    for seed in range(5):
        world = garnet(30, 3, 2, 1.0, seed)
        mdp = world.with_(terminal=[0])
        policy = uniform_policy(mdp)
        exact = evaluate(mdp.to_dense(), policy)
        assert exact[0] == 0
        assert (evaluate(mdp, policy, tol) - exact).abs().max() <= tol * max(1, exact.abs().max()) + 1e-13


def test_values_solve_the_bellman_equation_and_advantages_average_to_0():
    mdp = garnet(20, 4, 3, seed=2)
    for each in (mdp, mdp.to_dense(), mdp.with_(horizon=6)):
        policy = torch.rand(20, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        policy = policy / policy.sum(-1, keepdim=True)
        v, q, a = evaluate(each, policy), action_values(each, policy), advantages(each, policy)
        now = v if each.horizon is None else v[:-1]
        assert torch.allclose((policy * q).sum(-1), now, atol=1e-9)
        assert torch.allclose(q - now[..., None], a, atol=1e-14)
        assert (policy * a).sum(-1).abs().max() < 1e-9


def test_a_long_horizon_approaches_none():
    mdp = garnet(10, 2, 3, 0.8, seed=5).to_dense()
    policy = uniform_policy(mdp)
    assert torch.allclose(evaluate(mdp.with_(horizon=200), policy)[0], evaluate(mdp, policy), atol=1e-13)


def test_actions_that_are_not_allowed_are_minus_infinitely_good():
    mdp = TabularMDP.of_tree(tricks_tree()[0].as_mdp())
    a = advantages(mdp, uniform_policy(mdp))
    assert torch.equal(a == -torch.inf, ~mdp.allowed)


def test_an_improper_policy_at_discount_1_is_refused_with_a_state():
    loop = TabularMDP([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0]] * 2], [[1.0, 1.0], [0.0, 0.0]])
    for mdp in (loop, loop.to_sparse()):
        assert evaluate(mdp, [1, 0]).tolist() == [1.0, 0.0]
        with pytest.raises(ValueError, match="may never end: from state 0 no terminal state can be reached"):
            evaluate(mdp, [0, 0])
        assert evaluate(mdp.with_(horizon=2), [0, 0])[0].tolist() == [2.0, 0.0]
        assert evaluate(mdp.with_(discount=0.5), [0, 0]).tolist() == pytest.approx([2.0, 0.0], abs=1e-9)


def test_an_end_that_rounding_hides_is_refused():
    never = TabularMDP([[[1.0, 1e-18]], [[0.0, 1.0]]], [[1.0], [0.0]], terminal=[1])
    with pytest.raises(ValueError, match="discount must be < 1 where episodes hardly ever end, got 1"):
        evaluate(never, [0, 0])


def test_tolerances_below_rounding_are_refused():
    mdp = garnet(5, 2, 2, 0.999)
    with pytest.raises(ValueError, match="tol must be >= 3.6e-12 where values add up over 1e[+]03 steps, got 1.0e-15"):
        evaluate(mdp, uniform_policy(mdp), tol=1e-15)
    with pytest.raises(ValueError, match="tol must be > 0"):
        evaluate(mdp, uniform_policy(mdp), tol=0)


def test_the_bounds_of_a_sweep_enclose_the_fixed_point():
    mdp = garnet(12, 2, 3, 0.9, seed=3).to_dense()
    policy = uniform_policy(mdp)
    exact = evaluate(mdp, policy)
    v = torch.randn(12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for _ in range(20):
        new = (policy * mdp.q(v)).sum(-1)
        low, high = bounds(new - v, 0.9, 10)
        assert bool((new + low - 1e-12 <= exact).all() & (exact <= new + high + 1e-12).all())
        v = new


@pytest.mark.parametrize("horizon", [None, 4])
def test_an_exact_value_has_an_exact_gradient_in_the_policy(horizon, differences):
    mdp = garnet(4, 3, 2, 0.9, seed=4).to_dense().with_(horizon=horizon)
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)

    def value():
        v = evaluate(mdp, logits.softmax(-1))
        return mdp.start @ (v if horizon is None else v[0])

    (gradient,) = torch.autograd.grad(value(), logits)
    assert torch.allclose(gradient, differences(value, logits), atol=1e-8)


def test_a_value_by_sweeps_has_no_gradient():
    mdp = garnet(4, 3, 2)
    assert not evaluate(mdp, torch.zeros(4, 3, dtype=torch.float64, requires_grad=True).softmax(-1)).requires_grad


def test_the_return_averages_over_the_start():
    mdp = river_swim().with_(start=[0.5, 0, 0, 0, 0, 0.5])
    v = evaluate(mdp, [1] * 6)
    assert expected_return(mdp, [1] * 6) == pytest.approx(((v[0] + v[5]) / 2).item(), rel=1e-15)
