from __future__ import annotations

import numpy as np
import pytest
import torch

from toykit.control import LQR, Quadratic, lyapunov, solve_lqr, value_of_gain

# Card 04, rung 0 B, without distractors.
CARD = LQR(A=[[0.9, 0.3], [0.0, 0.95]], B=[[0.0], [0.5]], Q=np.eye(2), R=[[0.5]], discount=0.95)
ZERO = torch.zeros(1, 2, dtype=torch.float64)


def random_lqr(seed, discount=0.97, noise=False):
    rng = np.random.default_rng(seed)
    root, cov = rng.normal(size=(2, 4, 4))
    A = rng.normal(size=(4, 4)) / 2
    R = np.eye(2) + 0.3
    return LQR(A, rng.normal(size=(4, 2)), root @ root.T, R, discount, cov @ cov.T if noise else None)


def rollout_cost(lqr, K, x, steps):
    """The discounted cost of u = -K x from x [d], step by step."""
    total, weight = 0.0, 1.0
    for _ in range(steps):
        u = -K @ x
        total += weight * (x @ lqr.Q @ x + u @ lqr.R @ u).item()
        x, weight = lqr.A @ x + lqr.B @ u, weight * lqr.discount
    return total


def test_one_dimension_by_hand():
    # P = 1 + P - P^2 / (1 + P): the golden ratio.
    optimal = solve_lqr(LQR([[1.0]], [[1.0]], [[1.0]], [[1.0]]))
    golden = (1 + 5**0.5) / 2
    assert optimal.value.P.item() == pytest.approx(golden, abs=1e-15)
    assert optimal.K.item() == pytest.approx(golden / (1 + golden), abs=1e-15)


def test_the_costs_of_card_04():
    assert solve_lqr(CARD).value.mean_cost(torch.eye(2)) == pytest.approx(5.8266, abs=5e-5)
    assert value_of_gain(CARD, ZERO).mean_cost(torch.eye(2)) == pytest.approx(36.4535, abs=5e-5)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("discount", [0.5, 0.97, 1.0])
def test_the_solution_satisfies_the_riccati_equation_and_no_other_gain_is_better(seed, discount):
    lqr = random_lqr(seed, discount)
    optimal = solve_lqr(lqr)
    P, K = optimal.value.P, optimal.K
    B, g = lqr.B, discount
    inner = g * B.mT @ P @ lqr.A
    residual = lqr.Q + g * lqr.A.mT @ P @ lqr.A - inner.mT @ torch.linalg.solve(lqr.R + g * B.mT @ P @ B, inner) - P
    assert residual.abs().max() < 1e-12 * P.abs().max()
    assert torch.allclose(value_of_gain(lqr, K).P, P, rtol=1e-12)
    for other in range(5):
        nudge = 0.01 * torch.randn(2, 4, generator=torch.Generator().manual_seed(other), dtype=torch.float64)
        worse = value_of_gain(lqr, K + nudge).P - P
        assert torch.linalg.eigvalsh(worse).min() > -1e-12


@pytest.mark.parametrize("discount", [0.9, 1.0])
def test_the_value_of_a_gain_is_the_cost_of_a_long_rollout(discount):
    lqr = LQR(CARD.A, CARD.B, CARD.Q, CARD.R, discount)
    K = torch.tensor([[0.3, 0.6]], dtype=torch.float64)
    x = torch.tensor([1.0, -2.0], dtype=torch.float64)
    value = value_of_gain(lqr, K)
    assert -value(x).item() == pytest.approx(rollout_cost(lqr, K, x, 2000), rel=1e-12)
    assert -solve_lqr(lqr).value(x).item() < -value(x).item()


def test_noise_costs_its_value_at_every_step_and_changes_no_gain():
    lqr = random_lqr(0, 0.9, noise=True)
    quiet = LQR(lqr.A, lqr.B, lqr.Q, lqr.R, 0.9)
    optimal = solve_lqr(lqr)
    assert torch.allclose(optimal.K, solve_lqr(quiet).K, atol=1e-14)
    # V(x) = -(cost now) + discount E[V(x')]: the constant c = discount (trace(P W) + c).
    trace = (optimal.value.P * lqr.noise).sum().item()
    assert optimal.value.constant == pytest.approx(0.9 * (trace + optimal.value.constant), rel=1e-12)
    assert optimal.value.mean_cost(torch.zeros(4, 4)) == optimal.value.constant


