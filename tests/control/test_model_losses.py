from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from toykit.control import (
    Quadratic,
    clip_norms,
    gaussian_nll,
    squared_error,
    taylor,
    unit_mean,
    value_aware,
    value_gradient_weighted,
)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


F = torch.tensor([[1.0, 3.0], [0.0, 0.0]], dtype=torch.float64)
S = torch.tensor([[0.0, 1.0], [2.0, -1.0]], dtype=torch.float64)  # e = (1, 2), (-2, 1)
G = torch.tensor([[2.0, -1.0], [0.5, 1.0]], dtype=torch.float64)


def test_by_hand():
    assert squared_error(F, S).tolist() == [5.0, 5.0]
    assert squared_error(F, S, torch.tensor([1.0, 10.0])).tolist() == [41.0, 14.0]
    assert taylor(F, S, G).tolist() == [0.0, 0.0]
    assert taylor(F, S, G.abs()).tolist() == [16.0, 0.0]
    assert value_gradient_weighted(F, S, G).tolist() == [8.0, 2.0]
    assert gaussian_nll(F, torch.zeros(2, 2), S).tolist() == [5.0, 5.0]
    halved = torch.full((2, 2), 2.0, dtype=torch.float64).log()
    assert gaussian_nll(F, halved, S).tolist() == pytest.approx([2.5 + 2 * np.log(2)] * 2)
    assert value_aware(lambda s: s[..., 0] * s[..., 1], F, S).tolist() == [9.0, 4.0]


def test_gaussian_nll_is_twice_the_negative_log_density():
    log_var = drawn(2, 2, seed=1)
    density = torch.distributions.Normal(F, (log_var / 2).exp()).log_prob(S).sum(-1)
    constant = 2 * np.log(2 * np.pi)
    assert torch.allclose(gaussian_nll(F, log_var, S), -2 * density - constant, atol=1e-13)


def test_for_a_linear_value_function_value_aware_is_taylor():
    slope, prediction, target = drawn(4, seed=1), drawn(20, 4, seed=2), drawn(20, 4, seed=3)
    aware = value_aware(lambda s: s @ slope + 3.0, prediction, target)
    assert torch.allclose(aware, taylor(prediction, target, slope.expand(20, 4)), atol=1e-12)


def test_taylor_is_at_most_d_times_value_gradient_weighted_with_equality_where_all_products_are_equal():
    for d in (1, 2, 5):
        gradient, error = drawn(500, d, seed=1), drawn(500, d, seed=2)
        zero = torch.zeros_like(error)
        left, right = taylor(error, zero, gradient), d * value_gradient_weighted(error, zero, gradient)
        assert bool((left <= right * (1 + 1e-12)).all())
        equal = 3 / gradient
        assert torch.allclose(taylor(equal, zero, gradient), d * value_gradient_weighted(equal, zero, gradient))


def test_for_a_constant_gradient_value_gradient_weighted_is_a_multiple_of_the_squared_error():
    prediction, target = drawn(20, 3, seed=1), drawn(20, 3, seed=2)
    signs = 0.7 * torch.sign(drawn(20, 3, seed=3))
    assert torch.allclose(value_gradient_weighted(prediction, target, signs), 0.49 * squared_error(prediction, target))


def test_several_value_functions_give_the_mean_of_their_losses_and_not_the_loss_of_the_mean_gradient():
    gradients = torch.stack([G, -G])
    for loss in (taylor, value_gradient_weighted):
        assert torch.equal(loss(F, S, gradients), loss(F, S, G))
        assert loss(F, S, gradients.mean(0)).tolist() == [0.0, 0.0]
        assert torch.equal(loss(F, S, torch.stack([G.abs(), 3 * G.abs()])), 5 * loss(F, S, G.abs()))
    values = [Quadratic(torch.eye(2)), Quadratic(2 * torch.eye(2))]
    each = [value_aware(v, F, S) for v in values]
    assert torch.equal(value_aware(values, F, S), (each[0] + each[1]) / 2)


# Card 04, rung 0 A: x' = 0.8 x + 0.5 u, V(z) = -(z - 1)^2; a model is (t0, t1, t2), its prediction t0 + t1 x + t2 u.
X, U = torch.meshgrid(torch.linspace(-2, 2, 9, dtype=torch.float64), torch.tensor([-1.0, 0, 1]).double(), indexing="ij")
PHI = torch.stack([torch.ones(27, dtype=torch.float64), X.flatten(), U.flatten()], -1)
TRUTH, MIRROR = torch.tensor([[0, 0.8, 0.5], [2, -0.8, -0.5]], dtype=torch.float64)
NEXT = (PHI @ TRUTH)[:, None]


def goal(c):
    return lambda s: -(s[..., 0] - c).square()


