"""Logistic maximum likelihood by Newton, and draws around it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toykit.control.online import fit_logistic, gaussian_draw


def pairs(seed, n=30, d=3, lead=()):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(*lead, n, d, generator=draw, dtype=torch.float64)
    return x, torch.randint(2, (*lead, n), generator=draw)


def objective(w, x, answers, ridge):
    signs = 2.0 * answers - 1
    return torch.nn.functional.logsigmoid(signs * (x @ w)).sum() - ridge / 2 * w.square().sum()


def test_one_comparison_by_hand():
    """One pair with x = 1 preferred: sigma(-w) = ridge w; with ridge = sigma(-1) the maximum is at w = 1."""
    ridge = 1 / (1 + math.e)
    found = fit_logistic(torch.ones(1, 1).double(), torch.tensor([1]), ridge)
    assert found.weights.item() == pytest.approx(1.0, abs=1e-9)
    p = 1 / (1 + math.exp(-1))
    assert found.precision.item() == pytest.approx(p * (1 - p) + ridge)
    assert found.covariance.item() == pytest.approx(1 / (p * (1 - p) + ridge))


@given(st.integers(0, 1000), st.floats(0.01, 10))
def test_the_slope_vanishes_and_no_step_is_better(seed, ridge):
    x, answers = pairs(seed)
    found = fit_logistic(x, answers, ridge)
    assert float(found.slope) < 1e-8
    w = found.weights.clone().requires_grad_()
    (slope,) = torch.autograd.grad(objective(w, x, answers, ridge), w)
    assert slope.abs().max() < 1e-8
    hessian = torch.autograd.functional.hessian(lambda w: objective(w, x, answers, ridge), found.weights)
    assert torch.allclose(found.precision, -hessian)


def test_separable_comparisons_and_large_features_do_not_overflow():
    x = 1e4 * torch.eye(4).double().repeat(5, 1)
    found = fit_logistic(x, torch.ones(20, dtype=torch.int64), most=100)
    assert found.weights.isfinite().all() and (found.weights > 0).all()


def test_turning_a_pair_and_its_answer_changes_nothing_and_opposite_answers_cancel():
    x, answers = pairs(0)
    turned = fit_logistic(torch.cat([-x[:9], x[9:]]), torch.cat([1 - answers[:9], answers[9:]]))
    assert torch.allclose(turned.weights, fit_logistic(x, answers).weights)
    both = fit_logistic(torch.cat([x, x]), torch.cat([answers, 1 - answers]))  # the same pairs answered both ways
    assert both.weights.abs().max() < 1e-12


def test_pairs_that_say_nothing_and_those_that_do_not_count_change_nothing():
    x, answers = pairs(1)
    wanted = fit_logistic(x, answers).weights
    same = torch.cat([x, torch.zeros(3, 3).double()]), torch.cat([answers, torch.tensor([0, 1, 1])])
    assert torch.allclose(fit_logistic(*same).weights, wanted)
    junk = torch.cat([x, torch.randn(2, 3).double()]), torch.cat([answers, torch.tensor([7, -1])])
    assert torch.allclose(fit_logistic(*junk, counted=torch.arange(32) < 30).weights, wanted)


def test_a_batch_is_as_each_alone_from_any_start():
    x, answers = pairs(2, lead=(4,))
    together = fit_logistic(x, answers, start=torch.randn(4, 3).double())
    for i in range(4):
        alone = fit_logistic(x[i], answers[i])
        assert torch.allclose(together.weights[i], alone.weights) and torch.allclose(
            together.precision[i], alone.precision
        )


def test_no_comparison_leaves_the_weights_at_0_and_the_ridge_as_precision():
    found = fit_logistic(torch.zeros(0, 2).double(), torch.zeros(0, dtype=torch.int64), ridge=0.5)
    assert found.weights.tolist() == [0, 0] and torch.equal(found.precision, 0.5 * torch.eye(2).double())


def test_bad_input_is_named():
    x, answers = pairs(0, n=3)
    with pytest.raises(ValueError, match=r"answers must be 0 or 1, got 2 at index \[1\]"):
        fit_logistic(x, torch.tensor([0, 2, 1]))
    with pytest.raises(ValueError, match=r"answers must be 0 or 1, got nan at index \[0\]"):
        fit_logistic(x, torch.tensor([torch.nan, 0.0, 1.0]))
    with pytest.raises(ValueError, match="ridge must be > 0"):
        fit_logistic(x, answers, ridge=0.0)
    with pytest.raises(ValueError, match=r"answers must have shape \[3\], got \[2\]"):
        fit_logistic(x, answers[:2])
    with pytest.raises(ValueError, match="differences must be finite"):
        fit_logistic(x * torch.nan, answers)


def test_draws_have_the_mean_and_the_covariance_asked_for():
    precision = torch.tensor([[2.0, 0.6], [0.6, 1.0]]).double()
    noise = torch.randn(200_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = gaussian_draw(torch.tensor([1.0, -2.0]).double(), precision, 0.5, noise)
    assert torch.allclose(drawn.mean(0), torch.tensor([1.0, -2.0]).double(), atol=0.01)
    assert torch.allclose(drawn.T.cov(), 0.25 * precision.inverse(), atol=0.005)
    still = gaussian_draw(torch.ones(3, 2).double(), precision.expand(3, 2, 2), torch.zeros(3).double(), noise[:3])
    assert torch.equal(still, torch.ones(3, 2).double())
