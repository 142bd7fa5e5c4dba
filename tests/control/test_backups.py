from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.control import (
    Expectile,
    LogSumExp,
    Max,
    Mean,
    Quantile,
    TabularMDP,
    garnet,
    policy_iteration,
    value_iteration,
)
from toykit.control.backups import backup

Q = torch.tensor([[0.0, 1.0, 2.0, 3.0], [2.0, 2.0, -torch.inf, 1.0]], dtype=torch.float64)
RHO = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
AGGREGATORS = {
    "mean": Mean(RHO),
    "max": Max(),
    "soft": LogSumExp(0.7),
    "prior": LogSumExp(0.7, RHO),
    "expectile": Expectile(0.8, RHO),
    "low expectile": Expectile(0.3, RHO),
    "quantile": Quantile(0.6, RHO),
}
CONVEX = ("mean", "max", "soft", "prior", "expectile")


def test_by_hand():
    two = torch.tensor([[0.25, 0.75, 0.0, 0.0], [0.5, 0.25, 0.0, 0.25]], dtype=torch.float64)
    assert Mean(two)(Q).tolist() == [0.75, 1.75]
    assert Max()(Q).tolist() == [3.0, 2.0]
    assert Max().policy(Q).tolist() == [[0, 0, 0, 1], [1, 0, 0, 0]]
    zero = torch.zeros(1, 4, dtype=torch.float64)
    assert LogSumExp(2.0)(zero).item() == pytest.approx(2 * math.log(4), abs=1e-15)
    assert LogSumExp(2.0, RHO)(zero).item() == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize(("temperature", "v"), [(2, 1.26938), (1, 1.54796), (0.5, 1.99337), (0.1, 2.76975)])
def test_the_soft_maximum_under_a_prior_of_card_12(temperature, v):
    assert LogSumExp(temperature, RHO)(Q[0]).item() == pytest.approx(v, abs=5e-6)


def test_a_low_temperature_is_the_maximum_and_a_high_one_the_prior_mean():
    assert LogSumExp(1e-3)(Q).tolist() == pytest.approx([3.0, 2.0 + 1e-3 * math.log(2)], abs=1e-12)
    assert LogSumExp(1e6, RHO)(Q[0]).item() == pytest.approx((RHO * Q[0]).sum().item(), abs=1e-5)


@pytest.mark.parametrize("name", AGGREGATORS)
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_aggregators_are_monotone_shift_with_a_constant_and_have_their_policy_as_slope(name, seed):
    aggregator = AGGREGATORS[name]
    generator = torch.Generator().manual_seed(seed)
    q, more = (torch.randn(4, generator=generator, dtype=torch.float64) for _ in range(2))
    assert aggregator(q + 2.5).item() == pytest.approx(aggregator(q).item() + 2.5, abs=1e-12)
    assert aggregator(q + more.abs()) >= aggregator(q)
    q.requires_grad_()
    (slope,) = torch.autograd.grad(aggregator(q), q)
    assert torch.allclose(aggregator.policy(q.detach()), slope, rtol=0, atol=1e-12)
    assert aggregator.policy(q.detach()).sum().item() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("name", CONVEX)
def test_a_convex_aggregator_lies_above_its_tangents(name):
    aggregator = AGGREGATORS[name]
    q, at = torch.randn(2, 50, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    tangent = aggregator(at) + (aggregator.policy(at) * (q - at)).sum(-1)
    assert bool((aggregator(q) >= tangent - 1e-12).all())


def test_an_expectile_by_hand():
    two = torch.tensor([[0.0, 10.0]], dtype=torch.float64)
    half = torch.tensor([0.5, 0.5], dtype=torch.float64)
    assert Expectile(0.9, half)(two).item() == pytest.approx(9.0, abs=1e-14)  # .9 (10 - v) = .1 v
    assert Expectile(0.9, half).policy(two).tolist() == [[pytest.approx(0.1), pytest.approx(0.9)]]
    assert Expectile(0.5, RHO)(Q[0]).item() == pytest.approx(1.0, abs=1e-14)
    assert Expectile(0.5, torch.tensor([0.0, 1.0, 0.0, 0.0]).double())(Q).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("level", [0.02, 0.3, 0.5, 0.7, 0.98])
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_an_expectile_balances_what_lies_above_and_below(level, seed):
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    prior = torch.rand(3, 5, generator=generator, dtype=torch.float64)
    prior = prior / prior.sum(-1, keepdim=True)
    off = q - Expectile(level, prior)(q)[:, None]
    balance = prior * torch.where(off > 0, level * off, (1 - level) * off)
    assert balance.sum(-1).abs().max() < 1e-14


@pytest.mark.parametrize(("level", "v"), [(0.3, 0.0), (0.4, 0.0), (0.41, 1.0), (0.9, 2.0), (0.91, 3.0), (1, 3.0)])
def test_a_quantile_is_the_first_value_that_reaches_its_level(level, v):
    assert Quantile(level, RHO)(Q[0]).item() == v
    assert Quantile(level, RHO).policy(Q[0]).tolist() == [float(i == v) for i in range(4)]


def test_a_quantile_never_takes_an_action_of_probability_0():
    prior = torch.tensor([0.0, 0.5, 0.5, 0.0], dtype=torch.float64)
    values = torch.tensor([-5.0, 1.0, 2.0, 9.0], dtype=torch.float64)
    assert [Quantile(level, prior)(values).item() for level in (1e-9, 0.5, 0.51, 1)] == [1.0, 1.0, 2.0, 2.0]


@pytest.mark.parametrize("kind", [Expectile, Quantile])
def test_in_support_values_lie_between_the_behaviour_and_the_best_in_its_support(kind):
    mdp = garnet(12, 3, 3, seed=4)
    prior = torch.rand(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    prior[:, 0] = 0.0
    prior = prior / prior.sum(-1, keepdim=True)
    inside = mdp.with_(allowed=prior > 0)
    best, values = policy_iteration(inside).v, [value_iteration(mdp, kind(level, prior)).v for level in (0.6, 0.99)]
    assert bool((values[0] <= values[1] + 1e-9).all()) and bool((values[1] <= best + 1e-9).all())
    if kind is Quantile:
        assert torch.allclose(value_iteration(mdp, Quantile(1, prior)).v, best, atol=1e-8)
    else:
        assert torch.allclose(policy_iteration(mdp, Expectile(0.6, prior)).v, values[0], atol=1e-8)


def test_terminal_states_have_value_0_whatever_the_aggregator():
    mdp = TabularMDP([[[0.5, 0.5]] * 3, [[0.0, 1.0]] * 3], torch.zeros(2, 3), terminal=[1])
    v = backup(mdp, LogSumExp(1.0), mdp.q(torch.zeros(2, dtype=torch.float64)))
    assert v.tolist() == [pytest.approx(math.log(3)), 0.0]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="temperature must be > 0 and finite, got 0"):
        LogSumExp(0.0)
    for kind in (Expectile, Quantile):
        with pytest.raises(ValueError, match=r"level must be between 0 and 1, got 1.2"):
            kind(1.2, RHO)
    mdp = garnet(4, 2, 2)
    none = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.5, 0.5], [0.5, 0.5]], dtype=torch.float64)
    with pytest.raises(ValueError, match="aggregator must give finite values, got -inf in state 1"):
        backup(mdp, LogSumExp(1.0, none), mdp.R)
