from __future__ import annotations

import gymnasium
import pytest
import torch

from toykit.control import (
    Distractors,
    DynamicsModel,
    Quadratic,
    StaleGradients,
    Transitions,
    ValueGradients,
    ValueNetwork,
    collect,
    fit_model,
    gaussian_nll,
    r_squared,
    squared_error,
    value_error,
    value_gradient_weighted,
)


def linear_data(n=400, noise=0.0, seed=0):
    """Two dimensions that move and one that is noise; the reward is the first dimension."""
    generator = torch.Generator().manual_seed(seed)
    states, actions = torch.randn(n, 3, generator=generator), torch.randn(n, 1, generator=generator)
    after = torch.stack([0.9 * states[:, 0] + 0.3 * states[:, 1], 0.8 * states[:, 1] + 0.5 * actions[:, 0]], -1)
    after = torch.cat([after, torch.randn(n, 1, generator=generator)], -1)
    after = after + noise * torch.randn(n, 3, generator=generator)
    return Transitions(states, actions, states[:, 0], after, torch.zeros(n, dtype=torch.bool))


def fitted(data, loss, steps=400, gaussian=False, hidden=(32,)):
    model = DynamicsModel(data.states, data.actions, hidden, gaussian=gaussian)
    history = fit_model(model, data, loss, torch.Generator().manual_seed(0), steps=steps, batch=64, lr=1e-2)
    return model, history


def test_a_model_learns_what_can_be_predicted_and_the_reward():
    data = linear_data()
    model, history = fitted(data, lambda p, i: squared_error(p.next_states, data.next_states[i]))
    assert history.shape == (400,) and history[-20:].mean() < 0.5 * history[:20].mean()
    test = linear_data(seed=1)
    with torch.no_grad():
        prediction = model(test.states, test.actions)
    score = r_squared(prediction.next_states, test.next_states)
    assert bool((score[:2] > 0.95).all()) and score[2] < 0.1
    assert (prediction.rewards - test.rewards).square().mean() < 0.05


def test_a_weight_a_dimension_says_which_errors_count():
    data = linear_data()
    weight = torch.tensor([0.0, 1.0, 0.0])
    model, _ = fitted(data, lambda p, i: squared_error(p.next_states, data.next_states[i], weight))
    with torch.no_grad():
        score = r_squared(model(data.states, data.actions).next_states, data.next_states)
    assert score[1] > 0.95 and score[0] < 0.9


def test_the_value_gradient_says_it_too():
    data = linear_data()
    value = Quadratic(torch.diag(torch.tensor([0.0, 1.0, 0.0])))
    gradients = ValueGradients.of(value, data.next_states)
    model, _ = fitted(data, lambda p, i: value_gradient_weighted(p.next_states, data.next_states[i], gradients.at(i)))
    with torch.no_grad():
        prediction = model(data.states, data.actions).next_states
    score = r_squared(prediction, data.next_states)
    assert score[1] > 0.9 and score[0] < 0.9
    assert value_error(value, prediction, data.next_states).mean() < 0.2


def test_a_gaussian_model_learns_the_size_of_the_noise():
    data = linear_data(2000, noise=0.1)
    model, _ = fitted(
        data, lambda p, i: gaussian_nll(p.next_states, p.log_var, data.next_states[i]), steps=1500, gaussian=True
    )
    with torch.no_grad():
        spread = model(data.states, data.actions).log_var.exp().sqrt().mean(0)
    assert spread.tolist() == pytest.approx([0.1, 0.1, 1.0], rel=0.25)


def test_training_stops_at_a_value_function_that_has_changed():
    data = linear_data(50)
    value = ValueNetwork(data.next_states, (8,))
    gradients = ValueGradients.of(value, data.next_states)

    def loss(prediction, index):
        with torch.no_grad():
            value.body[0].weight += 0.01  # a critic that moves on while its gradients are kept
        return value_gradient_weighted(prediction.next_states, data.next_states[index], gradients.at(index))

    with pytest.raises(StaleGradients, match="make them again"):
        fitted(data, loss, steps=2)


def test_the_generator_fixes_the_model():
    data = linear_data(50)
    runs = [fitted(data, lambda p, i: squared_error(p.next_states, data.next_states[i]), steps=5)[1] for _ in range(2)]
    assert torch.equal(*runs)


def test_the_pendulum_with_distractors_can_be_learned():
    data = collect(Distractors(gymnasium.make("Pendulum-v1"), 2), 600, seed=0)
    train, test = data.split(0.8, torch.Generator().manual_seed(0))
    model, _ = fitted(
        train, lambda p, i: squared_error(p.next_states, train.next_states[i]), steps=600, hidden=(32, 32)
    )
    with torch.no_grad():
        score = r_squared(model(test.states, test.actions).next_states, test.next_states)
    assert score.shape == (5,) and bool((score > 0.9).all())


def test_diagnostics_by_hand():
    target = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    assert r_squared(target, target).tolist() == [1.0, 1.0]
    assert r_squared(torch.tensor([[1.0, 2.0], [1.0, 2.0]]), target).tolist() == [0.0, 0.0]
    error = value_error(Quadratic(torch.eye(2)), target, torch.zeros(2, 2))
    assert error.tolist() == [1.0, 13.0]
    with pytest.raises(ValueError, match="target must vary in every dimension, dimension 1 does not"):
        r_squared(target, torch.tensor([[0.0, 1.0], [2.0, 1.0]]))


def test_bad_input_is_refused():
    data = linear_data(50)
    good = lambda p, i: squared_error(p.next_states, data.next_states[i])  # noqa: E731
    model = DynamicsModel(data.states, data.actions, (4,))
    generator = torch.Generator()
    for options, message in (
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"batch": 0}, "batch must be >= 1, got 0"),
        ({"lr": 0.0}, "lr must be > 0 and finite, got 0.0"),
    ):
        with pytest.raises(ValueError, match=message):
            fit_model(model, data, good, generator, **options)
    with pytest.raises(ValueError, match=r"loss must give one number a transition, shape \[256\], got \[\]"):
        fit_model(model, data, lambda p, i: good(p, i).mean(), generator)
    with pytest.raises(ValueError, match="loss must be finite, got nan at step 0"):
        fit_model(model, data, lambda p, i: good(p, i) * torch.nan, generator)
