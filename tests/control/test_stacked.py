from __future__ import annotations

import pytest
import torch
from torch import nn

from toykit.control import MLP, DynamicsModel, Stacked, ValueNetwork

SEEDS = (3, 4, 5)
STATES = torch.randn(3, 20, 4, generator=torch.Generator().manual_seed(0))
ACTIONS = torch.randn(3, 20, 1, generator=torch.Generator().manual_seed(1))


def models(gaussian=False):
    return [DynamicsModel(STATES[k], ACTIONS[k], (8, 6), gaussian=gaussian, seed=seed) for k, seed in enumerate(SEEDS)]


def values():
    return [ValueNetwork(STATES[k], (8,), seed=seed) for k, seed in enumerate(SEEDS)]


def test_every_slice_goes_through_its_own_module():
    found = Stacked(values())(STATES)
    assert found.shape == (3, 20)
    for k, value in enumerate(values()):
        assert torch.allclose(found[k], value(STATES[k]), atol=1e-6)


@pytest.mark.parametrize("gaussian", [False, True])
def test_results_of_several_parts_come_as_a_tuple_without_those_that_are_none(gaussian):
    found = Stacked(models(gaussian))(STATES, ACTIONS)
    assert len(found) == (3 if gaussian else 2)
    expected = models(gaussian)[1](STATES[1], ACTIONS[1])
    assert torch.allclose(found[0][1], expected.next_states, atol=1e-6)
    assert torch.allclose(found[-1][1], expected.rewards, atol=1e-6)


def trained(modules, inputs, steps=20):
    """Weights after some steps of Adam on the sum of mean squares."""
    optimizer = torch.optim.Adam(modules.parameters(), 1e-2)
    for _ in range(steps):
        loss = modules(inputs).square().mean(-1).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return modules


def test_training_together_is_training_each_alone():
    together = trained(Stacked(values()), STATES)
    for k, value in enumerate(values()):
        alone = trained(value, STATES[k]).state_dict()
        found = together.module(k).state_dict()
        assert set(found) == set(alone)
        assert all(torch.allclose(found[name], alone[name], atol=1e-5) for name in alone)


def test_the_modules_that_it_was_made_of_are_left_alone():
    first = values()[0]
    before = {name: x.clone() for name, x in first.state_dict().items()}
    trained(Stacked([first, *values()[1:]]), STATES)
    assert all(torch.equal(x, before[name]) for name, x in first.state_dict().items())
    assert all(p.grad is None for p in first.parameters())


def test_it_can_be_saved_moved_and_frozen_as_any_module():
    stacked = Stacked(values())
    assert sum(p.numel() for p in stacked.parameters()) == sum(p.numel() for v in values() for p in v.parameters())
    again = Stacked([ValueNetwork(STATES[k], (8,), seed=9) for k in range(3)])
    again.load_state_dict(stacked.state_dict())
    assert torch.equal(again(STATES), stacked(STATES))
    points = STATES.double().requires_grad_()
    (slope,) = torch.autograd.grad(stacked.double().requires_grad_(False)(points).sum(), points)
    assert slope.shape == STATES.shape and slope.abs().sum() > 0


def test_modules_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="number of modules must be >= 1, got 0"):
        Stacked([])
    with pytest.raises(ValueError, match="modules must all have the same shapes"):
        Stacked([MLP(3, 1, (4,)), MLP(3, 1, (5,))])
    assert isinstance(Stacked([nn.Linear(2, 2)]).module(0), nn.Linear)
