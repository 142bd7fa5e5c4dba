"""The explorers of lesson 06: a saw fitted by hinges, and the price of a stitch."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toykit.control.worlds import linear_q
from toykit.lessons.l06_mbrcsl.figures import ACTIONS, draw_returns, draw_saw
from toykit.lessons.l06_mbrcsl.linear import hinges
from toykit.plots import Slider, explore, figure, role, wipe
from toykit.plots.explorer import Explorer
from toykit.plots.style import CYCLE

SIZES = (2, 4, 8, 16)
WIDTHS = tuple(range(0, 25))
EXACT = 1e-9
FLOOR = 0.01  # smaller errors are drawn on it


def greedy_fits(values: np.ndarray, most: int) -> np.ndarray:
    """[most + 1, n] least-squares fits of values [n] at 0, 1, ... by a constant and k = 0, 1, ..., `most` hinges.

    A hinge max(0, s - k) or max(0, k - s) is added at a time, the one that leaves the smallest squared error. Hinges
    that were there stay, so that a better fit with as many may exist.
    """
    s = np.arange(len(values), dtype=float)
    candidates = np.maximum(np.concatenate([s[:, None] - s, s - s[:, None]], 1), 0)
    candidates -= candidates.mean(0)
    rest, fits = values - values.mean(), [np.full_like(s, values.mean())]
    for _ in range(most):
        size = (candidates**2).sum(0)
        gain = np.where(size > EXACT, (rest @ candidates) ** 2 / np.maximum(size, EXACT), 0.0)
        new = candidates[:, gain.argmax()] / max(size[gain.argmax()] ** 0.5, EXACT)
        rest = rest - (rest @ new) * new
        candidates = candidates - np.outer(new, new @ candidates)
        fits.append(values - rest)
    return np.stack(fits)


@cache
def fits(u: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The fits [W, S] of r(., 0), and by width the largest errors [W] of the fits of r(., 0) and of Q*(., 0)."""
    saw, best = linear_q(u).R[:, 0].numpy(), hinges(u)[:, 0].numpy()
    made = greedy_fits(saw, WIDTHS[-1])
    errors = (np.abs(of - target).max(1) for of, target in ((made, saw), (greedy_fits(best, WIDTHS[-1]), best)))
    return made, *errors


@cache
def _frame(name: str) -> tuple[Figure, Any]:
    return figure(2, height=3.3, width=9.4)


def linear_figure(u: int = 8, width: int = 4) -> Figure:
    """Left: the saws of LinearQ over Q*, and a fit of r(., 0) by so many hinges; right: its largest error by width."""
    made, _ = _frame("linear")
    left, right = wipe(made)
    fit, saw, best = fits(u)
    draw_saw(left, u)
    left.plot(fit[width], color="#222222", linestyle=":", linewidth=2.2, label=f"{width} hinges for r(s, 0)")
    left.set(title=f"u = {u}: {3 * u + 3} states")
    left.legend(fontsize=8, loc="upper right")
    for errors, name, how in ((saw, "r(s, 0) = T0", ACTIONS[0]), (best, "Q*(s, 0)", role("exact"))):
        y = np.log10(np.maximum(errors, FLOOR))  # drawn as logarithms: a logarithmic axis takes long to draw
        right.plot(WIDTHS, y, color=how.color, linestyle=how.linestyle, marker=how.marker, markersize=3.5, label=name)
    right.axvline(width, color="#B00000", linewidth=1.2, label="the fit on the left")
    right.axvline(u / 2 + 2, color="#6E6E6E", linestyle="--", linewidth=1.2, label="r needs at least u/2 + 2")
    right.set_yticks(np.log10([FLOOR, 0.1, 1, 10]), ["0", "0.1", "1", "10"])
    right.set(
        title=f"{width} hinges: error {saw[width]:.2f}", xlabel="hinges", ylabel="largest error", ylim=(-2.2, 2.9)
    )
    right.legend(fontsize=8, loc="upper right", ncols=2, frameon=True, framealpha=1, edgecolor="none")
    return made


def linear_words(u: int = 8, width: int = 4) -> str:
    """What `linear_figure` shows, in words."""
    _, saw, best = fits(u)
    enough = next((w for w, error in zip(WIDTHS, saw, strict=True) if error < 1e-6), None)
    end = f"{enough} hinges fit it exactly" if enough is not None else f"{WIDTHS[-1]} hinges are not enough"
    return (
        f"LinearQ with u = {u}: with {width} hinges r(s, 0) is fitted to {saw[width]:.2f} and Q*(s, 0) to "
        f"{best[width]:.2f}. One hinge gives Q* exactly; r needs at least {u // 2 + 2}, and {end}."
    )


