"""The explorer of lesson 29: arms with their bounds, and the loss in the MDP from expert to uniform data."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toykit.control import Counts, concentrability, lcb, occupancy
from toykit.control.offline.lcb import lower_bounds
from toykit.lessons.l29_pessimism import offline_mdp
from toykit.lessons.l29_pessimism.figures import LOOKS
from toykit.plots import Slider, explore, figure, wipe
from toykit.plots.explorer import Explorer

TOTAL, MEAN = 100, 0.6  # pulls of both arms, and the mean reward of the first
SHARES = (0.02, 0.05, 0.1, 0.3, 0.6, 1.0)
SIZES = (50, 100, 200, 500, 1000, 2000)
SEEDS = tuple(range(10))
FLOOR = 3e-3  # smaller losses are drawn on it


def arms(second: int, won: float) -> Counts:
    """A bandit of two arms: the first has what is left of the pulls, at a mean of 0.6."""
    visits = torch.tensor([[TOTAL - second, second]], dtype=torch.float64)
    rewards = visits * torch.tensor([MEAN, won], dtype=torch.float64)
    return Counts(torch.zeros(1, 2, 1, dtype=torch.float64), rewards, visits)


@cache
def losses(share: float) -> dict[str, list[float]]:
    """The mean loss over the `SEEDS` at each of the `SIZES`."""
    found: dict[str, list[float]] = {name: [] for name in LOOKS}
    for n in SIZES:
        made = offline_mdp.learned(share, n, SEEDS, LOOKS)
        for name in LOOKS:
            found[name].append(float(offline_mdp.lost(made[name]).mean()))
    return found


@cache
def coverage(share: float) -> float:
    d = occupancy(offline_mdp.problem(), offline_mdp.best_policy())
    return concentrability(d, offline_mdp.behaviour(share))


@cache
def _frame() -> tuple[Figure, Any]:
    return figure(2, height=3.3, width=9.4, widths=(1, 1.25))


def pessimism_figure(second: int = 2, won: float = 1.0, delta: float = 0.01, share: float = 0.3) -> Figure:
    """Left: two arms with their means and lower bounds; right: the loss in the MDP against N."""
    made, _ = _frame()
    left, right = wipe(made)
    _draw_arms(left, second, won, delta)
    _draw_losses(right, share)
    return made


def _draw_arms(ax: Axes, second: int, won: float, delta: float) -> None:
    counts = arms(second, won)
    means, bounds, chosen = values(counts, delta)
    for i, (mean, low) in enumerate(zip(means, bounds, strict=True)):
        ax.bar(i, mean, 0.55, facecolor=LOOKS["naive"].color, alpha=0.35, edgecolor="#444444", hatch="//" if i else "")
        ax.errorbar(i, mean, [[mean - low], [0.0]], fmt="none", ecolor=LOOKS["LCB"].color, elinewidth=2, capsize=7)
        ax.plot(i, low, LOOKS["LCB"].marker, color=LOOKS["LCB"].color, markersize=8)
        ax.text(i + 0.1, low, f"{low:.2f}", va="center", fontsize=9)
    ax.axhline(0.0, color="#444444", linewidth=0.8)
    names = [f"{name}\n{int(n)} pulls" for name, n in zip(("arm 1", "arm 2"), counts.visits[0].tolist(), strict=True)]
    ax.set_xticks(range(2), names)
    ax.set(title=f"LCB takes {chosen}", ylabel="mean (bar) and lower bound (mark)", ylim=(-1.9, 1.1), xlim=(-0.6, 1.6))
    ax.grid(False, axis="x")


def values(counts: Counts, delta: float) -> tuple[list[float], list[float], str]:
    """Means, lower bounds, and which arm LCB takes."""
    means = counts.mean_rewards()
    bounds = lower_bounds(means, counts.visits, math.log(4 / delta))
    p = lcb(counts, delta)[0, 1].item()
    return means[0].tolist(), bounds[0].tolist(), "arm 2" if p == 1 else "arm 1" if p == 0 else "either"


def _draw_losses(ax: Axes, share: float) -> None:
    x = np.log10(SIZES)  # drawn as logarithms: a logarithmic axis takes several times as long to draw
    for name, lost in losses(share).items():
        how, y = LOOKS[name], np.log10(np.maximum(lost, FLOOR))
        ax.plot(x, y, linestyle=how.linestyle, marker=how.marker, color=how.color, label=name)
    ax.set_xticks(x, [str(n) for n in SIZES])
    ax.set_yticks(np.log10([FLOOR, 0.01, 0.1, 1]), ["0", "0.01", "0.1", "1"])
    ax.set(title=f"an MDP, C* = {coverage(share):.2f}", xlabel="transitions N", ylabel="loss", ylim=(-2.7, 1.5))
    ax.legend(loc="upper right", ncols=3, fontsize=8)


def pessimism_words(second: int = 2, won: float = 1.0, delta: float = 0.01, share: float = 0.3) -> str:
    """What `pessimism_figure` shows, in words."""
    means, bounds, chosen = values(arms(second, won), delta)
    greedy = "arm 1" if means[0] > means[1] else "arm 2" if means[1] > means[0] else "either"
    ends = ", ".join(f"{name} {lost[0]:.3f} and {lost[-1]:.3f}" for name, lost in losses(share).items())
    return (
        f"Arm 1: {TOTAL - second} pulls, mean {means[0]:.2f}, lower bound {bounds[0]:.2f}. Arm 2: {second} pulls, mean "
        f"{means[1]:.2f}, lower bound {bounds[1]:.2f}. The empirical best is {greedy}, LCB takes {chosen}. In the MDP "
        f"with {share:.0%} chance in the data (C* = {coverage(share):.2f}) the mean loss at N = {SIZES[0]} and "
        f"{SIZES[-1]}: {ends}."
    )


def pessimism_explorer(live: bool | None = None) -> Explorer:
    """How often the second arm was pulled and what it paid, how sure the bounds are, and how much chance is logged."""
    for share in SHARES:
        losses(share)
    controls: dict[str, Any] = {
        "second": Slider.at((0, 1, 2, 5, 10, 20, 50), 2, label="pulls of arm 2"),
        "won": Slider(0.0, 1.0, default=1.0, step=0.1, label="its mean reward"),
        "delta": Slider.at((0.001, 0.01, 0.1), 0.01, label="δ"),
        "share": Slider.at(SHARES, 0.3, label="chance in the data"),
    }
    presets: dict[str, dict[str, Any]] = {
        "two lucky pulls": {},
        "twenty good pulls": {"second": 20},
        "never tried": {"second": 0},
        "expert data": {"share": 0.02},
        "uniform data": {"share": 1.0},
    }
    return explore(pessimism_figure, controls, presets, pessimism_words, live)
