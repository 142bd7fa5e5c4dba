from __future__ import annotations

import numpy as np
import pytest
import torch

from toykit.control import LQR, Quadratic, fit_low_rank, solve_lqr, value_of_gain
from toykit.control.reduced_rank import weighted_loss

A, B = np.array([[0.9, 0.3], [0.0, 0.95]]), np.array([[0.0], [0.5]])
OPTIMUM, NOTHING = 5.8266, 36.4535


def card(seed, m, size, rank):
    """Card 04, rung 0 B: (true cost, mean squared error) of control by the MLE and by the VaGraM model."""
    rng = np.random.default_rng(seed)
    D = rng.uniform(0.5, 0.95, size=m)
    X, U, Z = rng.normal(size=(200, 2)), rng.normal(size=(200, 1)), rng.normal(0, size, size=(200, m))
    full = np.zeros((2 + m, 2 + m))
    full[:2, :2], full[2:, 2:] = A, np.diag(D)
    control = np.concatenate([B, np.zeros((m, 1))])
    states = np.concatenate([X, Z], 1)
    inputs, targets = torch.tensor(np.concatenate([states, U], 1)), torch.tensor(states @ full.T + U @ control.T)
    cost = np.diag([1.0] * 2 + [0.0] * m)
    true = LQR(full, control, cost, [[0.5]], 0.95)
    first = torch.diag(torch.tensor([1.0] * 2 + [size**2] * m, dtype=torch.float64))
    P = torch.block_diag(value_of_gain(LQR(A, B, np.eye(2), [[0.5]], 0.95), [[0.0, 0.0]]).P, torch.zeros(m, m))
    found = []
    for weights in (torch.ones_like(targets), Quadratic(P).gradient(targets).square()):
        M = fit_low_rank(inputs, targets, weights, rank, torch.Generator().manual_seed(0))
        K = solve_lqr(LQR(M[:, :-1], M[:, -1:], cost + 1e-9 * np.eye(2 + m), [[0.5]], 0.95)).K
        error = weighted_loss(M, inputs, targets, torch.ones_like(targets)).item()
        found.append((value_of_gain(true, K).mean_cost(first), error))
    return found


@pytest.mark.parametrize(("m", "mle"), [(0, OPTIMUM), (1, 5.898), (2, 36.330), (4, 36.453)])
def test_distractors_take_the_capacity_of_the_unweighted_model_in_card_04(m, mle):
    (plain, _), (weighted, _) = card(0, m, 4.0, 2)
    assert plain == pytest.approx(mle, abs=6e-4)
    assert weighted == pytest.approx(OPTIMUM, abs=5e-5)


def test_the_model_that_controls_better_has_the_larger_error_in_card_04():
    (_, plain), (_, weighted) = card(0, 2, 4.0, 2)
    assert (plain, weighted) == (pytest.approx(2.04, abs=5e-3), pytest.approx(14.50, abs=5e-3))


@pytest.mark.parametrize("seed", range(5))
def test_all_seeds_of_card_04(seed):
    costs = {m: card(seed, m, 4.0, 2) for m in (1, 2, 4)}
    assert 5.87 <= costs[1][0][0] <= 6.0105
    assert all(36.33 <= costs[m][0][0] <= 36.46 for m in (2, 4))
    assert all(c[1][0] == pytest.approx(OPTIMUM, abs=5e-5) for c in costs.values())


def test_the_sweeps_of_card_04():
    sizes = {0.25: 5.8267, 0.5: 5.8272, 1.0: 5.842, 2.0: 8.437, 4.0: 36.330}
    for size, cost in sizes.items():
        assert [c for c, _ in card(0, 2, size, 2)] == [pytest.approx(cost, abs=6e-4), pytest.approx(OPTIMUM, abs=5e-5)]
    assert card(1, 2, 2.0, 2)[0][0] == pytest.approx(36.38, abs=5e-3)
    ranks = {1: (36.45, 7.021), 2: (36.33, OPTIMUM), 3: (5.896, OPTIMUM), 4: (5.827, OPTIMUM)}
    for rank, (plain, weighted) in ranks.items():
        assert [c for c, _ in card(0, 2, 4.0, rank)] == [
            pytest.approx(plain, abs=5e-3),
            pytest.approx(weighted, abs=6e-4),
        ]