def linear_explorer(live: bool | None = None) -> Explorer:
    """The size of LinearQ and the width of the fit."""
    controls: dict[str, Any] = {
        "u": Slider.at(SIZES, default=8, label="u"),
        "width": Slider.at(WIDTHS, default=4, label="hinges of the fit"),
    }
    presets: dict[str, dict[str, Any]] = {
        "too narrow": {},
        "all but the teeth": {"width": 7},
        "wide enough": {"width": 11},
        "twice the states": {"u": 16, "width": 11},
    }
    return explore(linear_figure, controls, presets, linear_words, live)


LENGTHS = (2, 4, 6, 8, 10)
MIXES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
MARGINS = (-1, 0, 1, 2, 3)


def law_of_returns(length: int, mix: float) -> np.ndarray:
    """[H + 1] the law of the number of tokens 0, where a rollout takes the token of 0101... with probability `mix`."""
    law = np.ones(1)
    for h in range(length):
        paid = mix if h % 2 == 0 else 1 - mix
        law = np.convolve(law, [1 - paid, paid])
    return law


def stitching_figure(length: int = 6, mix: float = 0.5, margin: int = 0) -> Figure:
    """Left: two half-good trajectories and the stitch; right: the law of the rollouts' returns, with the threshold."""
    made, _ = _frame("stitching")
    left, right = wipe(made)
    _draw_lanes(left, length, mix)
    law = law_of_returns(length, mix)
    draw_returns(right, law, length / 2 + margin)
    right.set(title=f"kept {law[length // 2 + margin + 1 :].sum():.3g} of the rollouts")
    return made


def _draw_lanes(ax: Axes, length: int, mix: float) -> None:
    """Positions from left to right, token 0 (pays 1) above token 1: each trajectory changes lanes at every step."""
    at = np.arange(length)
    for name, first, share, how in (("0101...", 0, mix, CYCLE[1]), ("1010...", 1, 1 - mix, CYCLE[2])):
        style = {"color": how.color, "linestyle": how.linestyle, "marker": how.marker, "linewidth": 0.8 + 4 * share}
        ax.plot(at, 1 - (at + first) % 2, **style, label=f"{name}, share {share:.1f}")
    best = role("exact")
    ax.plot(at, np.full(length, 1.12), color=best.color, marker=".", label="the stitch: crosses at every step")
    ax.set(title="two halves", xlabel="position", ylim=(-0.2, 1.9), xlim=(-0.4, length - 0.6))
    ax.set_yticks((0, 1), ("1\npays 0", "0\npays 1"))
    ax.legend(fontsize=8, loc="upper left", ncols=1)
    ax.grid(False, axis="x")


def stitching_words(length: int = 6, mix: float = 0.5, margin: int = 0) -> str:
    """What `stitching_figure` shows, in words."""
    law = law_of_returns(length, mix)
    kept, perfect = law[length // 2 + margin + 1 :].sum(), law[-1]
    earned = f"asked for {length} earns {length}" if kept > 0 else f"learns from the data and earns {length // 2}"
    waits = f"one of {1 / kept:.2f} rollouts is kept" if kept > 0 else "no rollout is kept"
    return (
        f"H = {length}, the two trajectories in shares {mix:g} and {1 - mix:g}, threshold {length // 2 + margin}: "
        f"{waits}, one of {1 / perfect:.0f} is perfect. RCSL on the data earns {length // 2}; MBRCSL {earned}."
    )


def stitching_explorer(live: bool | None = None) -> Explorer:
    """The length, the shares of the two trajectories in the data, and the threshold above the data's best return."""
    controls: dict[str, Any] = {
        "length": Slider.at(LENGTHS, default=6, label="length H"),
        "mix": Slider.at(MIXES, default=0.5, label="share of 0101..."),
        "margin": Slider.at(MARGINS, default=0, label="threshold: H/2 +"),
    }
    presets: dict[str, dict[str, Any]] = {
        "two halves": {},
        "longer": {"length": 10},
        "one is rare": {"mix": 0.9},
        "too strict": {"margin": 3},
    }
    return explore(stitching_figure, controls, presets, stitching_words, live)
