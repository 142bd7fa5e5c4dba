from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.control import Chi2Maximum, Quantile, TabularMDP, policy_iteration, value_iteration

Q = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64)
RHO = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
CARD = [(0.3, -1.6667), (0.5, 0.3333), (0.65, 1.0), (0.8, 2.0), (0.95, 3.0)]


@pytest.mark.parametrize("variant", ["relu", "code"])
@pytest.mark.parametrize(("level", "v"), CARD)
def test_the_table_of_card_12(variant, level, v):
    assert Chi2Maximum(level, RHO, variant)(Q).item() == pytest.approx(v, abs=5e-5)


@pytest.mark.parametrize(("level", "v"), [(0.8, 2.833), (0.95, 3.9825), (0.99, 4.798), (0.999, 4.98)])
def test_the_conjugate_itself_overshoots_the_maximum(level, v):
    assert Chi2Maximum(level, RHO, "conjugate")(Q).item() == pytest.approx(v, abs=5e-4)


def test_values_far_below_pull_the_released_loss_down():
    two, half = torch.tensor([0.0, 10.0], dtype=torch.float64), torch.tensor([0.5, 0.5], dtype=torch.float64)
    found = [Chi2Maximum(level, half, "code")(two).item() for level in (0.9, 0.99, 0.999)]
    assert found == pytest.approx([6.778, 6.980, 6.998], abs=5e-4)
    assert [Chi2Maximum(level, half)(two).item() for level in (0.9, 0.99, 0.999)] == [10.0, 10.0, 10.0]


def test_the_quantile_of_total_variation_of_card_12():
    for level, v in ((0.65, 1.0), (0.8, 2.0), (0.95, 3.0)):
        assert Quantile((2 * level - 1) / level, RHO)(Q).item() == v
    uniform = torch.full((5,), 0.2, dtype=torch.float64)  # the card's exercise
    assert Quantile(0.5 / 0.75, uniform)(torch.arange(1.0, 6.0, dtype=torch.float64)).item() == 4.0


@pytest.mark.parametrize("variant", ["relu", "code", "conjugate"])
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), level=st.floats(0.1, 0.99))
def test_it_is_the_minimum_of_the_loss_over_a_grid_and_shifts_with_a_constant(variant, seed, level):
    draws = torch.Generator().manual_seed(seed)
    q = 4 * torch.randn(3, 5, generator=draws, dtype=torch.float64)
    prior = torch.rand(3, 5, generator=draws, dtype=torch.float64)
    prior[0, 2] = 0.0
    prior = prior / prior.sum(-1, keepdim=True)
    maximum = Chi2Maximum(level, prior, variant)
    v = maximum(q)
    grid = torch.linspace(-60, 30, 9001, dtype=torch.float64).expand(3, -1)
    assert bool((maximum.loss(q, v[:, None]) <= maximum.loss(q, grid).amin(-1, keepdim=True) + 1e-9).all())
    assert torch.allclose(maximum(q + 3.25), v + 3.25, atol=1e-10)
    assert torch.allclose(maximum.policy(q).sum(-1), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("variant", ["relu", "conjugate"])
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_the_policy_is_the_slope_and_it_is_monotone(variant, seed):
    draws = torch.Generator().manual_seed(seed)
    q, more = torch.randn(2, 4, generator=draws, dtype=torch.float64)
    maximum = Chi2Maximum(0.7, RHO, variant)
    step = 1e-6 * torch.eye(4, dtype=torch.float64)
    slope = (maximum(q + step) - maximum(q - step)) / 2e-6
    assert torch.allclose(maximum.policy(q), slope, atol=1e-6)
    assert maximum(q + more.abs()) >= maximum(q) - 1e-12


def test_it_is_an_aggregator_of_value_and_policy_iteration_and_stays_in_the_support():
    draws = torch.Generator().manual_seed(3)
    P = torch.rand(6, 3, 6, generator=draws, dtype=torch.float64)
    mdp = TabularMDP(P / P.sum(-1, keepdim=True), torch.rand(6, 3, generator=draws), 0.9)
    prior = torch.rand(6, 3, generator=draws, dtype=torch.float64)
    prior[:, 0] = 0.0
    prior = prior / prior.sum(-1, keepdim=True)
    maximum = Chi2Maximum(0.7, prior)
    found = value_iteration(mdp, maximum)
    assert torch.allclose(found.v, maximum(mdp.q(found.v)), atol=1e-8)
    assert torch.allclose(policy_iteration(mdp, maximum).v, found.v, atol=1e-8)
    assert bool((found.v <= policy_iteration(mdp.with_(allowed=prior > 0)).v + 1e-9).all())


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="level must be between 0 and 1, got 1.0"):
        Chi2Maximum(1.0, RHO)
    with pytest.raises(ValueError, match="variant must be one of code, conjugate, relu, got 'paper'"):
        Chi2Maximum(0.5, RHO, "paper")
