"""The figures of lesson 04: a picture of each rung's results."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toykit.lessons.base import Results
from toykit.lessons.l04_vagram import linear, mirror
from toykit.lessons.l04_vagram.explorer import LOOKS
from toykit.lessons.l04_vagram.row_models import METHODS as ROW_METHODS
from toykit.lessons.l04_vagram.world_models import METHODS
from toykit.plots import curve_with_interval, figure, mean_interval, panel_labels
from toykit.plots.style import CYCLE, Role

ROW_LOOKS = dict(zip(ROW_METHODS, (CYCLE[1], CYCLE[0]), strict=True))


def mirror_figure(results: Results) -> Figure:
    """Two models that IterVAML cannot tell apart, and where descents on the three losses end."""
    found = results["mirror"]
    made, (left, right) = figure(2, height=3.0, widths=(1.25, 1))
    x = np.linspace(-2, 2, 9)
    for name, at, how in (("truth", mirror.TRUTH, CYCLE[0]), ("mirror", mirror.MIRROR, CYCLE[3])):
        t0, t1, _ = at.tolist()
        left.plot(x, t0 + t1 * x, how.linestyle, marker=how.marker, color=how.color, label=name)
    left.axhline(mirror.GOAL, color="black", linewidth=0.9)
    left.annotate("goal: V is greatest", (-2, mirror.GOAL), (0, 4), textcoords="offset points")
    left.set(title="predicted next state for u = 0", xlabel="state x", ylabel="next state x′")
    left.legend(loc="lower right")
    bottom = np.zeros(len(mirror.METHODS))
    counts = {name: [sum(found["ends"][m][name]) for m in mirror.METHODS] for name in ("truth", "mirror")}
    counts["elsewhere"] = [mirror.STARTS - a - b for a, b in zip(counts["truth"], counts["mirror"], strict=True)]
    for (name, values), how in zip(counts.items(), (CYCLE[0], CYCLE[3], CYCLE[7]), strict=True):
        right.bar(mirror.METHODS, values, 0.62, bottom, color=how.color, hatch=how.hatch, alpha=0.6, label=name)
        bottom += values
    right.set(title=f"where {mirror.STARTS} descents end", ylabel="descents", ylim=(0, mirror.STARTS * 1.35))
    right.grid(False, axis="x")
    right.legend(loc="upper center", ncols=3, handlelength=1.6, columnspacing=1.2)
    panel_labels((left, right))
    return made


def capacity_figure(results: Results) -> Figure:
    """Cost of control along the three sweeps, and the squared error of the same models."""
    found = results["linear"]
    made, axes = figure(4, height=2.9, width=10.2)
    labels = {"distractors": "distractors (rank 2)", "rank": "rank (2 distractors)", "std": "their std (rank 2)"}
    for ax, (sweep, words) in zip(axes, labels.items(), strict=False):
        for method in linear.METHODS:
            points = found["points"][sweep]
            curve_with_interval(ax, points, found["cost"][sweep][method], method, LOOKS[method], markers=len(points))
        ax.axhline(found["optimum"], color="black", linewidth=0.9, linestyle=":")
        ax.set(title="cost of control", xlabel=words, ylim=(0, 40))
    for method in linear.METHODS:
        points = found["points"]["distractors"]
        curve_with_interval(axes[3], points, found["mse"]["distractors"][method], method, LOOKS[method], len(points))
    axes[3].set(title="squared error", xlabel=labels["distractors"])
    axes[0].set_xticks(found["points"]["distractors"])
    axes[1].set_xticks(found["points"]["rank"])
    axes[2].set_xscale("log", base=2)
    axes[2].set_xticks(found["points"]["std"], [f"{v:g}" for v in found["points"]["std"]])
    axes[0].annotate("optimum", (4, found["optimum"]), (0, -11), textcoords="offset points", ha="right", fontsize=9)
    axes[3].legend(loc="upper left")
    panel_labels(axes)
    return made


def pendulum_figure(results: Results) -> Figure:
    """Returns by the number of distractors, and what the models with 8 of them predict."""
    found = results["pendulum"]
    made, (left, middle, right) = figure(3, height=3.2, width=9.8, widths=(1.25, 1, 1.2))
    counts = sorted(int(name.split(",")[0]) for name in found if name.endswith(",16"))
    for method in (*METHODS, "simulator"):
        how = LOOKS.get(method, Role("black", ":", ""))
        runs = np.array([found[f"{m},16"][method]["shooting"] for m in counts]).T
        curve_with_interval(left, counts, runs, method, how, markers=len(counts))
    left.set(title="return, planning 10 steps ahead", xlabel="distractors", xticks=counts)
    left.legend(loc="lower left", fontsize=8, labelspacing=0.25)
    last = found[f"{counts[-1]},16"]
    _grouped(middle, last, {"pendulum": "pendulum_r2", "distractors": "distractor_r2"})
    middle.set(title=f"R² of the change, {counts[-1]} distractors", ylim=(-1, 1.05))
    _grouped(right, last, {"1 step": "value_error", "10 steps": "value_error_ahead"})
    right.set(title=f"|V(f) − V(s′)|, {counts[-1]} distractors", yscale="log")
    panel_labels((left, middle, right))
    return made


def _grouped(ax: Axes, found: Results, figures: dict[str, str]) -> None:
    """Bars with intervals: a group for each figure, a bar for each method."""
    for i, method in enumerate(METHODS):
        how = LOOKS[method]
        mean, half = mean_interval(np.array([found[method][name] for name in figures.values()]).T)
        place = np.arange(len(figures)) + (i - (len(METHODS) - 1) / 2) * 0.17
        ax.bar(place, mean, 0.15, color=how.color, hatch=how.hatch, alpha=0.6)
        ax.errorbar(place, mean, half, fmt="none", ecolor="black", elinewidth=0.9)
    ax.axhline(0, color="#444444", linewidth=0.8)
    ax.set_xticks(range(len(figures)), list(figures))
    ax.grid(False, axis="x")


ROW_PANELS = {"dials": "tokens that matter, predicted", "noise": "other tokens, predicted", "goal": "goal reached"}


def rows_figure(results: Results, live: Results | None = None) -> Figure:
    """The world of tokens in training: mean and 95 % interval over the seeds.

    `live` results of one seed are drawn as crosses over the recorded ones.
    """
    found = results["rows"]
    made, axes = figure(3, height=2.9, width=9.2)
    for method in ROW_METHODS:
        for ax, name in zip(axes, ROW_PANELS, strict=True):
            line = curve_with_interval(ax, found["stops"], found["runs"][method][name], method, ROW_LOOKS[method])
            if live is not None:
                now = live["rows"]["runs"][method][name][0]
                ax.plot(live["rows"]["stops"], now, "x", color=line.get_color(), markersize=6, markeredgewidth=1.6)
    for ax, title in zip(axes, ROW_PANELS.values(), strict=True):
        ax.set(title=title, xlabel="training steps", ylim=(-0.03, 1.05))
    axes[0].legend(loc="lower right")
    panel_labels(axes)
    return made


def table_of_returns(results: Results) -> list[dict[str, Any]]:
    """Mean return of each method in each setting, by width and then by distractors, for a table."""
    rows = []
    for name, found in results["pendulum"].items():
        m, width = name.split(",")
        means = {method: round(float(np.mean(found[method]["shooting"]))) for method in (*METHODS, "simulator")}
        rows.append({"width": int(width), "distractors": int(m), **means})
    return sorted(rows, key=lambda row: (row["width"], row["distractors"]))
