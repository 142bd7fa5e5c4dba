from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.control import LogSumExp, Max, Mean, TabularMDP, garnet
from toykit.control.backups import backup

Q = torch.tensor([[0.0, 1.0, 2.0, 3.0], [2.0, 2.0, -torch.inf, 1.0]], dtype=torch.float64)
RHO = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
AGGREGATORS = {
    "mean": Mean(RHO),
    "max": Max(),
    "soft": LogSumExp(0.7),
    "prior": LogSumExp(0.7, RHO),
}


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
    assert torch.allclose(aggregator.policy(q.detach()), slope, atol=1e-12)
    assert aggregator.policy(q.detach()).sum().item() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("name", AGGREGATORS)
def test_a_convex_aggregator_lies_above_its_tangents(name):
    aggregator = AGGREGATORS[name]
    q, at = torch.randn(2, 50, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    tangent = aggregator(at) + (aggregator.policy(at) * (q - at)).sum(-1)
    assert bool((aggregator(q) >= tangent - 1e-12).all())


def test_terminal_states_have_value_0_whatever_the_aggregator():
    mdp = TabularMDP([[[0.5, 0.5]] * 3, [[0.0, 1.0]] * 3], torch.zeros(2, 3), terminal=[1])
    v = backup(mdp, LogSumExp(1.0), mdp.q(torch.zeros(2, dtype=torch.float64)))
    assert v.tolist() == [pytest.approx(math.log(3)), 0.0]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="temperature must be > 0 and finite, got 0"):
        LogSumExp(0.0)
    mdp = garnet(4, 2, 2)
    none = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.5, 0.5], [0.5, 0.5]], dtype=torch.float64)
    with pytest.raises(ValueError, match="aggregator must give finite values, got -inf in state 1"):
        backup(mdp, LogSumExp(1.0, none), mdp.R)
