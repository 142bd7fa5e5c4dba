from __future__ import annotations

import pytest
import torch

from toykit.control import MLP, DynamicsModel, ValueNetwork
from toykit.control.networks import Normaliser

STATES = 5 + 3 * torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
ACTIONS = torch.randn(40, 2, generator=torch.Generator().manual_seed(1))


def test_an_mlp_has_the_layers_asked_for_and_its_seed_fixes_its_weights():
    net = MLP(3, 2, (16, 8), "silu", seed=4)
    assert [p.shape for p in net.parameters()] == [(16, 3), (16,), (8, 16), (8,), (2, 8), (2,)]
    assert sum(p.numel() for p in MLP(3, 2, ()).parameters()) == 8
    again, other = MLP(3, 2, (16, 8), "silu", seed=4), MLP(3, 2, (16, 8), "silu", seed=5)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
    assert not torch.equal(net[0].weight, other[0].weight)
    assert net[0].weight.abs().max() <= 3**-0.5


def test_the_global_generator_is_left_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    MLP(3, 2)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_normaliser_centres_and_scales_and_leaves_constants():
    data = torch.cat([STATES, torch.full((40, 1), 7.0)], 1)
    out = Normaliser(data)(data)
    assert out.mean(0).abs().max() < 1e-5
    assert torch.allclose(out.std(0), torch.tensor([1.0, 1.0, 1.0, 0.0]), atol=1e-5)
    assert set(Normaliser(data).state_dict()) == {"mean", "std"}


def test_a_value_network_gives_one_number_a_state():
    value = ValueNetwork(STATES, (8,))
    assert value(STATES).shape == (40,)
    shifted = ValueNetwork(STATES + 100, (8,))
    assert torch.allclose(shifted(STATES + 100), value(STATES), atol=1e-4)


@pytest.mark.parametrize("gaussian", [False, True])
def test_a_dynamics_model_predicts_the_change_of_the_state(gaussian):
    model = DynamicsModel(STATES, ACTIONS, (8,), gaussian=gaussian)
    with torch.no_grad():
        model.body[-1].weight.zero_()
        model.body[-1].bias.zero_()
    prediction = model(STATES, ACTIONS)
    assert torch.equal(prediction.next_states, STATES)
    assert torch.equal(prediction.rewards, torch.zeros(40))
    assert (prediction.log_var is None) == (not gaussian)
    if prediction.log_var is not None:
        assert torch.allclose(prediction.log_var, torch.full((40, 3), -3.0))


def test_log_variances_stay_within_their_limits():
    model = DynamicsModel(STATES, ACTIONS, (8,), gaussian=True)
    with torch.no_grad():
        model.body[-1].bias[3:6] = torch.tensor([-1e4, 0.0, 1e4])
    log_var = model(STATES, ACTIONS).log_var
    assert torch.allclose(log_var[:, 0], torch.tensor(-10.0)) and torch.allclose(log_var[:, 2], torch.tensor(4.0))


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="sizes of layers must be >= 1, got 0"):
        MLP(3, 2, (0,))
    with pytest.raises(ValueError, match="activation must be one of relu, silu, tanh, got 'tan'; did you mean 'tanh'"):
        MLP(3, 2, activation="tan")
    with pytest.raises(ValueError, match="number of rows of data must be >= 2, got 1"):
        ValueNetwork(STATES[:1])
    with pytest.raises(ValueError, match=r"actions must have shape \[40, 2\], got \[39, 2\]"):
        DynamicsModel(STATES, ACTIONS[:39])
