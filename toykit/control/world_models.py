"""Fitting a world model to transitions, with any loss of a transition, and what it is worth."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from toykit._checks import at_least, positive
from toykit.control.experience import Transitions
from toykit.control.model_losses import ValueFunction
from toykit.control.networks import DynamicsModel, Prediction

ModelLoss = Callable[[Prediction, Tensor], Tensor]
"""The loss [M] of a model's prediction for the transitions `index` [M] of the data."""


def fit_model(
    model: DynamicsModel,
    data: Transitions,
    loss: ModelLoss,
    generator: torch.Generator,
    steps: int = 1000,
    batch: int = 256,
    lr: float = 1e-3,
    weight_decay: float = 0.0,
) -> Tensor:
    """Trains `model` in place with Adam on batches drawn with replacement; returns the mean loss of each step [steps].

    loss  of a prediction and the index of its transitions in `data`, as
          `lambda p, i: value_gradient_weighted(p.next_states, data.next_states[i], gradients.at(i))`

    The reward's squared error is added without a weight. Raises ValueError for sizes below 1, for a loss of another
    shape than one number a transition, and for a loss that is not finite, with the step.
    """
    for name, value in (("steps", steps), ("batch", batch)):
        at_least(name, value, 1)
    optimizer = torch.optim.Adam(model.parameters(), positive("lr", lr), weight_decay=weight_decay)
    history = torch.zeros(steps)
    for step in range(steps):
        index = torch.randint(len(data), (batch,), generator=generator)
        prediction = model(data.states[index], data.actions[index])
        each = loss(prediction, index)
        if each.shape != (batch,):
            raise ValueError(f"loss must give one number a transition, shape {[batch]}, got {list(each.shape)}")
        total = (each + (prediction.rewards - data.rewards[index]).square()).mean()
        if not bool(total.isfinite()):
            raise ValueError(f"loss must be finite, got {total.item()} at step {step}")
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        history[step] = total.detach()
    return history


@torch.no_grad()
def value_error(value: ValueFunction, prediction: Tensor, target: Tensor) -> Tensor:
    """|V(f) - V(s')| [N] of predicted and observed next states [N, d]."""
    return (value(prediction) - value(target)).abs()


@torch.no_grad()
def r_squared(prediction: Tensor, target: Tensor) -> Tensor:
    """1 - mean squared error / variance [d] for each dimension of predicted and observed next states [N, d].

    Raises ValueError where a dimension does not vary.
    """
    variance = target.var(0, correction=0)
    if not bool((variance > 0).all()):
        raise ValueError(f"target must vary in every dimension, dimension {int(variance.argmin())} does not")
    return 1 - (prediction - target).square().mean(0) / variance