def test_without_weights_it_finds_the_singular_value_solution():
    rng = np.random.default_rng(0)
    inputs = torch.tensor(np.linalg.qr(rng.normal(size=(50, 4)))[0])  # orthonormal: least squares, then truncation
    targets = torch.tensor(rng.normal(size=(50, 3)))
    u, s, v = torch.linalg.svd(targets.mT @ inputs, full_matrices=False)
    for rank in (1, 2, 3):
        M = fit_low_rank(inputs, targets, torch.ones(50, 3), rank, torch.Generator().manual_seed(1))
        assert torch.allclose(M, u[:, :rank] * s[:rank] @ v[:rank], atol=1e-6)
        assert torch.linalg.matrix_rank(M, atol=1e-9) == rank


def test_full_rank_is_weighted_least_squares_of_each_output():
    rng = np.random.default_rng(1)
    inputs, targets, weights = (
        torch.tensor(x) for x in (rng.normal(size=(30, 3)), rng.normal(size=(30, 2)), rng.uniform(size=(30, 2)))
    )
    M = fit_low_rank(inputs, targets, weights, 3, torch.Generator().manual_seed(0))
    residual = weights * (targets - inputs @ M.mT)
    assert (inputs.mT @ residual).abs().max() < 1e-9


def test_an_output_without_weight_is_a_row_of_zeros():
    rng = np.random.default_rng(2)
    inputs, targets = torch.tensor(rng.normal(size=(30, 3))), torch.tensor(rng.normal(size=(30, 3)))
    weights = torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64).expand(30, 3)
    M = fit_low_rank(inputs, targets, weights, 2, torch.Generator().manual_seed(0))
    assert M[1].abs().max() < 1e-12 and M[0].abs().max() > 0.01


def test_the_generator_fixes_the_result_and_more_restarts_are_no_worse():
    rng = np.random.default_rng(3)
    inputs, targets, weights = torch.tensor(rng.normal(size=(3, 40, 5)))
    weights = weights.square()
    one, again = (fit_low_rank(inputs, targets, weights, 2, torch.Generator().manual_seed(7), restarts=1) for _ in "ab")
    assert torch.equal(one, again)
    many = fit_low_rank(inputs, targets, weights, 2, torch.Generator().manual_seed(7), restarts=6)
    assert weighted_loss(many, inputs, targets, weights) <= weighted_loss(one, inputs, targets, weights)


def test_problems_along_leading_axes_are_fitted_as_alone():
    rng = np.random.default_rng(4)
    inputs, targets, weights = torch.tensor(rng.normal(size=(3, 2, 2, 40, 4)))
    weights = weights.square()
    together = fit_low_rank(inputs, targets, weights, 2, torch.Generator().manual_seed(5))
    assert together.shape == (2, 2, 4, 4)
    for i in range(2):
        for j in range(2):
            alone = fit_low_rank(inputs[i, j], targets[i, j], weights[i, j], 2, torch.Generator().manual_seed(5))
            assert torch.allclose(together[i, j], alone, atol=1e-9)


def test_a_sweep_of_least_squares_on_the_triangle_is_the_one_on_all_rows():
    rng = np.random.default_rng(5)
    inputs, targets, weights = torch.tensor(rng.normal(size=(3, 60, 3)))
    weights = weights.square()
    inner = torch.randn(2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    roots = weights.sqrt()
    outer = torch.stack(
        [
            torch.linalg.lstsq(roots[:, [i]] * (inputs @ inner.mT), roots[:, i] * targets[:, i]).solution
            for i in range(3)
        ]
    )
    rows = torch.einsum("ni,ir,np->nirp", roots, outer, inputs).flatten(0, 1).flatten(1)
    expected = outer @ torch.linalg.lstsq(rows, (roots * targets).flatten()).solution.view(2, 3)
    generator = torch.Generator().manual_seed(0)
    found = fit_low_rank(inputs, targets, weights, 2, generator, sweeps=1, restarts=1)
    assert torch.allclose(found, expected, atol=1e-10)


def test_bad_input_is_refused():
    ones, generator = torch.ones(4, 2), torch.Generator()
    with pytest.raises(ValueError, match="rank must be >= 1, got 0"):
        fit_low_rank(ones, ones, ones, 0, generator)
    with pytest.raises(ValueError, match=r"targets must have shape \[4, 2\], got \[3, 2\]"):
        fit_low_rank(ones, ones[:3], ones, 1, generator)
    with pytest.raises(ValueError, match=r"weights must have shape \[4, 2\], got \[4\]"):
        fit_low_rank(ones, ones, ones[:, 0], 1, generator)
    with pytest.raises(ValueError, match="weights must be >= 0, got -1"):
        fit_low_rank(ones, ones, -ones, 1, generator)
