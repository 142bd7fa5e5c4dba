from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from toykit.control import Quadratic, StaleGradients, ValueGradients, ValueNetwork, gradient_at
from toykit.control.value_gradients import version

P = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
STATES = torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def network(activation="tanh", seed=0):
    return ValueNetwork(STATES.float(), (16, 16), activation, seed)


def test_the_gradient_of_a_quadratic_value_is_exact():
    found = ValueGradients.of(Quadratic(P), STATES)
    assert found.gradient.shape == (1, 50, 2)
    assert torch.allclose(found.at()[0], -2 * STATES @ P, atol=1e-14)
    index = torch.tensor([3, 1])
    assert torch.equal(found.at(index), found.gradient[:, index])
    assert torch.allclose(found.norm()[0], (2 * STATES @ P).norm(dim=-1))


def test_several_value_functions_have_a_gradient_each():
    found = ValueGradients.of([Quadratic(P), Quadratic(3 * P)], STATES)
    assert torch.allclose(found.at()[1], 3 * found.at()[0])


@pytest.mark.parametrize("activation", ["tanh", "silu", "relu"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gradient_of_a_network_is_that_of_central_differences(activation, dtype):
    value, states = network(activation).to(dtype), STATES.to(dtype)
    gradient = gradient_at(value, states)
    exact = copy.deepcopy(value).double()
    for i in range(2):
        step = torch.zeros(2, dtype=torch.float64)
        step[i] = 1e-6
        slope = (exact(states.double() + step) - exact(states.double() - step)) / 2e-6
        assert torch.allclose(gradient[:, i].double(), slope, atol=1e-5)
    assert not gradient.requires_grad and gradient.dtype == dtype
    assert all(p.grad is None for p in value.parameters())


def test_gradients_are_found_where_gradients_are_switched_off():
    with torch.no_grad():
        assert gradient_at(Quadratic(P), STATES).abs().sum() > 0


def test_in_units_of_the_error_the_gradient_is_multiplied_by_them():
    scale = torch.tensor([2.0, 0.1], dtype=torch.float64)
    absolute, scaled = (ValueGradients.of(Quadratic(P), STATES, scale=s) for s in (None, scale))
    inside = Quadratic(torch.diag(scale) @ P @ torch.diag(scale))  # the value as a function of states / scale
    assert torch.allclose(scaled.at()[0], inside.gradient(STATES / scale), atol=1e-13)
    assert torch.equal(scaled.gradient, absolute.gradient * scale)


def test_the_clip_is_off_unless_asked_for():
    plain, clipped = (ValueGradients.of(Quadratic(P), STATES, clip=c) for c in (None, 0.5))
    assert clipped.norm().max() < plain.norm().max()
    assert clipped.norm().max().item() == pytest.approx(plain.norm().median().item(), rel=0.1)
    assert torch.equal(ValueGradients.of(Quadratic(P), STATES, clip=0.5, free=1e5).gradient, plain.gradient)


def test_gradients_of_an_earlier_value_function_are_refused():
    value = network()
    found = ValueGradients.of(value, STATES.float())
    found.at()
    optimizer = torch.optim.SGD(value.parameters(), 0.1)
    value(STATES.float()).sum().backward()
    found.at()
    optimizer.step()
    with pytest.raises(StaleGradients, match=f"got those of version {found.stamp}, it is now {version(value)}"):
        found.at(torch.tensor([0]))
    ValueGradients.of(value, STATES.float()).at()


@pytest.mark.parametrize("where", ["body.0.weight", "normaliser.mean"])
def test_every_way_to_change_a_number_is_noticed_and_changing_it_back_too(where):
    value = network()
    found = ValueGradients.of(value, STATES.float())
    before = copy.deepcopy(value.state_dict())
    value.state_dict()[where].view(-1).data[0] += 1e-6 + value.state_dict()[where].view(-1)[0].abs() * 1e-5
    with pytest.raises(StaleGradients):
        found.at()
    value.load_state_dict(before)
    found.at()


def test_a_change_in_one_of_several_value_functions_is_noticed():
    values = [network(seed=0), network(seed=1)]
    found = ValueGradients.of(values, STATES.float())
    with torch.no_grad():
        values[1].body[0].weight[0, 0] += 0.5
    with pytest.raises(StaleGradients):
        found.at()


def test_a_dataclass_that_holds_a_network_is_followed_into_it():
    @dataclass(frozen=True)
    class Shifted:
        inner: nn.Module
        by: float

        def __call__(self, states: Tensor) -> Tensor:
            return self.inner(states) + self.by

    inner = network()
    found = ValueGradients.of(Shifted(inner, 1.0), STATES.float())
    with torch.no_grad():
        inner.body[0].bias[0] += 0.5
    with pytest.raises(StaleGradients):
        found.at()
    assert version(Shifted(inner, 1.0)) != version(Shifted(inner, 2.0))


def test_the_version_is_of_the_numbers_and_the_same_every_time():
    assert version(network()) == version(network()) != version(network(seed=1))
    assert version(Quadratic(P)) == version(Quadratic(P.clone())) != version(Quadratic(P, 1.0))
    assert version(Quadratic(P)) != version(Quadratic(P.view(1, 4)))
    with pytest.raises(ValueError, match="value must be a module or a dataclass of tensors and numbers, got function"):
        version(lambda s: s.sum(-1))


@dataclass(frozen=True)
class Formula:
    """A value function of a name, for those below."""

    name: str

    def __call__(self, s: Tensor) -> Tensor:
        x = s[:, 0]
        return {
            "absolute": x.abs(),
            "root": x.clamp(min=0).sqrt(),
            "largest": s.amax(-1),
            "bounded": x.clamp(-1, 1),
            "constant": torch.ones(len(s)),
            "rounded": x.round(),
            "detached": (x.detach() * 2).square(),
            "index": torch.arange(5.0)[x.long().clamp(0, 4)],
            "smooth": x.square() + 100 * x.square().square(),
            "wide": s,
        }[self.name]


@pytest.mark.parametrize(
    ("name", "state", "message"),
    [
        ("absolute", [0.0, 3.0], "its gradient jumps at [0, 3] (state 1)"),
        ("largest", [2.0, 2.0], "its gradient jumps at [2, 2] (state 1)"),
        ("bounded", [-1.0, 5.0], "its gradient jumps at [-1, 5] (state 1)"),
        ("root", [0.0, 1.0], "(state 1)"),
        ("constant", [0.0, 1.0], "value must be differentiable in the states"),
        ("detached", [0.0, 1.0], "value must be differentiable in the states"),
        ("index", [0.0, 1.0], "value must be differentiable in the states"),
        ("rounded", [0.0, 1.0], "values must not be flat at all 2 states: every model would have loss 0"),
        ("wide", [0.0, 1.0], "value's result must have shape [2], got [2, 2]"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_value_function_that_is_not_differentiable_at_a_state_is_refused(name, state, message, dtype):
    with pytest.raises(ValueError) as error:
        ValueGradients.of(Formula(name), torch.tensor([[0.3, 0.7], state], dtype=dtype))
    assert message in str(error.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kinks_elsewhere_and_flat_spots_of_smooth_functions_do_no_harm(dtype):
    near = torch.tensor([[1e-3, 0.0], [-2.0, 1.0], [1e-2, 5.0]], dtype=dtype)
    assert gradient_at(Formula("absolute"), near)[:, 0].tolist() == [1, -1, 1]
    origin = torch.zeros(2, 2, dtype=dtype)
    assert gradient_at(Formula("smooth"), origin).abs().max() == 0
    assert gradient_at(Quadratic(P), origin).abs().max() == 0
    many = torch.randn(5000, 11, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert gradient_at(ValueNetwork(many, activation="relu").to(dtype), many).isfinite().all()


def test_states_of_another_kind_are_refused():
    with pytest.raises(ValueError, match=r"states must have shape \[N, d\], got \[2\]"):
        ValueGradients.of(Quadratic(P), torch.zeros(2))
    with pytest.raises(ValueError, match="states must be floating-point numbers to have a gradient, got torch.int64"):
        ValueGradients.of(Quadratic(P), torch.zeros(3, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"scale must have shape \[2\], got \[3\]"):
        ValueGradients.of(Quadratic(P), STATES, scale=torch.ones(3))
