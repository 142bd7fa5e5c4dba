"""The figures of lesson 13: a picture of each rung's results, and a table of the limit."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from toykit.lessons.base import Results
from toykit.lessons.l13_brorl.explorer import balance_explorer, balance_figure, balance_words
from toykit.lessons.l13_brorl.sampled import ARMS
from toykit.plots import curve_with_interval, figure, label_lines, panel_labels
from toykit.plots.style import CYCLE

__all__ = [
    "balance_explorer",
    "balance_figure",
    "balance_words",
    "limit_rows",
    "simulation_figure",
    "terms_figure",
    "training_figure",
]

LOOKS = {"equal": CYCLE[0], "unequal": CYCLE[1]}
LABELS = {"equal": "equal correct tokens", "unequal": "unequal (spread 0.3)"}


def terms_figure(results: Results) -> Figure:
    """The mean of each term over all draws, and the chance that the correct mass falls, by the number of draws."""
    rows = results["table"]
    made, (left, right) = figure(2, height=2.7)
    names = {
        "sampled correct": ("sampled_correct",),
        "sampled wrong": ("sampled_wrong",),
        "unsampled": ("unsampled_wrong", "unsampled_correct"),
    }
    for how, (label, parts) in zip((CYCLE[0], CYCLE[2], CYCLE[4]), names.items(), strict=True):
        values = [sum(row[part] for part in parts) for row in rows]
        left.plot(
            [row["N"] for row in rows], values, color=how.color, linestyle=how.linestyle, marker=how.marker, label=label
        )
    left.set(title="mean of each term of dQ", xlabel="draws N", ylim=(0, 0.08), xlim=(0.8, 7.6))
    left.set_xticks([row["N"] for row in rows])
    label_lines(left)
    path = results["chance"]["path"]
    other = results["chance"]["rising_path"]
    curve_with_interval(right, range(1, len(path) + 1), [path], "the example", CYCLE[6], markers=12)
    curve_with_interval(right, range(1, len(other) + 1), [other], "a law where it rises first", CYCLE[1], markers=12)
    right.set_xticks(range(1, 13, 2))
    right.set(title="chance that the correct mass falls", xlabel="draws N", yscale="log", ylim=(1e-11, 1))
    right.legend(loc="lower left")
    panel_labels((left, right))
    return made


def simulation_figure(results: Results) -> Figure:
    """The simulator: Q_pos in training, then by N the share of correct tokens that improve and the worst change."""
    made, (first, second, third) = figure(3, height=3.0, width=9.2)
    found = results["sampled"]
    for how, n, mass in zip(CYCLE, found["equal"]["draws"], found["equal"]["mass"], strict=False):
        curve_with_interval(first, results["steps"], mass, f"N = {n:,}", how, markers=4)
    first.set(title="correct mass Q, equal tokens", xlabel="steps", ylim=(0.62, 0.9), xlim=(0, 1450))
    first.set_xticks([0, 500, 1000])
    label_lines(first, size=8)
    for name, how in LOOKS.items():
        draws = found[name]["draws"]
        for ax, key in ((second, "improved"), (third, "worst")):
            curve_with_interval(ax, draws, np.array(found[name][key]).T, LABELS[name], how)
    third.axhline(0, color="#444444", linewidth=0.8)
    second.set(title="correct tokens that improve", ylim=(0, 1.05), xlabel="draws N")
    third.set(title="worst change of a correct token", xlabel="draws N")
    for ax in (second, third):
        ax.set_xscale("log")
        ax.set_xticks([4, 64, 1024, 8192], ["4", "64", "1,024", "8,192"])
    second.legend(loc="lower left")
    panel_labels((first, second, third))
    return made


def limit_rows(results: Results) -> list[dict[str, Any]]:
    """Rows for a table: how many of the 100 correct tokens lose with N = inf, by step and by surrogate."""
    losers, limit = results["losers"], results["limit"]
    columns = {"p (the paper's surrogate)": "p", "ratio (PPO, GRPO)": "ratio"}
    return [
        {"start": name}
        | {f"one plain step, {label}": losers[name][kind]["by step"] for label, kind in columns.items()}
        | {f"1000 steps of Adam, {label}": round(100 * limit[kind]["losing"][i]) for label, kind in columns.items()}
        for i, name in enumerate(limit["start"])
    ]


ARM_LOOKS = dict(zip(ARMS, CYCLE, strict=False))
PANELS = {
    "informative": "informative groups",
    "train_1": "train pass@1",
    "test_1": "held-out pass@1",
    "test_k": "held-out pass@{broad}",
}


def training_figure(results: Results) -> Figure:
    """The arms against the completions drawn: mean and 95 % interval over the seeds."""
    made, axes = figure(2, 2, height=2.4)
    x = np.array(results["completions"]) / 1000
    for arm in ARMS:
        for ax, name in zip(axes.flat, PANELS, strict=True):
            curve_with_interval(ax, x, results["runs"][arm][name], arm, ARM_LOOKS[arm], markers=5)
    for ax, title in zip(axes.flat, PANELS.values(), strict=True):
        ax.set(title=title.format(broad=results["broad"]))
        ax.set_ylim(bottom=0)
    for ax in axes[1]:
        ax.set_xlabel("thousand completions")
    axes[0, 0].set_ylim(0, 1)
    axes[0, 0].legend(loc="upper right")
    panel_labels(axes)
    return made
