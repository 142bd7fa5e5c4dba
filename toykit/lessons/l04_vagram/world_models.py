"""World models of the pendulum by five losses, for all seeds at once, and what each is worth."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from toykit.control import (
    DynamicsModel,
    Stacked,
    ValueGradients,
    r_squared,
    squared_error,
    taylor,
    value_aware,
    value_gradient_weighted,
)
from toykit.lessons.l04_vagram.pendulum import Problem, by_seed, greedy, returns, shooting, take

METHODS = ("MSE", "scaled MSE", "Taylor", "IterVAML", "VaGraM")
AHEAD = 10  # steps of the open-loop prediction

Figures = dict[str, list[float]]  # one number a seed


def fit(problem: Problem, values: Stacked, width: int, steps: int, batch: int = 256, lr: float = 5e-3) -> Stacked:
    """Dynamics models of two layers of `width`, one a method and seed, in that order; Adam, its rate going to 0.

    All methods start from the same weights and see the same batches. Rewards are known and not learned.
    """
    states, actions, after = (
        torch.stack([getattr(data, name) for data in problem.train]) for name in ("states", "actions", "next_states")
    )
    gradients = [ValueGradients.of(values.module(s), y) for s, y in enumerate(after)]
    every = list(zip(states, actions, problem.seeds, strict=True))
    models = Stacked([DynamicsModel(s, a, (width, width), seed=seed) for _ in METHODS for s, a, seed in every])
    optimizer = torch.optim.Adam(models.parameters(), lr)
    draws = [torch.Generator().manual_seed(seed) for seed in problem.seeds]
    scale = 1 / (after - states).var(1)[:, None]
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        rows = torch.stack([torch.randint(states.shape[1], (batch,), generator=draw) for draw in draws])
        gradient = torch.cat([g.at(r) for g, r in zip(gradients, rows, strict=True)])
        inputs = (take(x, rows).repeat(len(METHODS), 1, 1) for x in (states, actions))
        made = models(*inputs)[0].unflatten(0, (len(METHODS), -1))
        loss = losses(made, take(after, rows), gradient, scale, values)
        optimizer.zero_grad()
        loss.mean(-1).sum().backward()
        optimizer.step()
    return models.requires_grad_(False)


def losses(made: Tensor, after: Tensor, gradient: Tensor, scale: Tensor, values: Stacked) -> Tensor:
    """[methods, S, B] of predictions [methods, S, B, d], next states and value gradients [S, B, d]."""
    plain, scaled, first_order, aware, weighted = made
    return torch.stack(
        [
            squared_error(plain, after),
            squared_error(scaled, after, scale),
            taylor(first_order, after, gradient),
            value_aware(values, aware, after),
            value_gradient_weighted(weighted, after, gradient),
        ]
    )


@torch.no_grad()
def judge(problem: Problem, values: Stacked, models: Stacked, episodes: int) -> dict[str, Figures]:
    """{method: figures}, and under "simulator" the returns of planning with the true dynamics."""
    s, k = len(problem.seeds), models.count

    def model(states: Tensor, torques: Tensor) -> Tensor:
        return models(states, torques[..., None])[0]

    planned = {"shooting": shooting, "greedy": greedy}
    figures = {name: returns(problem, plan(model, values), k, episodes) for name, plan in planned.items()}
    figures |= errors(problem, values, model)
    best = {name: returns(problem, plan(problem.simulator, values), s, episodes) for name, plan in planned.items()}
    split = {name: x.view(len(METHODS), s) for name, x in figures.items()}
    found = {method: {name: x[i].tolist() for name, x in split.items()} for i, method in enumerate(METHODS)}
    return found | {"simulator": {name: x.tolist() for name, x in best.items()}}


def errors(problem: Problem, values: Stacked, model: Callable[[Tensor, Tensor], Tensor]) -> dict[str, Tensor]:
    """Held-out errors [K] of one step and of `AHEAD` steps without a look at the state in between.

    value error |V(f) - V(s')|, and R^2 of the predicted change: the least over the three dimensions of the pendulum,
    and the mean over the distractors, where there are any.
    """
    copies = len(METHODS)
    states, torques, after = (
        torch.stack([x[:, 0] if name == "actions" else x for x in (getattr(d, name) for d in problem.test)])
        for name in ("states", "actions", "next_states")
    )
    repeated = states.repeat(copies, 1, 1), torques.repeat(copies, 1)
    made = model(*repeated)
    change = (after - states).repeat(copies, 1, 1)
    score = torch.stack([r_squared(f, y) for f, y in zip(made - repeated[0], change, strict=True)])
    found = {
        "value_error": (by_seed(values, made) - values(after).repeat(copies, 1)).abs().mean(-1),
        "pendulum_r2": score[:, :3].amin(-1),
    }
    if problem.m:
        found["distractor_r2"] = score[:, 3:].mean(-1)
    n = states.shape[1] - AHEAD
    at = repeated[0][:, :n]
    for t in range(AHEAD):
        at = model(at, repeated[1][:, t : t + n])
    whole = torch.stack([(y[:-1] - x[1:]).abs().amax(-1) < 1e-3 for x, y in zip(states, after, strict=True)])
    runs = torch.stack([whole[:, t : t + n] for t in range(AHEAD)]).all(0)  # no new episode on the way
    ahead = (by_seed(values, at) - values(states)[:, AHEAD:].repeat(copies, 1)).abs()
    runs = runs.repeat(copies, 1)
    return found | {"value_error_ahead": (ahead * runs).sum(-1) / runs.sum(-1)}