def losses(model):
    """Means over the 27 points, by name, of models [..., 3]."""
    prediction = PHI @ model[..., None]
    gradient = -2 * (NEXT - 1)
    return {
        "squared_error": squared_error(prediction, NEXT).mean(-1),
        "value_gradient_weighted": value_gradient_weighted(prediction, NEXT, gradient.expand_as(prediction)).mean(-1),
        "value_aware": value_aware(goal(1.0), prediction, NEXT).mean(-1),
    }


def test_the_mirror_of_card_04_has_no_value_aware_loss_and_no_gradient_but_is_far_from_the_truth():
    for model, expected in ((TRUTH, {"value_gradient_weighted": 0.0}), (MIRROR, {"value_gradient_weighted": 184.355})):
        model = model.clone().requires_grad_()
        found = losses(model)
        assert found["value_aware"].item() < 1e-28
        assert torch.autograd.grad(found["value_aware"], model)[0].abs().max() < 1e-13
        assert found["value_gradient_weighted"].item() == pytest.approx(expected["value_gradient_weighted"], abs=5e-4)
    new_value = (goal(-0.5)((PHI @ MIRROR)[:, None]) - goal(-0.5)(NEXT)).square().mean()
    assert new_value.item() == pytest.approx(80.4, abs=1e-10)
    controls = [((-0.5 - t[0] - t[1] * 0.7) / t[2]).item() for t in (MIRROR, TRUTH)]
    assert controls == pytest.approx([3.88, -2.12], abs=1e-12)


@pytest.mark.parametrize(("name", "hits"), [("value_gradient_weighted", (40, 0)), ("value_aware", (33, 6))])
def test_where_the_descents_of_card_04_end(name, hits):
    starts = np.stack([np.random.default_rng(k).normal(size=3) for k in range(40)])
    models = torch.tensor(starts).requires_grad_()
    optimizer = torch.optim.Adam([models], lr=0.02)
    for step in range(4000):
        optimizer.param_groups[0]["lr"] = 0.02 if step < 2000 else 0.01 if step < 3000 else 0.001
        optimizer.zero_grad()
        losses(models)[name].sum().backward()
        optimizer.step()
    at = [int(((models - end).abs().amax(-1) < 1e-2).sum()) for end in (TRUTH, MIRROR)]
    assert tuple(at) == hits


def test_value_functions_get_no_gradient_at_the_observed_state_and_pass_it_on_at_the_prediction():
    value = nn.Sequential(nn.Linear(2, 1), nn.Flatten(-2))
    prediction = torch.zeros(3, 2, requires_grad=True)
    value_aware(value, prediction, torch.ones(3, 2)).sum().backward()
    assert prediction.grad.abs().sum() > 0


def test_the_papers_clip_brings_norms_to_the_quantile():
    gradient = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.6, 0.8], [0.0, 0.0]], dtype=torch.float64)
    clipped = clip_norms(gradient, quantile=2 / 3)
    assert torch.allclose(clipped[0], torch.tensor([0.6, 0.8], dtype=torch.float64))
    assert torch.equal(clipped[1:], gradient[1:])
    assert torch.equal(clip_norms(gradient, quantile=1.0), gradient)
    many = drawn(3, 1000, 5)
    norms = clip_norms(many, 0.95).norm(dim=-1)
    bound = many.norm(dim=-1).quantile(0.95, dim=-1, keepdim=True)
    assert bool((norms <= bound * (1 + 1e-12)).all())
    assert ((norms - bound).abs() < 1e-9).sum(-1).tolist() == [50, 50, 50]


def test_the_published_clip_in_effect_leaves_everything_as_it_is():
    many = 100 * drawn(1000, 5)
    assert torch.equal(clip_norms(many, 0.95, free=1e5), many)
    assert not torch.equal(clip_norms(1e6 * many, 0.95, free=1e5), 1e6 * many)


def test_weights_of_mean_1_keep_the_scale_of_the_plain_loss():
    weights = torch.tensor([[0.0, 3.0], [1.0, 0.0]])
    assert torch.equal(unit_mean(weights), weights)
    assert unit_mean(5 * drawn(20, 3).square()).mean().item() == pytest.approx(1.0, abs=1e-14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: clip_norms(G, 0.0), "quantile must be above 0 and at most 1, got 0.0"),
        (lambda: clip_norms(G, 1.5), "quantile must be above 0 and at most 1, got 1.5"),
        (lambda: clip_norms(G, 0.5, free=-1), "free must be >= 0, got -1"),
        (lambda: unit_mean(torch.zeros(3)), "weights must be >= 0, finite and not all 0, got 0.0 to 0.0"),
        (lambda: unit_mean(torch.tensor([1.0, -1.0])), "weights must be >= 0, finite and not all 0, got -1.0 to 1.0"),
        (lambda: unit_mean(torch.tensor([1.0, torch.inf])), "weights must be >= 0, finite and not all 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
