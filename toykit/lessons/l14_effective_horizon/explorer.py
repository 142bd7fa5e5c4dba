"""The explorer of lesson 14: the corridor searched k steps deep, and what the values of a random policy say below."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from toykit.control import lookahead
from toykit.control.worlds import decoy_corridor
from toykit.lessons.l14_effective_horizon.exact import iterates
from toykit.plots import Choice, Slider, explore, figure, wipe
from toykit.plots.explorer import Explorer
from toykit.plots.style import CYCLE

WORLDS = {  # actions and slip
    "A = 2": (2, 0.0),
    "A = 3": (3, 0.0),
    "A = 4": (4, 0.0),
    "A = 3, slip 0.1": (3, 0.1),
    "A = 3, slip 0.25": (3, 0.25),
}
LENGTHS, DECOYS = (3, 4, 5, 6, 7, 8), (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
LONGEST, LEAST = max(LENGTHS), 1e-5  # of values, on the logarithmic scale
SEARCHED, DECOY, CHANCE = CYCLE[0], CYCLE[1], "#8a8a8a"


class Found(NamedTuple):
    """Of Q^1, ..., Q^L: values [L] of moving on and of quitting in the first state, the values [L] of a random policy
    in each state, the returns [L], min_k and the best return."""

    forward: tuple[float, ...]
    quitting: tuple[float, ...]
    chance: tuple[float, ...]
    returns: tuple[float, ...]
    least: int
    best: float


@cache
def corridor(length: int, decoy: float, world: str) -> Found:
    """The corridor at a setting."""
    n_actions, slip = WORLDS[world]
    mdp = decoy_corridor(length, decoy, n_actions, slip)
    qs, found = iterates(mdp, length), lookahead(mdp)
    chance = tuple(qs[0][t, t].mean().item() for t in range(length))
    forward, quitting = (tuple(q[0, 0, action].item() for q in qs) for action in (0, 1))
    return Found(forward, quitting, chance, tuple(found.returns.tolist()), found.least or length, found.optimum)


@cache
def _frame() -> tuple[Figure, Any]:
    return figure(3, height=3.4, width=9.8, widths=(1.35, 1, 0.9))


def horizon_figure(k: int = 1, length: int = 5, decoy: float = 0.05, world: str = "A = 3") -> Figure:
    """The search tree to depth k; Q^k of moving on against the decoy; the return of acting on Q^k."""
    made, _ = _frame()
    left, middle, right = wipe(made)
    k, found = min(k, length), corridor(length, decoy, world)
    _draw_tree(left, k, length, decoy, world, found)
    _draw_values(middle, k, found)
    _draw_returns(right, k, found)
    return made


def _draw_tree(ax: Axes, k: int, length: int, decoy: float, world: str, found: Found) -> None:
    """The corridor goes down; side branches end. What lies beyond depth k is left to chance."""
    n_actions, step = WORLDS[world][0], -1.0 / length
    sides = np.linspace(0.45, 1.1, n_actions - 1)
    for depth in range(length):
        on, top, end = depth < k, depth * step, (depth + 0.55) * step
        lines = [[(0.0, top), (0.0, top + step)], *([(0.0, top), (x, end)] for x in sides)]
        style, color = ("-", SEARCHED.color) if on else (":", CHANCE)
        ax.add_collection(LineCollection(lines, linewidths=2.2 if on else 1.1, colors=color, linestyles=style))
        marker, fill = (DECOY.marker, DECOY.color) if depth == 0 else ("o", "white")
        ax.plot(sides, np.full(len(sides), end), marker, color=fill, markeredgecolor="#666666", markersize=5)
    ax.text(1.25, 0.55 * step, f"decoy: {decoy:g}", fontsize=9, va="center", color=DECOY.color)
    ax.plot(0.0, -1.0, "*", color="#117733", markersize=13)
    ax.text(-0.15, -1.0, "1", fontsize=10, va="center", ha="right")
    if k < length:
        ax.plot(0.0, k * step, "D", color=SEARCHED.color, markersize=7)
        ax.text(-0.15, k * step, f"by chance: {found.chance[k]:.2g}", fontsize=9, va="center", ha="right")
    ax.set(title="searched (solid), left to chance (dotted)", xlim=(-1.9, 2.3), ylim=(-1.08, 0.06))
    ax.set(xticks=[], yticks=[])
    ax.grid(False)


def _draw_values(ax: Axes, k: int, found: Found) -> None:
    ks = np.arange(1, len(found.forward) + 1)
    up = np.log10(np.maximum(found.forward, LEAST)) - math.log10(LEAST)
    chosen = ks == k
    ax.bar(ks[~chosen], up[~chosen], 0.6, facecolor=SEARCHED.color, alpha=0.3, edgecolor="#444444")
    ax.bar(ks[chosen], up[chosen], 0.6, facecolor=SEARCHED.color, alpha=0.85, edgecolor="#444444", hatch="//")
    ax.plot(ks, np.log10(np.maximum(found.quitting, LEAST)) - math.log10(LEAST), "s--", color=DECOY.color)
    ax.set(title="$Q^k$: on (bars), quit (line)", xlabel="k", xlim=(0.4, LONGEST + 0.6), ylim=(0, 5.3))
    ax.set_xticks(range(1, LONGEST + 1))
    ax.set_yticks(range(6), [f"$10^{{{n}}}$" for n in range(-5, 1)])
    ax.grid(False, axis="x")


def _draw_returns(ax: Axes, k: int, found: Found) -> None:
    ks = range(1, len(found.returns) + 1)
    ax.axhline(found.best, color="#444444", linestyle=":")
    ax.plot(ks, found.returns, color=CYCLE[2].color, marker="o")
    ax.plot([k], [found.returns[k - 1]], CYCLE[2].marker, color=CYCLE[2].color, markersize=11)
    ax.text(LONGEST + 0.4, found.best + 0.02, "the best", fontsize=8.5, ha="right")
    ax.set(title="$J_k$", xlabel="k", xlim=(0.4, LONGEST + 0.6), ylim=(-0.04, 1.12))
    ax.set_xticks(range(1, LONGEST + 1))


def horizon_words(k: int = 1, length: int = 5, decoy: float = 0.05, world: str = "A = 3") -> str:
    """What `horizon_figure` shows, in words."""
    k, found = min(k, length), corridor(length, decoy, world)
    on, off = found.forward[k - 1], found.quitting[k - 1]
    says = "move on" if on > off + 1e-9 else "quit" if on < off - 1e-9 else "either"
    return (
        f"A corridor of {length} steps with {world} and a decoy of {decoy:g}. At k = {k}, moving on has Q = {on:.3g} "
        f"and quitting {off:.3g}: {says}. Acting on it earns {found.returns[k - 1]:.3g}, the best is {found.best:.3g}, "
        f"and min_k is {found.least}."
    )


def horizon_explorer(live: bool | None = None) -> Explorer:
    """How far is looked, how long the corridor is, what the decoy pays, how many actions there are, how they slip."""
    controls: dict[str, Any] = {
        "k": Slider(1, LONGEST, default=1, step=1, label="k"),
        "length": Slider.at(LENGTHS, 5, label="length L"),
        "decoy": Slider.at(DECOYS, 0.05, label="decoy c"),
        "world": Choice(tuple(WORLDS), "A = 3", label="actions"),
    }
    presets: dict[str, dict[str, Any]] = {
        "no look ahead": {},
        "far enough": {"k": 3},
        "a small decoy": {"decoy": 0.005},
        "a long corridor": {"length": 8, "k": 5},
        "slip": {"k": 3, "world": "A = 3, slip 0.25"},
    }
    return explore(horizon_figure, controls, presets, horizon_words, live)
