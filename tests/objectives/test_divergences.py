from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.objectives.divergences import DIVERGENCES, divergence

NAMES = sorted(DIVERGENCES)
INF = math.inf


def laws(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(2, *shape, generator=generator, dtype=torch.float64) * 1.5).log_softmax(-1)


def f_of_t(name, t):
    """The table of f-DPG, as it stands in terms of t."""
    return {
        "forward_kl": lambda: -t.log(),
        "reverse_kl": lambda: t * t.log(),
        "tv": lambda: (1 - t).abs() / 2,
        "js": lambda: t * (2 * t / (t + 1)).log() + (2 / (t + 1)).log(),
        "chi2_forward": lambda: (1 - t) ** 2 / t,
        "chi2_reverse": lambda: (t - 1) ** 2,
    }[name]()


@pytest.mark.parametrize("name", NAMES)
def test_f_and_its_derivative_are_those_of_the_table(name):
    t = torch.tensor([0.01, 0.3, 0.9, 1.1, 2.0, 40.0], dtype=torch.float64)
    d, step = divergence(name), 1e-6
    assert torch.allclose(d.f(t.log()), f_of_t(name, t), rtol=1e-12, atol=1e-15)
    slope = (f_of_t(name, t * (1 + step)) - f_of_t(name, t * (1 - step))) / (2 * step * t)
    assert torch.allclose(d.df(t.log()), slope, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_dual_is_the_divergence_with_the_laws_exchanged(name):
    t = torch.tensor([0.01, 0.3, 0.9, 1.1, 40.0], dtype=torch.float64)
    assert torch.allclose(divergence(name).dual(t.log()), t * f_of_t(name, 1 / t), rtol=1e-12, atol=1e-14)
    exchanged = {"forward_kl": "reverse_kl", "reverse_kl": "forward_kl", "tv": "tv", "js": "js"} | {
        "chi2_forward": "chi2_reverse",
        "chi2_reverse": "chi2_forward",
    }
    pi, p = laws(3, 7)
    assert torch.allclose(divergence(name).value(pi, p), divergence(exchanged[name]).value(p, pi), atol=1e-13)


def test_values_by_hand():
    pi, p = torch.tensor([[0.5, 0.5], [0.8, 0.2]], dtype=torch.float64).log()
    expected = {
        "forward_kl": 0.8 * math.log(1.6) + 0.2 * math.log(0.4),
        "reverse_kl": 0.5 * math.log(0.625) + 0.5 * math.log(2.5),
        "tv": 0.3,
        "js": 0.5 * math.log(0.5 / 0.65)
        + 0.5 * math.log(0.5 / 0.35)
        + 0.8 * math.log(0.8 / 0.65)
        + 0.2 * math.log(0.2 / 0.35),
        "chi2_forward": 0.09 / 0.5 + 0.09 / 0.5,
        "chi2_reverse": 0.09 / 0.8 + 0.09 / 0.2,
    }
    for name, value in expected.items():
        assert divergence(name).value(pi, p).item() == pytest.approx(value, abs=1e-14), name


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
def test_value_is_the_mean_of_f_under_the_target_and_never_negative(name, seed):
    pi, p = laws(seed, 2, 6)
    value = divergence(name).value(pi, p)
    assert torch.allclose(value, (p.exp() * f_of_t(name, (pi - p).exp())).sum(-1), rtol=1e-10, atol=1e-12)
    assert (value >= -1e-15).all()
    assert divergence(name).value(p, p).abs().max() < 1e-15


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_the_mean_under_the_policy_of_df_times_the_score(name):
    start, p = laws(1, 5)
    logits = start.clone().requires_grad_()
    d = divergence(name)
    (auto,) = torch.autograd.grad(d.value(logits.log_softmax(-1), p), logits)
    pi = logits.detach().log_softmax(-1)
    weighted = pi.exp() * d.df(pi - p)
    exact = weighted - pi.exp() * weighted.sum()  # E_pi[f' (e_y - pi)]
    assert torch.allclose(auto, exact, atol=1e-13)
    step = 1e-5 * torch.eye(5, dtype=torch.float64)
    plus, minus = (d.value((pi + s).log_softmax(-1), p) for s in (step, -step))
    assert torch.allclose(exact, (plus - minus) / 2e-5, atol=1e-8)


def test_zero_probabilities_count_as_their_limits():
    half = math.log(0.5)
    pi = torch.tensor([half, half, -INF, -INF], dtype=torch.float64)  # on {0, 1}
    p = torch.tensor([half, -INF, half, -INF], dtype=torch.float64)  # on {0, 2}
    expected = {"tv": 0.5, "js": math.log(2), "forward_kl": INF, "reverse_kl": INF, "chi2_forward": INF}
    for name, value in expected.items():
        assert divergence(name).value(pi, p).item() == pytest.approx(value, abs=1e-15), name
    point = torch.tensor([0.0, -INF, -INF, -INF], dtype=torch.float64)
    assert divergence("reverse_kl").value(point, p).item() == pytest.approx(math.log(2), abs=1e-15)
    assert divergence("forward_kl").value(point, p).item() == INF
    assert divergence("chi2_reverse").value(point, p).item() == pytest.approx(1.0, abs=1e-15)
    assert divergence("forward_kl").value(p, point).item() == pytest.approx(math.log(2), abs=1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_stay_finite_where_both_probabilities_are_zero(name):
    logits = torch.tensor([0.3, -0.2, -INF], dtype=torch.float64, requires_grad=True)
    p = torch.tensor([0.25, 0.75, 0.0], dtype=torch.float64).log()
    divergence(name).value(logits.log_softmax(-1), p).backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[2] == 0


def test_large_ratios_neither_overflow_nor_lose_the_sum():
    log_small = torch.tensor([-600.0, -1e-9], dtype=torch.float64)  # (e^-600, the rest)
    log_even = torch.tensor([0.5, 0.5], dtype=torch.float64).log()
    near = {"tv": 0.5, "forward_kl": 0.5 * 600 + math.log(0.5), "reverse_kl": math.log(2)}
    near["js"] = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75) + math.log(1 / 0.75)
    for name, value in near.items():
        assert divergence(name).value(log_small, log_even).item() == pytest.approx(value, rel=1e-7), name
    assert divergence("forward_kl").f(torch.tensor(-2000.0)) == 2000
    assert divergence("reverse_kl").f(torch.tensor(-2000.0)) == 0
    assert divergence("js").df(torch.tensor([-2000.0, 2000.0])).tolist() == pytest.approx(
        [-2000 + math.log(2), math.log(2)]
    )


def test_leading_axes_broadcast():
    pi, p = laws(5, 3, 2, 4)
    value = divergence("js").value(pi, p[0, 0])
    assert value.shape == (3, 2)
    assert value[1, 1].item() == pytest.approx(divergence("js").value(pi[1, 1], p[0, 0]).item(), abs=1e-15)


def test_unknown_name_gives_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'forward_kl'"):
        divergence("forwardkl")
