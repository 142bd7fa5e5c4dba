"""Small multilayer perceptrons: a value function and a dynamics model, with their seeds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from toykit._checks import at_least, one_of, shape

ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}
LOG_VAR = (-10.0, 4.0)  # between these a Gaussian model's log-variance stays


class MLP(nn.Sequential):
    """Linear layers [n_in, *hidden, n_out] with an activation between them.

    Weights and biases are uniform within 1 / sqrt(inputs of the layer), drawn with a generator of `seed`. Raises
    ValueError for a size below 1 and an unknown activation.
    """

    def __init__(
        self, n_in: int, n_out: int, hidden: Sequence[int] = (64, 64), activation: str = "tanh", seed: int = 0
    ) -> None:
        sizes = [n_in, *hidden, n_out]
        at_least("sizes of layers", min(sizes), 1)
        one_of("activation", activation, ACTIVATIONS)
        layers: list[nn.Module] = []
        for i, o in pairwise(sizes):
            layers += [nn.utils.skip_init(nn.Linear, i, o), ACTIVATIONS[activation]()]
        super().__init__(*layers[:-1])
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for layer in layers:
                if isinstance(layer, nn.Linear):
                    bound = layer.in_features**-0.5
                    layer.weight.uniform_(-bound, bound, generator=generator)
                    layer.bias.uniform_(-bound, bound, generator=generator)


class Normaliser(nn.Module):
    """(x - mean) / std for each dimension, of the data that it was made from; std 1 where they do not vary."""

    mean: Tensor
    std: Tensor

    def __init__(self, data: Tensor) -> None:
        super().__init__()
        at_least("number of rows of data", len(data), 2)
        std = data.std(0)
        self.register_buffer("mean", data.mean(0))
        self.register_buffer("std", torch.where(std > 0, std, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class ValueNetwork(nn.Module):
    """V [N] of states [N, d]: a normaliser of `states` (data, [M, d]) and an MLP, differentiable in the states."""

    def __init__(
        self, states: Tensor, hidden: Sequence[int] = (64, 64), activation: str = "tanh", seed: int = 0
    ) -> None:
        super().__init__()
        self.normaliser = Normaliser(states)
        self.body = MLP(states.shape[1], 1, hidden, activation, seed)

    def forward(self, states: Tensor) -> Tensor:
        return self.body(self.normaliser(states))[..., 0]


class Prediction(NamedTuple):
    """What a dynamics model says of N transitions: next states [N, d] (means), their log-variances, rewards [N]."""

    next_states: Tensor
    log_var: Tensor | None
    rewards: Tensor


class DynamicsModel(nn.Module):
    """Next states and rewards from states [N, d] and actions [N, k]: an MLP that predicts the change of the state.

    states, actions  data [M, d] and [M, k]; their means and standard deviations normalise the inputs
    gaussian         whether log-variances are predicted too (each between -10 and 4); otherwise they are None

    Predictions are absolute states in the data's units. Raises ValueError as `MLP` does, and for data of other shapes.
    """

    def __init__(
        self,
        states: Tensor,
        actions: Tensor,
        hidden: Sequence[int] = (64, 64),
        activation: str = "tanh",
        gaussian: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        shape("actions", actions, (len(states), actions.shape[-1]))
        self.size, self.gaussian = states.shape[1], gaussian
        self.normaliser = Normaliser(torch.cat([states, actions], -1))
        outputs = self.size * (2 if gaussian else 1) + 1
        self.body = MLP(states.shape[1] + actions.shape[1], outputs, hidden, activation, seed)

    def forward(self, states: Tensor, actions: Tensor) -> Prediction:
        out = self.body(self.normaliser(torch.cat([states, actions], -1)))
        change, spread, reward = out.split([self.size, out.shape[-1] - self.size - 1, 1], -1)
        low, high = LOG_VAR
        log_var = low + (high - low) * spread.sigmoid() if self.gaussian else None
        return Prediction(states + change, log_var, reward[..., 0])
