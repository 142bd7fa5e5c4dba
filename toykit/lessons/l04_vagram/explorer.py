"""The explorer of lesson 04: where each loss is small around one observed state, and what the models are good for."""

from __future__ import annotations

from functools import cache
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from contourpy import contour_generator
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from torch import Tensor

from toykit.control import squared_error, value_aware, value_gradient_weighted
from toykit.lessons.l04_vagram.linear import Data, fits, value_aware_at
from toykit.plots import explore, figure, wipe
from toykit.plots.controls import Slider
from toykit.plots.explorer import Explorer
from toykit.plots.style import CYCLE

LOOKS = dict(zip(("VaGraM", "MSE", "Taylor", "IterVAML", "scaled MSE"), CYCLE, strict=False))
TITLES = {
    "MSE": "MSE: all directions alike",
    "IterVAML": "IterVAML: a curve of zeros",
    "VaGraM": "VaGraM: scaled by ∇V",
}
SECOND = 0.6  # the observed state's second coordinate
SLOPE = torch.tensor([1.0, 0.4], dtype=torch.float64)  # of V at 0
BEND = torch.tensor([1.0, 0.5], dtype=torch.float64)  # of V's curvature
EDGE, POINTS = 2.2, 201
LEVELS = (0.03, 0.12, 0.5, 2.0, 8.0)  # of the losses; below each a lighter blue
BLUES = np.array([to_rgb(c) for c in ("#08519c", "#3182bd", "#6baed6", "#bdd7e7", "#eff3ff", "white")])
POSITION = Slider(-1.5, 1.5, default=-0.75, step=0.25, label="position of s′")
CURVATURE = Slider(0.0, 2.0, default=1.0, step=0.25, label="curvature of V")
RANK = Slider(1, 4, default=2, step=1, label="rank of the model")
STD = Slider.at((0.25, 0.5, 1.0, 2.0, 4.0, 8.0), 4.0, label="distractors' std")
TOP = 44.0  # of the costs that are drawn


class Worth(NamedTuple):
    """The true cost of control with a linear model, and its squared error; IterVAML's is that of several starts."""

    cost: list[float]
    mse: float


@cache
def worth() -> dict[tuple[int, float], dict[str, Worth]]:
    """{(rank, std): {method: Worth}} of linear models of the system with two distractors, at every setting."""
    problems = {std: Data.draw(0, 2, std) for std in STD.values}
    found: dict[tuple[int, float], dict[str, Worth]] = {}
    for rank in (int(r) for r in RANK.values):
        models = fits(list(problems.values()), rank)
        for (std, data), (plain, _, weighted) in zip(problems.items(), models, strict=True):
            named = {"MSE": plain, "VaGraM": weighted}
            found[rank, std] = {name: Worth([data.cost_of(m)], data.mse(m)) for name, m in named.items()}
            aware = value_aware_at(data, rank) if rank <= 2 else None
            same = found[min(rank, 2), std]  # IterVAML fits two rows, so that a rank above 2 changes nothing
            found[rank, std]["IterVAML"] = same["IterVAML"] if aware is None else Worth(aware["cost"], aware["mse"])
    return found


def value(states: Tensor, curvature: float) -> Tensor:
    """V of states [..., 2]: linear at curvature 0, else with its top at SLOPE / (curvature BEND)."""
    return (SLOPE * states - curvature / 2 * BEND * states.square()).sum(-1)


@cache
def plane() -> tuple[np.ndarray, Tensor]:
    """The grid's coordinates [P] and its states [P, P, 2], the first coordinate along the last axis but one."""
    axis = torch.linspace(-EDGE, EDGE, POINTS, dtype=torch.float64)
    second, first = torch.meshgrid(axis, axis, indexing="ij")
    return axis.numpy(), torch.stack([first, second], -1)


def losses(position: float, curvature: float) -> dict[str, Tensor]:
    """Each loss [P, P] of predicting a state of the plane where s' is observed."""
    _, states = plane()
    observed, gradient = observation(position, curvature)
    observed, gradient = observed.expand_as(states), gradient.expand_as(states)
    return {
        "MSE": squared_error(states, observed),
        "IterVAML": value_aware(lambda s: value(s, curvature), states, observed),
        "VaGraM": value_gradient_weighted(states, observed, gradient),
    }


def observation(position: float, curvature: float) -> tuple[Tensor, Tensor]:
    """The observed state s' [2] and the gradient of V there."""
    observed = torch.tensor([position, SECOND], dtype=torch.float64)
    return observed, SLOPE - curvature * BEND * observed


@cache
def _frame() -> tuple[Figure, Any]:
    return figure(4, 1, height=2.9, width=9.8, widths=(1, 1, 1, 1.3))


