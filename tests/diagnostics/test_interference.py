from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from toykit.diagnostics import (
    delta_norm,
    delta_plus,
    exact_pass_at_k,
    first_order_change,
    gradient_rows,
    interference_matrix,
    linear_interference,
    negative_share,
    success_gradient,
)
from toykit.exact import group_weight


def feature_bandit(seed):
    """Features, weights and right answers of card 02: 24 prompts that share W [8, 8]."""
    rng = np.random.default_rng(seed)
    phi = rng.normal(size=(24, 8))
    phi[:, 0] += 2
    phi /= np.linalg.norm(phi, axis=1, keepdims=True)
    right = np.eye(8)[rng.integers(0, 8, 24)]
    w = 2 * rng.normal(size=(8, 8))
    for _ in range(20):
        z = phi @ w.T
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        w += 0.5 * (right - p).T @ phi * 8 / 24
    return torch.from_numpy(phi), torch.from_numpy(w), torch.from_numpy(right).bool()


def group_steps(phi, w, correct):
    """(log p_x, each prompt's part of the expected GRPO step in its logits, with the 1/n)."""
    log_pi = (phi @ w.T).log_softmax(-1)
    p = log_pi[correct].exp()
    factor = group_weight(p, 8, std="group", ddof=0) / (1 - p) / len(p)
    return log_pi, factor[:, None] * success_gradient(log_pi, correct)


def test_base_pass_rates_of_card_02():
    rates = torch.stack([(phi @ w.T).softmax(-1)[c] for phi, w, c in map(feature_bandit, range(5))])
    assert rates.mean().item() == pytest.approx(0.296, abs=5e-4)
    assert exact_pass_at_k(rates, 256).mean().item() == pytest.approx(0.997, abs=5e-4)


def test_influences_at_the_first_step_of_card_02():
    phi, w, correct = feature_bandit(0)
    log_pi, steps = group_steps(phi, w, correct)
    matrix = linear_interference(steps, success_gradient(log_pi, correct), phi)
    assert 100 * negative_share(matrix).item() == pytest.approx(66, abs=0.5)
    assert 100 * (matrix.sum(0) < 0).double().mean().item() == pytest.approx(42, abs=0.5)
    assert (matrix.diagonal() > 0).all()


def test_group_training_loses_right_base_answers_as_card_02_saw():
    phi, w, correct = (torch.stack(parts) for parts in zip(*map(feature_bandit, range(5)), strict=True))
    base = (phi @ w.mT).log_softmax(-1)
    for _ in range(2000):
        log_pi = (phi @ w.mT).log_softmax(-1)
        p = log_pi[correct].view(5, 24).exp()
        factor = group_weight(p, 8, std="group", ddof=0) / (1 - p) / 24
        w = w + (factor[..., None] * success_gradient(log_pi, correct)).mT @ phi
    log_pi = (phi @ w.mT).log_softmax(-1)
    rates = log_pi[correct].exp()
    assert rates.mean().item() == pytest.approx(0.700, abs=5e-4)
    assert exact_pass_at_k(rates, 256).mean().item() == pytest.approx(0.753, abs=5e-4)
    assert delta_plus(log_pi, base, correct).mean().item() == pytest.approx(-1.37, abs=5e-3)


def test_prediction_is_right_to_first_order():
    phi, w, correct = feature_bandit(0)
    log_pi, steps = group_steps(phi, w, correct)
    matrix = linear_interference(steps, success_gradient(log_pi, correct), phi)
    errors = []
    for size in (0.1, 0.01, 0.001):
        after = (phi @ (w + size * steps.T @ phi).T).log_softmax(-1)
        change = after[correct] - log_pi[correct]
        errors.append((change - first_order_change(matrix, size)).abs().max().item() / size)
    assert errors == pytest.approx([1.7e-5, 1.7e-6, 1.7e-7], rel=0.04)
    assert [a / b for a, b in itertools.pairwise(errors)] == pytest.approx([10, 10], abs=1)


def test_matrix_of_gradient_rows_is_the_closed_form():
    phi, w, correct = feature_bandit(1)
    log_pi, steps = group_steps(phi, w, correct)
    weights = w.clone().requires_grad_()
    unused = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    log_p = (phi @ weights.T).log_softmax(-1)
    targets = gradient_rows(log_p[correct], [weights, unused])
    assert targets.shape == (24, 67)
    parts = gradient_rows((steps.detach() * log_p).sum(1), [weights, unused])  # rows of g sum to 0
    assert torch.allclose(
        interference_matrix(parts, targets),
        linear_interference(steps, success_gradient(log_pi, correct), phi),
        atol=1e-15,
    )


def test_orthogonal_features_do_not_interfere():
    _, _, correct = feature_bandit(0)
    phi = torch.eye(24, dtype=torch.float64)
    w = torch.randn(8, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    log_pi, steps = group_steps(phi, w, correct)
    matrix = linear_interference(steps, success_gradient(log_pi, correct), phi)
    assert torch.equal(matrix, torch.diag(matrix.diagonal()))
    assert negative_share(matrix) == 0


def test_success_gradient_is_that_of_the_log_probability_of_any_right_answer():
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    correct = torch.tensor([[1, 1, 0, 0, 0], [0, 1, 0, 0, 1], [0, 0, 1, 0, 0]], dtype=torch.bool)
    log_p = logits.log_softmax(-1)
    log_p.masked_fill(~correct, -torch.inf).logsumexp(-1).sum().backward()
    assert torch.allclose(success_gradient(log_p.detach(), correct), logits.grad, atol=1e-15)


def test_deltas_by_hand():
    base = torch.tensor([0.5, 0.25, 0.25, 0.0], dtype=torch.float64)
    policy = torch.tensor([0.25, 0.5, 0.25, 0.0], dtype=torch.float64)
    correct = torch.tensor([True, True, False, True])
    log2 = np.log(2)
    # among right base answers (2/3, 1/3): -log 2 and +log 2
    assert delta_plus(policy.log(), base.log(), correct).item() == pytest.approx(-log2 / 3, abs=1e-15)
    assert delta_norm(policy.log(), base.log()).item() == pytest.approx(0.75 * log2**2, abs=1e-15)
    samples = torch.tensor([0, 0, 1, 2])  # in the base's proportions, weights 1/4
    quarter = torch.full((4,), 0.25, dtype=torch.float64)
    found = delta_plus(policy.log()[samples], base.log()[samples], correct[samples], quarter)
    assert found.item() == pytest.approx(-log2 / 3, abs=1e-15)
    assert delta_norm(policy.log()[samples], base.log()[samples], quarter).item() == pytest.approx(0.75 * log2**2)
    assert delta_plus(policy.log(), base.log(), torch.zeros(4, dtype=torch.bool)).isnan()
    lost = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    assert delta_plus(lost.log(), base.log(), correct).item() == -np.inf
