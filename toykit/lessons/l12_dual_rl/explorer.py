"""The explorer of lesson 12: a loss of V by its level, and the pairs that a divergence leaves to the policy."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from toykit.control import TabularMDP
from toykit.control.offline import DualSolution, dual_v
from toykit.lessons.l12_dual_rl.exact import ACTIONS, STATES, problem
from toykit.lessons.l12_dual_rl.figures import DIVERGENCES, draw_losses, losses_of
from toykit.plots import Choice, Slider, explore, figure, wipe
from toykit.plots.explorer import Explorer

NAMES = {label: name for name, (label, _) in DIVERGENCES.items()}
ALPHAS = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 3.0)
LEVELS = (0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99)
TEMPERATURES = (0.1, 0.2, 0.5, 1.0, 2.0)


@cache
def _world() -> tuple[TabularMDP, Tensor]:
    """The card's MDP and the law of its data."""
    return problem(0)[:2]


@cache
def _best(divergence: str, alpha: float) -> DualSolution:
    mdp, offline = _world()
    return dual_v(mdp, offline, alpha, NAMES[divergence])


@cache
def _frame() -> tuple[Figure, Any]:
    return figure(2, height=3.6, width=9.4)


def dual_figure(level: float = 0.8, temperature: float = 0.5, alpha: float = 0.1, divergence: str = "chi2") -> Figure:
    """Three losses over V with where they are least, and the visits of the data and of the best policy, by pair."""
    made, _ = _frame()
    left, right = wipe(made)
    draw_losses(left, level, temperature)
    left.set(title=f"level {level:g}; XQL: temperature {temperature:g}")
    draw_pairs(right, divergence, alpha)
    return made


def draw_pairs(ax: Axes, divergence: str, alpha: float) -> None:
    """A ring for each pair as large as the data's visits, a disc as large as the best policy's; a cross for none."""
    _, offline = _world()
    found = _best(divergence, alpha)
    state, action = (x.flatten() for x in np.meshgrid(range(STATES), range(ACTIONS), indexing="ij"))
    data, best = offline.flatten().numpy(), found.occupancy.flatten().numpy()
    off = found.ratio.flatten().numpy() == 0
    how = DIVERGENCES[NAMES[divergence]][1]
    ax.scatter(state[~off], action[~off], s=4000 * best[~off], color=how.color, alpha=0.55)
    ax.scatter(state, action, s=4000 * data, facecolors="none", edgecolors="#333333", linewidths=1.1)
    ax.plot(state[off], action[off], "x", color="#B00000", markersize=10, markeredgewidth=2)
    ax.set(title=f"visits, {divergence}, alpha {alpha:g}: {int(off.sum())} of {len(off)} pairs off")
    ax.set(xlabel="state (ring: data, disc: best policy, cross: never)")
    ax.set(ylabel="action", xlim=(-0.6, STATES - 0.4), ylim=(-0.6, ACTIONS - 0.4))
    ax.set_xticks(range(STATES))
    ax.set_yticks(range(ACTIONS))


def dual_words(level: float = 0.8, temperature: float = 0.5, alpha: float = 0.1, divergence: str = "chi2") -> str:
    """What `dual_figure` shows, in words."""
    mdp, _ = _world()
    best = {name: at for name, (_, at) in losses_of(level, temperature).items()}
    found = _best(divergence, alpha)
    return (
        f"Of values 0, 1, 2, 3 in shares .4, .3, .2, .1: V is {best['TV']:.3f} by TV and {best['chi2']:.3f} by chi2 at "
        f"level {level:g}, {best['XQL']:.3f} by XQL at temperature {temperature:g}. With {divergence} and alpha "
        f"{alpha:g} the best policy never takes {int((found.ratio == 0).sum())} of 15 pairs that the data hold; its "
        f"return is {float((found.occupancy * mdp.R).sum()):.3f}."
    )


def dual_explorer(live: bool | None = None) -> Explorer:
    """The level of TV and chi-square, the temperature of XQL, the weight of the divergence, and which it is."""
    controls: dict[str, Any] = {
        "level": Slider.at(LEVELS, default=0.8, label="level (TV, chi2)"),
        "temperature": Slider.at(TEMPERATURES, default=0.5, label="temperature (XQL)"),
        "alpha": Slider.at(ALPHAS, default=0.1, label="alpha"),
        "divergence": Choice(tuple(NAMES), default="chi2", label="divergence"),
    }
    presets: dict[str, dict[str, Any]] = {
        "cautious": {"level": 0.65, "temperature": 2.0, "alpha": 3.0},
        "greedy": {"level": 0.95, "temperature": 0.1, "alpha": 0.01},
        "KL keeps all": {"level": 0.95, "temperature": 0.1, "alpha": 0.02, "divergence": "KL"},
    }
    return explore(dual_figure, controls, presets, dual_words, live)