def test_the_gradient_of_a_quadratic_value_is_that_of_autograd():
    value = Quadratic(torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64), constant=3.0)
    x = torch.tensor([[1.0, 2.0], [0.0, -1.0]], dtype=torch.float64, requires_grad=True)
    assert value(x).tolist() == [-(2 + 2 + 4) - 3, -1 - 3]
    (gradient,) = torch.autograd.grad(value(x).sum(), x)
    assert torch.equal(value.gradient(x.detach()), gradient)
    assert value.gradient(x.detach())[0].tolist() == [-2 * (2 + 1), -2 * (0.5 + 2)]
    assert value(x.detach().float()).dtype == torch.float32


def test_lyapunov_sums_the_powers():
    M = torch.tensor([[0.5, 0.4], [-0.2, 0.7]], dtype=torch.float64)
    Q = torch.tensor([[1.0, 0.2], [0.2, 2.0]], dtype=torch.float64)
    powers = [torch.linalg.matrix_power(M, k) for k in range(300)]
    assert torch.allclose(lyapunov(M, Q), torch.stack([m.mT @ Q @ m for m in powers]).sum(0), rtol=1e-13)
    assert torch.equal(lyapunov(torch.zeros(2, 2, dtype=torch.float64), Q), Q)


def test_a_cost_that_sees_only_part_of_the_state_is_solved():
    A = torch.block_diag(CARD.A, torch.diag(torch.tensor([0.6, 0.9], dtype=torch.float64)))
    B = torch.cat([CARD.B, torch.zeros(2, 1, dtype=torch.float64)])
    Q = torch.diag(torch.tensor([1.0, 1.0, 0.0, 0.0]))
    optimal = solve_lqr(LQR(A, B, Q, [[0.5]], 0.95))
    assert torch.allclose(optimal.K[:, :2], solve_lqr(CARD).K, atol=1e-13)
    assert optimal.K[:, 2:].abs().max() == 0.0


GOOD = {"A": np.eye(2) / 2, "B": np.ones((2, 1)), "Q": np.eye(2), "R": [[1.0]]}
BAD = {
    "A must have shape [2, 2], got [2, 3]": {"A": np.ones((2, 3))},
    "A must be finite, got nan": {"A": [[np.nan, 0], [0, 1]]},
    "B must be a matrix, got shape [2]": {"B": [1.0, 1.0]},
    "Q must have shape [2, 2], got [1, 1]": {"Q": [[1.0]]},
    "Q must be symmetric, got [[1.0, 1.0], [0.0, 1.0]]": {"Q": [[1.0, 1.0], [0.0, 1.0]]},
    "Q must have eigenvalues >= 0, got -1": {"Q": [[-1.0, 0.0], [0.0, 1.0]]},
    "R must have eigenvalues > 0, got 0": {"R": [[0.0]]},
    "noise must have eigenvalues >= 0, got -2": {"noise": -2 * np.eye(2), "discount": 0.9},
    "discount must be above 0 and at most 1, got 0": {"discount": 0.0},
    "discount must be < 1 with noise": {"noise": np.eye(2)},
}


@pytest.mark.parametrize(("message", "changes"), BAD.items(), ids=list(BAD))
def test_bad_input_is_refused(message, changes):
    with pytest.raises(ValueError) as error:
        LQR(**GOOD | changes)
    assert message in str(error.value)


def test_infinite_costs_are_refused_with_the_growth():
    grows = LQR([[2.0]], [[1.0]], [[1.0]], [[1.0]], 0.81)
    with pytest.raises(ValueError, match=r"spectral radius times sqrt\(discount\) must be < 1, got 1.8"):
        value_of_gain(grows, [[0.0]])
    assert solve_lqr(grows).value.P.item() > 1
    with pytest.raises(ValueError, match=r"K must have shape \[1, 1\], got \[1\]"):
        value_of_gain(grows, [0.0])
    with pytest.raises(ValueError, match="A, B must be stabilisable"):
        solve_lqr(LQR([[2.0]], [[0.0]], [[1.0]], [[1.0]]))
    with pytest.raises(ValueError, match="Q must see what is unstable"):
        solve_lqr(LQR([[2.0]], [[1.0]], [[0.0]], [[1.0]]))