def plane_figure(position: float = -0.75, curvature: float = 1.0, rank: int = 2, std: float = 4.0) -> Figure:
    """Three losses over a plane of states, and the cost of control with the models that they give."""
    made, _ = _frame()
    *panels, right = wipe(made)
    for ax, (name, loss) in zip(panels, losses(position, curvature).items(), strict=True):
        _draw_loss(ax, name, loss, position, curvature)
    panels[0].set_ylabel("state, dimension 2")
    _draw_costs(right, worth()[rank, std])
    return made


def _draw_loss(ax: Axes, name: str, loss: Tensor, position: float, curvature: float) -> None:
    observed, gradient = observation(position, curvature)
    colours = BLUES[np.searchsorted(LEVELS, loss.numpy(), side="right")]
    ax.imshow(colours, extent=(-EDGE, EDGE, -EDGE, EDGE), origin="lower", aspect="auto", interpolation="nearest")
    ax.plot(*isolines(curvature, None), "-", color="#777777", linewidth=0.5)
    if name == "IterVAML":
        ax.plot(*isolines(curvature, value(observed, curvature).item()), "-", color="white", linewidth=2.2)
    (x, y), (dx, dy) = observed.tolist(), (0.9 * gradient).tolist()
    ax.add_patch(FancyArrowPatch((x, y), (x + dx, y + dy), arrowstyle="-|>", mutation_scale=12, color="black"))
    ax.plot(x, y, "*", color="#ffd34d", markeredgecolor="black", markersize=14)
    ax.grid(False)
    limits = (-EDGE, EDGE)
    ax.set(title=TITLES[name], xlabel="state, dimension 1", xlim=limits, ylim=limits, xticks=[], yticks=[])


@cache
def isolines(curvature: float, level: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Points where V is `level` (None: at seven even levels), lines apart by NaN."""
    axis, states = plane()
    v = value(states, curvature).numpy()
    lines = contour_generator(axis, axis, v)
    levels = np.linspace(v.min(), v.max(), 9)[1:-1] if level is None else [level]
    gap = np.full((1, 2), np.nan)
    points = np.concatenate([part for at in levels for line in lines.lines(at) for part in (line, gap)] or [gap])
    return points[:, 0], points[:, 1]


def _draw_costs(ax: Axes, found: dict[str, Worth]) -> None:
    optimum, idle = _limits()
    for place, name in enumerate(TITLES):
        how, (costs, mse) = LOOKS[name], found[name]
        cost = median(costs)
        ax.bar(place, min(cost, TOP), 0.72, facecolor=how.color, alpha=0.45, edgecolor=how.color, hatch=how.hatch)
        if len(costs) > 1:
            spots = place + np.linspace(-0.25, 0.25, len(costs))
            ax.plot(spots, np.minimum(costs, TOP), how.marker, color=how.color, markersize=3.5)
        top = min(max(costs), TOP)
        ax.text(place, top + 0.6, f"{cost:.1f}", ha="center", va="bottom", fontweight="bold")
        ax.text(place, 0.8, f"error {mse:.1f}", ha="center", va="bottom", fontsize=8)
    for level, word in ((optimum, "optimum"), (idle, "doing\nnothing")):
        ax.axhline(level, color="black", linewidth=0.9, linestyle=":")
        ax.text(2.48, level + 0.5, word, va="bottom", fontsize=8)
    ax.set(title="cost of control with its model", xlim=(-0.5, 3.15), ylim=(0, TOP + 4), yticks=[0, 10, 20, 30, 40])
    ax.set_xticks(range(3), list(TITLES))
    ax.grid(False, axis="x")


@cache
def _limits() -> tuple[float, float]:
    """The costs of the best control and of none."""
    data = Data.draw(0, 2, 1.0)
    return data.optimum(), data.idle()


def plane_words(position: float = -0.75, curvature: float = 1.0, rank: int = 2, std: float = 4.0) -> str:
    """What `plane_figure` shows, in words."""
    _, (first, second) = observation(position, curvature)
    found = worth()[rank, std]
    costs = ", ".join(f"{name} {median(found[name].cost):.2f} (squared error {found[name].mse:.2f})" for name in TITLES)
    return (
        f"Dark is a small loss, the star is the observed s′, the arrow is ∇V = ({first:.2f}, {second:.2f}) there, thin "
        f"lines join states of equal value. The white line is where IterVAML is 0. Cost of control with models of rank "
        f"{rank} among two distractors of std {std:g}: {costs}; optimum {_limits()[0]:.2f}, nothing {_limits()[1]:.2f}."
    )


def plane_explorer(live: bool | None = None) -> Explorer:
    """Where s' lies, how V bends, and how much capacity and noise there is."""
    worth()
    controls: dict[str, Any] = {"position": POSITION, "curvature": CURVATURE, "rank": RANK, "std": STD}
    presets: dict[str, dict[str, Any]] = {
        "loud distractors": {},
        "quiet distractors": {"std": 0.25},
        "rank enough for all": {"rank": 4},
        "linear V": {"curvature": 0.0},
        "flat along one axis": {"position": 1.0, "rank": 1},
    }
    return explore(plane_figure, controls, presets, plane_words, live)
