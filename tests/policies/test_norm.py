"""RMSNorm without its gain: values, and derivatives of first and second order."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from toykit.policies.norm import unit

EPS = 1e-3


def rows(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def test_by_hand():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    assert torch.allclose(unit(x, 0.5), torch.tensor([[3.0, 4.0], [0.0, 0.0]]) / 13**0.5)  # 25 / 2 + .5 = 13


@given(st.integers(0, 2**16), st.integers(1, 9), st.floats(-6, 6))
def test_it_is_torchs_without_a_gain(seed, width, size):
    x = 10**size * rows(2, 3, width, seed=seed)
    assert torch.allclose(unit(x, EPS), F.rms_norm(x, (width,), None, EPS), rtol=1e-12, atol=0)


def test_first_and_second_derivatives():
    x = rows(2, 3, 5).requires_grad_()
    assert gradcheck(lambda y: unit(y, EPS), (x,), check_batched_grad=True)
    assert gradgradcheck(lambda y: unit(y, EPS), (x,))


def test_a_row_of_zeros_has_a_derivative():
    x = torch.zeros(1, 4, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(unit(x, EPS)[0, 1], x)
    assert torch.allclose(grad, torch.tensor([[0.0, EPS**-0.5, 0.0, 0.0]], dtype=torch.float64), rtol=1e-15)


@pytest.mark.parametrize("given_grad", [True, False])
def test_with_and_without_a_graph_it_is_the_same(given_grad):
    x = rows(7, 8, dtype=torch.float32).requires_grad_()
    with torch.set_grad_enabled(given_grad):
        found = unit(x, EPS)
    assert found.requires_grad == given_grad
    with torch.inference_mode():
        assert torch.equal(found, unit(x, EPS))


def test_in_low_precision_the_mean_is_taken_in_float32():
    x = rows(4, 64, dtype=torch.bfloat16)
    assert unit(x, EPS).dtype == torch.bfloat16
    assert torch.equal(unit(x, EPS), F.rms_norm(x.float(), (64,), None, EPS).bfloat16())


def test_compiled_it_gives_the_same_values_and_derivatives():
    x = rows(3, 6).requires_grad_()
    made = torch.compile(lambda y: unit(y, EPS).sin().sum(), backend="eager", fullgraph=True)
    ours, theirs = (torch.autograd.grad(f(x), x)[0] for f in (lambda y: unit(y, EPS).sin().sum(), made))
    assert torch.allclose(ours, theirs, rtol=1e-12)
