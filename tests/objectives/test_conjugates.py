from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toykit.objectives import DIVERGENCES, conjugate, divergence
from toykit.objectives.conjugates import CONJUGATES

GRID = torch.linspace(-20, 12, 400_001, dtype=torch.float64)  # log t
INSIDE = {"forward_kl": -0.3, "reverse_kl": 1.4, "tv": 0.2, "js": 0.5, "chi2_forward": 0.6, "chi2_reverse": 1.7}


def test_every_divergence_has_its_conjugate():
    assert list(CONJUGATES) == list(DIVERGENCES)
    with pytest.raises(ValueError, match=r"divergence must be one of .*got 'chi2'"):
        conjugate("chi2")


@pytest.mark.parametrize("name", DIVERGENCES)
@pytest.mark.parametrize("shift", [0.0, -0.6, -1.7, -4.0])
def test_the_positive_conjugate_is_the_supremum_over_a_grid(name, shift):
    y = INSIDE[name] + shift
    best = (GRID.exp() * y - divergence(name).f(GRID)).max().item()
    found = conjugate(name).positive(torch.tensor(y, dtype=torch.float64)).item()
    assert found == pytest.approx(best, abs=1e-5)
    assert found >= best - 1e-12


@pytest.mark.parametrize("name", DIVERGENCES)
@given(share=st.floats(0.01, 0.99))
def test_fenchel_young_is_an_equality_at_the_ratio(name, share):
    y = torch.tensor(INSIDE[name] - 3 * share, dtype=torch.float64)
    c, d = conjugate(name), divergence(name)
    t = c.ratio(y)
    assert (t * y - d.f(t.log())).item() == pytest.approx(c.positive(y).item(), abs=1e-12)


@pytest.mark.parametrize("name", [n for n in DIVERGENCES if n != "tv"])
def test_the_ratio_is_the_slope_and_inverts_df(name):
    y = (INSIDE[name] - torch.tensor([0.0, 0.4, 0.9], dtype=torch.float64)).requires_grad_()
    c = conjugate(name)
    (slope,) = torch.autograd.grad(c.positive(y).sum(), y)
    t = c.ratio(y.detach())
    assert torch.allclose(slope, t, atol=1e-13)
    assert torch.allclose(divergence(name).df(t.log()), y.detach(), atol=1e-12)


def test_by_hand_and_outside_the_domain():
    y = torch.tensor([-3.0, -2.0, 0.0, 2.0], dtype=torch.float64)
    assert conjugate("chi2_reverse").positive(y).tolist() == [-1.0, -1.0, 0.0, 3.0]
    assert conjugate("chi2_reverse").free(y).tolist() == [-0.75, -1.0, 0.0, 3.0]
    assert conjugate("chi2_reverse").ratio(y).tolist() == [0.0, 0.0, 1.0, 2.0]
    assert conjugate("reverse_kl").free(torch.tensor(1.0)).item() == 1.0
    y = torch.tensor([-1.0, -0.5, 0.25, 0.6], dtype=torch.float64)
    assert conjugate("tv").positive(y).tolist() == [-0.5, -0.5, 0.25, math.inf]
    assert conjugate("tv").free(y).tolist() == [math.inf, -0.5, 0.25, math.inf]
    assert conjugate("tv").ratio(y).tolist() == [0.0, 1.0, 1.0, math.inf]
    for name, beyond in (("forward_kl", 0.0), ("js", math.log(2)), ("chi2_forward", 1.5)):
        assert conjugate(name).positive(torch.tensor(beyond, dtype=torch.float64)).item() == math.inf


@pytest.mark.parametrize("name", ["forward_kl", "js", "chi2_forward"])
def test_beyond_the_domain_no_gradient_is_nan(name):
    y = torch.tensor([-1.0, 5.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(conjugate(name).positive(y)[0], y)
    assert slope.isfinite().all()
