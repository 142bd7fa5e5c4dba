"""The figures of lesson 03: a picture of each rung's results."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toykit.lessons.base import Results, difference
from toykit.lessons.compare import last
from toykit.lessons.drawing import draw_runs
from toykit.lessons.l03_lite_ppo.explorer import lengths_explorer, weights_explorer
from toykit.lessons.l03_lite_ppo.sampled import SETTINGS
from toykit.plots import curve_with_interval, figure, mean_interval, panel_labels
from toykit.plots.style import CYCLE

__all__ = ["lengths_explorer", "training_figure", "tricks_figure", "weights_explorer"]

LOOKS = dict(
    zip(
        ("Lite PPO", "group std", "no std", "GRPO", "DAPO", "overlong filter"),
        (CYCLE[0], CYCLE[1], CYCLE[2], CYCLE[3], CYCLE[4], CYCLE[5]),
        strict=True,
    )
)
AGGREGATIONS = {"token_sum": "token sum", "token_mean": "token mean", "sequence_mean": "sequence mean"}


def tricks_figure(results: Results) -> Figure:
    """Aggregation and the direction of the step, a rare answer under clip-higher, and the overlong filter."""
    made, (left, middle, right) = figure(3, height=3.1, width=9.6)
    found = results["directions"]
    for how, (kind, label) in zip((CYCLE[6], CYCLE[0], CYCLE[1]), AGGREGATIONS.items(), strict=True):
        curve_with_interval(left, found["sizes"], [found["cosine"][kind]], label, how, markers=4)
    left.set(title="direction of the step", xlabel="group size G", ylabel="cosine with grad J", ylim=(0.988, 1.001))
    left.set_xticks(found["sizes"])
    left.legend(loc="center right", fontsize=8)
    climbs = results["clip_higher"]
    for how, high, path in zip(CYCLE, climbs["high"], climbs["p"], strict=False):
        curve_with_interval(middle, range(len(path)), [path], f"{high:g}", how, markers=12)
    middle.axhline(0.5, color="#888888", linewidth=0.8)
    middle.set(title="a rare right answer, by upper clip", xlabel="batches", ylim=(0, 0.7), xlim=(0, 12.5))
    middle.set_xticks([0, 3, 6, 9, 12])
    middle.legend(loc="upper left", fontsize=8, ncols=2)
    overlong = results["overlong"]
    for how, (name, path) in zip((CYCLE[0], CYCLE[1], CYCLE[2]), overlong["cut"].items(), strict=True):
        curve_with_interval(right, overlong["steps"], [path], name, how, markers=5)
    right.set(title="completions that are cut", xlabel="steps", ylim=(0, 0.32))
    right.legend(loc="upper right", fontsize=8)
    panel_labels((left, middle, right))
    return made


def training_figure(results: Results, live: Results | None = None) -> Figure:
    """Success in training, what each trick changes at its end, and the two other settings; `live` as crosses."""
    made, axes = figure(2, 2, height=2.9, width=9.6)
    (first, second), (third, fourth) = axes
    for name in ("Lite PPO", "GRPO", "DAPO"):
        draw_runs(first, results, name, "success", LOOKS[name], live, name)
    first.set(title="hard problems: success", ylim=(0.2, 0.8))
    _draw_tricks(second, results)
    for name in SETTINGS["easy"]:
        draw_runs(third, results, f"{name}, easy", "success", LOOKS[name], live, name)
    third.set(title="easy problems: success", ylim=(0.5, 1.02))
    for name in SETTINGS["short"]:
        draw_runs(fourth, results, f"{name}, short", "cut", LOOKS[name], live, name)
    fourth.set(title="little room: completions cut")
    fourth.set_ylim(bottom=0)
    for ax, place in ((first, "lower right"), (third, "lower right"), (fourth, "upper right")):
        ax.set_xlabel("training steps")
        ax.legend(loc=place, fontsize=8)
    panel_labels(axes)
    return made


def _draw_tricks(ax: Axes, results: Results) -> None:
    """Each arm's success at the end less that of Lite PPO, with its 95 % interval over the seeds."""
    names = [name for name in SETTINGS["hard"] if name != "Lite PPO"]
    for row, name in enumerate(reversed(names)):
        mean, half = mean_interval(difference(last(results, name, "success"), last(results, "Lite PPO", "success")))
        color = "#444444" if abs(mean) <= half else CYCLE[0 if mean > 0 else 1].color
        ax.plot([mean - half, mean + half], [row, row], "-", color=color, linewidth=2)
        ax.plot(mean, row, "o", color=color, markersize=6)
    ax.axvline(0, color="#888888", linewidth=0.9)
    ax.set_yticks(range(len(names)), names[::-1])
    ax.set(title="hard: success at the end, minus Lite PPO", xlabel="difference, 95 % interval")
    ax.grid(False, axis="y")


REPORTED = {
    "success": "success",
    "length": "length",
    "entropy": "entropy, nats",
    "cut": "cut",
    "silent": "silent groups",
}


def ends(results: Results) -> list[dict[str, Any]]:
    """Rows for a table: where each arm ends, means over the seeds, below the base of each setting."""
    rows: list[dict[str, Any]] = []
    for setting, names in SETTINGS.items():
        arms = {name: name if setting == "hard" else f"{name}, {setting}" for name in names}
        base = results["runs"][arms["Lite PPO"]]
        rows.append(_row(f"{setting}: base", {k: [path[0] for path in base[k]] for k in REPORTED}))
        for name, arm in arms.items():
            rows.append(_row(f"{setting}: {name}", {k: last(results, arm, k) for k in REPORTED}))
    return rows


def _row(name: str, values: dict[str, list[float]]) -> dict[str, Any]:
    return {"setting: arm": name} | {label: float(np.mean(values[key])) for key, label in REPORTED.items()}
