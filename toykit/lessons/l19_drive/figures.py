"""Pictures of the results of lesson 19."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from toykit.lessons.base import Results
from toykit.lessons.drawing import draw_runs
from toykit.plots import Role, figure, legend_below, panel_labels
from toykit.plots.style import CYCLE, VERMILION

LOOKS: dict[str, Role] = {
    "two stages": CYCLE[0],
    "uniform, G = 8": CYCLE[1],
    "uniform, G = 64": CYCLE[2],
    "stage 2 only": CYCLE[3],
    "two stages, short first": CYCLE[4],
}
RATES = LogNorm(1e-3, 1.0, clip=True)


def draw_ladder(ax: Axes, p: np.ndarray, ends: Sequence[int], chosen: Sequence[np.ndarray]) -> AxesImage:
    """Pass rates [K, n], at equal distances up to the last of the phases' `ends`, as a row of shades for each prompt.

    The prompts that a phase has kept, bool [n] each, are outlined; where all are, nothing is.
    """
    total, n = ends[-1], p.shape[1]
    shown = ax.imshow(
        p[1:].T, cmap="Blues", norm=RATES, extent=(0, total, n, 0), aspect="auto", interpolation="nearest"
    )
    for (begun, end), kept in zip(pairwise((0, *ends)), chosen, strict=True):
        if begun and not kept.all():
            ax.axvline(begun, color="black", linewidth=1.0)
        if not kept.all():
            boxes = [Rectangle((begun, row), end - begun, 1) for row in np.flatnonzero(kept).tolist()]
            ax.add_collection(PatchCollection(boxes, facecolor="none", edgecolor=VERMILION, linewidth=1.1))
    return shown


def ladder_figure(results: Results) -> Figure:
    """The difficulty ladder of seed 0: uniform training, two stages, and stage 2 only, each with 241,920 rollouts."""
    made, axes = figure(3, height=3.9, width=9.8, sharey=True)
    for ax, (name, found) in zip(axes, results["ladder"].items(), strict=True):
        chosen = [np.array(kept) for kept in found["chosen"]]
        shown = draw_ladder(ax, np.array(found["p"]), found["ends"], chosen)
        ax.set(title=name, xlabel="steps")
        ax.grid(False)
    axes[0].set(ylabel="prompts, the hardest below")
    made.colorbar(shown, ax=axes, label="pass rate", shrink=0.85, extend="min")
    panel_labels(axes)
    return made


def _panels(results: Results, live: Results | None, panels: dict[str, str]) -> Figure:
    made, axes = figure(3, height=3.5, width=9.8)
    for ax, (name, title) in zip(axes, panels.items(), strict=True):
        for arm in results["runs"]:
            draw_runs(ax, results, arm, name, LOOKS[arm], live)
        ax.set(title=title, xlabel="training steps")
    legend_below(made, axes[0], ncols=5, fontsize=8)
    panel_labels(axes)
    return made


def training_figure(results: Results, live: Results | None = None) -> Figure:
    """pass@1, pass@64 and entropy of the training prompts; `live` results as crosses."""
    return _panels(results, live, {"pass@1": "pass@1", "pass@64": "pass@64", "token entropy": "nats a token"})


def thirds_figure(results: Results, live: Results | None = None) -> Figure:
    """pass@1 of the training prompts in thirds, by the base's success."""
    titles = {name: f"pass@1, {name} third" for name in ("hard", "medium", "easy")}
    return _panels(results, live, titles)
