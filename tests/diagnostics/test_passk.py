from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.diagnostics import exact_pass_at_k, pass_at_k, solved


@settings(deadline=None)
@given(n=st.integers(1, 60), data=st.data())
def test_estimate_is_one_minus_a_ratio_of_binomials(n, data):
    k, c = data.draw(st.integers(1, n)), data.draw(st.integers(0, n))
    expected = 1 - math.comb(n - c, k) / math.comb(n, k)
    assert pass_at_k(n, torch.tensor([c]), k).item() == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize(
    ("n", "k", "p", "exact", "plug_in"), [(16, 4, 0.1, 0.3439, 0.3175), (64, 32, 0.03, 0.62269, 0.5370)]
)
def test_estimate_is_unbiased_and_the_plug_in_is_low(n, k, p, exact, plug_in):
    c = torch.arange(n + 1)
    law = torch.tensor([math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(n + 1)], dtype=torch.float64)
    mean = (law * pass_at_k(n, c, k)).sum().item()
    assert mean == pytest.approx(exact_pass_at_k(torch.tensor(p, dtype=torch.float64), k).item(), abs=1e-12)
    assert mean == pytest.approx(exact, abs=5e-6)
    assert (law * (1 - (1 - c / n) ** k)).sum().item() == pytest.approx(plug_in, abs=5e-5)


def test_ends_and_broadcasting():
    c = torch.tensor([[0, 1], [3, 4]])
    assert pass_at_k(4, c, 1).tolist() == [[0, 0.25], [0.75, 1]]
    assert pass_at_k(4, c, 4).tolist() == [[0, 1], [1, 1]]
    assert pass_at_k(torch.tensor([4, 8]), c, 2).tolist() == [[0, 0.25], [1, 1 - 4 * 3 / (8 * 7)]]
    assert pass_at_k(2048, torch.tensor(1), 1024).item() == pytest.approx(0.5, abs=1e-12)


def test_exact_curve_keeps_tiny_probabilities():
    p = torch.tensor([1e-18, 0.5, 1.0, 0.0], dtype=torch.float64)
    assert exact_pass_at_k(p, 1000).tolist() == pytest.approx([1e-15, 1, 1, 0], rel=1e-12)
    curve = exact_pass_at_k(p[1:, None], torch.tensor([1.0, 2.0, 3.0]))
    assert curve.tolist() == [[0.5, 0.75, 0.875], [1, 1, 1], [0, 0, 0]]
    assert solved(torch.tensor([0.001, 0.0005]), 1024).tolist() == [True, False]


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="k must be at most n, the number of samples, got k=5 and n=4"):
        pass_at_k(4, torch.tensor([1]), 5)
    with pytest.raises(ValueError, match="c must be from 0 to n, got 5"):
        pass_at_k(4, torch.tensor([5]), 1)
    with pytest.raises(ValueError, match="k must be >= 1, got 0"):
        pass_at_k(4, torch.tensor([1]), 0)
    with pytest.raises(ValueError, match="p must be probabilities"):
        exact_pass_at_k(torch.tensor([1.1]), 2)
