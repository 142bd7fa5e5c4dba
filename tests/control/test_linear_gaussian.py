from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from toykit.control import (
    Quadratic,
    expected_losses,
    squared_error,
    taylor,
    value_aware,
    value_gradient_weighted,
)


def gauss_hermite(covariance):
    """Points [M, k] and weights [M] whose sums are the moments of N(0, covariance) up to the fifth."""
    k = len(covariance)
    node = torch.tensor([-(3**0.5), 0.0, 3**0.5], dtype=torch.float64)
    weight = torch.tensor([1 / 6, 2 / 3, 1 / 6], dtype=torch.float64)
    every = torch.tensor(list(itertools.product(range(3), repeat=k)))
    return node[every] @ torch.linalg.cholesky(covariance).mT, weight[every].prod(-1)


@pytest.mark.parametrize("seed", range(4))
def test_the_closed_forms_are_the_expectations_of_the_losses(seed):
    rng = np.random.default_rng(seed)
    truth, model = (torch.tensor(rng.normal(size=(2, 3))) for _ in range(2))
    roots = [torch.tensor(rng.normal(size=(n, n))) for n in (3, 2, 2)]
    inputs, noise, P = (r @ r.mT for r in roots)
    phi_and_w, weight = gauss_hermite(torch.block_diag(inputs, noise))
    phi, w = phi_and_w.split([3, 2], -1)
    target, prediction = phi @ truth.mT + w, phi @ model.mT
    value = Quadratic(P)
    gradient = value.gradient(target)
    exact = expected_losses(model, truth, inputs, noise, P)
    for found, losses in (
        (exact.squared_error, squared_error(prediction, target)),
        (exact.taylor, taylor(prediction, target, gradient)),
        (exact.value_gradient_weighted, value_gradient_weighted(prediction, target, gradient)),
        (exact.value_aware, value_aware(value, prediction, target)),
    ):
        assert found == pytest.approx((weight * losses).sum().item(), rel=1e-12)


def test_the_truth_has_no_loss_and_the_mirrored_truth_has_none_in_value():
    truth = torch.tensor([[0.9, 0.3, 0.0], [0.0, 0.95, 0.5]], dtype=torch.float64)
    inputs, quiet = torch.eye(3, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64)
    P = torch.tensor([[2.0, 0.3], [0.3, 1.0]], dtype=torch.float64)
    right = expected_losses(truth, truth, inputs, quiet, P)
    assert (right.squared_error, right.taylor, right.value_gradient_weighted, right.value_aware) == (0, 0, 0, 0)
    mirror = expected_losses(-truth, truth, inputs, quiet, P)
    assert mirror.value_aware == pytest.approx(0.0, abs=1e-13)
    assert min(mirror.squared_error, mirror.taylor, mirror.value_gradient_weighted) > 1


def test_taylor_is_at_most_d_times_value_gradient_weighted():
    rng = np.random.default_rng(0)
    for _ in range(50):
        model, truth, root = torch.tensor(rng.normal(size=(3, 4, 4)))
        P = root + root.mT
        losses = expected_losses(model, truth, torch.eye(4).double(), 0.1 * torch.eye(4).double(), P)
        assert losses.taylor <= 4 * losses.value_gradient_weighted * (1 + 1e-12)


def test_dimensions_that_the_value_ignores_weigh_nothing():
    truth = torch.eye(3, dtype=torch.float64)
    model = torch.diag(torch.tensor([1.0, 1.0, -7.0], dtype=torch.float64))
    P = torch.diag(torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64))
    losses = expected_losses(model, truth, torch.eye(3).double(), torch.zeros(3, 3).double(), P)
    assert (losses.squared_error, losses.value_gradient_weighted, losses.value_aware) == (64.0, 0.0, 0.0)


def test_shapes_that_do_not_fit_are_refused():
    eye = torch.eye(2, dtype=torch.float64)
    for wrong, message in (
        ((torch.zeros(2, 3), eye, eye, eye, eye), r"model must have shape \[2, 2\], got \[2, 3\]"),
        ((eye, eye, torch.zeros(3, 3), eye, eye), r"inputs must have shape \[2, 2\], got \[3, 3\]"),
        ((eye, eye, eye, torch.zeros(1, 1), eye), r"noise must have shape \[2, 2\], got \[1, 1\]"),
        ((eye, eye, eye, eye, torch.zeros(2)), r"P must have shape \[2, 2\], got \[2\]"),
    ):
        with pytest.raises(ValueError, match=message):
            expected_losses(*wrong)
