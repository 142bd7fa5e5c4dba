"""Capacity against distractors: linear models of low rank for a system that is controlled exactly (card 04, B)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toykit.control import LQR, Quadratic, fit_low_rank, solve_lqr, squared_error, value_aware, value_of_gain
from toykit.lessons.base import Results
from toykit.lessons.l04_vagram.value_aware_fit import fit_value_aware

METHODS = ("MSE", "scaled MSE", "VaGraM")
DISCOUNT = 0.95
SAMPLES = 200
STD, RANK, DISTRACTORS = 4.0, 2, 2
STARTS = 8  # of IterVAML's fits


@dataclass(frozen=True, eq=False)
class Data:
    """The true system with `m` distractors, and what was seen of it: inputs (x, z, u) [N, d + 1], next states [N, d].

    `first` is the covariance [d, d] of the first state, over which costs are averaged.
    """

    lqr: LQR
    first: Tensor
    inputs: Tensor
    after: Tensor

    @staticmethod
    def draw(seed: int, m: int, std: float) -> Data:
        """The card's system; the same seed gives the same numbers before they are scaled by `std`."""
        rng = np.random.default_rng(seed)
        decay = rng.uniform(0.5, 0.95, size=m)
        x, u, z = (rng.normal(size=(SAMPLES, k)) for k in (2, 1, m))
        A, B = np.diag([0.9, 0.95, *decay]), np.zeros((2 + m, 1))
        A[0, 1], B[1, 0] = 0.3, 0.5
        inputs = torch.tensor(np.concatenate([x, std * z, u], 1))
        lqr = LQR(A, B, np.diag([1.0, 1.0, *[0.0] * m]), [[0.5]], DISCOUNT)
        first = torch.tensor([1.0, 1.0, *[std**2] * m], dtype=torch.float64).diag()
        return Data(lqr, first, inputs, inputs @ torch.cat([lqr.A, lqr.B], 1).mT)

    @property
    def value(self) -> Quadratic:
        """The value of doing nothing, whose gradient weighs the dimensions: that of the distractors is 0."""
        return value_of_gain(self.lqr, torch.zeros(1, len(self.first), dtype=torch.float64))

    def cost_of(self, model: Tensor) -> float:
        """The true cost of the control that is best for a model [d, d + 1]; infinity where it does not stay finite."""
        lqr = self.lqr
        small = 1e-9 * torch.eye(len(lqr.A), dtype=torch.float64)
        try:
            planned = solve_lqr(LQR(model[:, :-1], model[:, -1:], lqr.Q + small, lqr.R, DISCOUNT))
            return value_of_gain(lqr, planned.K).mean_cost(self.first)
        except ValueError:
            return float("inf")

    def optimum(self) -> float:
        return solve_lqr(self.lqr).value.mean_cost(self.first)

    def idle(self) -> float:
        """The cost of doing nothing."""
        return self.value.mean_cost(self.first)

    def mse(self, model: Tensor) -> float:
        """The squared error of a model, summed over dimensions, mean over samples."""
        return squared_error(self.inputs @ model.mT, self.after).mean().item()


def fits(problems: Sequence[Data], rank: int) -> Tensor:
    """Models [problems, methods, d, d + 1] of a rank, from the same starts; scaled MSE is in units of the spread."""
    inputs, after = torch.stack([d.inputs for d in problems]), torch.stack([d.after for d in problems])
    gradient = torch.stack([d.value.gradient(d.after) for d in problems])
    weights = torch.stack(
        [torch.ones_like(after), (1 / after.var(1, keepdim=True)).expand_as(after), gradient.square()], 1
    )
    inputs, after = (x.unsqueeze(1).expand(-1, len(METHODS), -1, -1) for x in (inputs, after))
    return fit_low_rank(inputs, after, weights, rank, torch.Generator().manual_seed(0))


SWEEPS: dict[str, tuple[Any, ...]] = {
    "distractors": (0, 1, 2, 4),
    "rank": (1, 2, 3, 4),
    "std": (0.25, 0.5, 1.0, 2.0, 4.0),
}


def run(seeds: Sequence[int]) -> Results:
    """Costs and errors of the models along the three sweeps, {sweep: {method: [[a value at each point] a seed]}}."""
    settings = {name: [_setting(**{name: v}) for v in values] for name, values in SWEEPS.items()}
    found = {s: measure(seeds, *s) for s in {s for each in settings.values() for s in each}}
    first = Data.draw(seeds[0], DISTRACTORS, STD)
    return {
        "points": {name: list(values) for name, values in SWEEPS.items()},
        "optimum": first.optimum(),
        "idle": first.idle(),
        **{
            figure: {
                name: {m: [[found[s][figure][m][i] for s in each] for i in range(len(seeds))] for m in METHODS}
                for name, each in settings.items()
            }
            for figure in ("cost", "mse")
        },
        "value_aware": [value_aware_at(Data.draw(seed, DISTRACTORS, STD), RANK) for seed in seeds],
    }


def _setting(distractors: int = DISTRACTORS, rank: int = RANK, std: float = STD) -> tuple[int, int, float]:
    return distractors, rank, std


def measure(seeds: Sequence[int], m: int, rank: int, std: float) -> dict[str, dict[str, list[float]]]:
    """{"cost": {method: [a seed]}, "mse": ...} of models of a rank with `m` distractors of standard deviation `std`."""
    problems = [Data.draw(seed, m, std) for seed in seeds]
    models = fits(problems, rank)
    return {
        figure: {
            name: [getattr(d, of)(model) for d, model in zip(problems, models[:, k], strict=True)]
            for k, name in enumerate(METHODS)
        }
        for figure, of in (("cost", "cost_of"), ("mse", "mse"))
    }


def value_aware_at(data: Data, rank: int, starts: int = STARTS) -> Results:
    """Losses of IterVAML's fits from several starts, the costs of control with them, and their mean squared error."""
    seen = Quadratic(data.value.P[:2, :2])  # the distractors' rows have no loss and stay 0
    generator = torch.Generator().manual_seed(0)
    models = torch.zeros(starts, data.after.shape[1], data.inputs.shape[1], dtype=torch.float64)
    models[:, :2] = fit_value_aware(data.inputs, data.after[:, :2], seen, rank, generator, starts)
    losses = value_aware(data.value, data.inputs @ models.mT, data.after).mean(-1)
    costs, errors = ([of(model) for model in models] for of in (data.cost_of, data.mse))
    return {"loss": losses.tolist(), "cost": costs, "mse": sum(errors) / len(errors)}
