"""Pictures of the results of lesson 02."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from toykit.lessons.base import Results
from toykit.lessons.drawing import draw_runs
from toykit.plots import Role, curve_with_interval, figure, legend_below, panel_labels, role
from toykit.plots.style import CYCLE

LOOKS: dict[str, Role] = {
    "base": role("prior"),
    "SELF": CYCLE[0],
    "GRPO": CYCLE[1],
    "GRPO + forward KL": CYCLE[2],
    "filter": CYCLE[3],
    "GRPO + reverse KL": CYCLE[4],
    "GRPO + k3": CYCLE[5],
    "GRPO, nothing shared": CYCLE[6],
}
SHOWN = ("GRPO", "GRPO + reverse KL", "GRPO + forward KL", "filter", "SELF")
OPERATORS = "+-*"


def coverage_figure(results: Results) -> Figure:
    """pass@k after training, mean and 95 % interval over the worlds, and pass@256 on the way."""
    made, (left, right) = figure(2, height=3.3, width=9.2, widths=(1.15, 1))
    runs, ks = results["runs"], results["ks"]
    places = range(len(ks))
    curve_with_interval(left, places, runs["GRPO"]["pass_before"], "base", LOOKS["base"], markers=11)
    for name in (*SHOWN, "GRPO, nothing shared"):
        curve_with_interval(left, places, runs[name]["pass"], name, LOOKS[name], markers=11)
    left.set(title="after training", xlabel="k", ylabel="pass@k", ylim=(0.2, 1.03))
    left.set_xticks(places[::2], [str(k) for k in ks[::2]])
    left.legend(loc="lower right", fontsize=8)
    for name in (*SHOWN, "GRPO, nothing shared"):
        curve_with_interval(right, results["steps"], [runs[name]["path"]["256"]], name, LOOKS[name], markers=6)
    right.set_xscale("symlog", linthresh=1)
    right.set_xticks([0, 1, 10, 100, 1000], ["0", "1", "10", "100", "1,000"])
    right.set(title="pass@256 on the way", xlabel="training steps", ylim=(0.7, 1.02))
    panel_labels((left, right))
    return made


def winners_figure(results: Results) -> Figure:
    """Who wins: success before and after GRPO in one world with and without sharing, and the time of a lone prompt."""
    made, (left, right) = figure(2, height=3.1, width=9.2)
    for name, label in (("GRPO", "prompts share"), ("GRPO, nothing shared", "nothing shared")):
        run, how = results["runs"][name], LOOKS[name]
        left.plot(run["before"], run["after"], how.marker, color=how.color, markersize=5, label=label, alpha=0.85)
    left.axline((0, 0), slope=1, color="#888888", linewidth=0.8)
    left.set(title="24 prompts under GRPO", xlabel="success of the base", ylabel="success after", ylim=(-0.04, 1.06))
    left.legend(loc="center right")
    found = results["independent"]
    for how, (rule, steps) in zip((CYCLE[6], CYCLE[1], CYCLE[2]), found["steps"].items(), strict=True):
        label = {"GRPO": "GRPO, G = 8", "log-likelihood": "log-likelihood (1 - p)"}.get(rule, rule)
        curve_with_interval(right, found["p"], [steps], label, how, markers=4)
    right.set(title="a prompt that shares nothing", xlabel="success at the start", ylabel="steps to 0.9")
    right.set(xscale="log", yscale="log", xlim=(0.7, 0.003), ylim=(8, 800))
    right.set_xticks(found["p"], [f"{p:g}" for p in found["p"]])
    right.minorticks_off()
    right.set_yticks([10, 30, 100, 300], ["10", "30", "100", "300"])
    right.legend(loc="upper left")
    panel_labels((left, right))
    return made


PANELS = {
    "train pass@1": "training prompts, pass@1",
    "train pass@256": "training prompts, pass@256",
    "test pass@256": "held-out prompts, pass@256",
}


def training_figure(results: Results, live: Results | None = None) -> Figure:
    """pass@1 and pass@256 in training, mean and 95 % interval over the seeds; `live` results are drawn as crosses."""
    made, axes = figure(3, height=3.2, width=9.6)
    for name in [name for name in LOOKS if name in results["runs"]]:
        runs = results["runs"][name]
        for ax, panel in zip(axes, PANELS, strict=True):
            if panel in runs:
                draw_runs(ax, results, name, panel, LOOKS[name], live)
    for ax, title in zip(axes, PANELS.values(), strict=True):
        ax.set(title=title, xlabel="training steps")
    axes[0].set_ylim(0, 1.05)
    axes[1].set_ylim(top=1.02)
    axes[2].set_ylim(top=1.02)
    legend_below(made, axes[0], ncols=4, fontsize=8, columnspacing=1.2)
    panel_labels(axes)
    return made


def influence_figure(results: Results) -> Figure:
    """The interference matrix of the network's training prompts, sorted by their hidden operator."""
    found = results["interference"]
    matrix, operators = np.array(found["matrix"]), np.array(found["operators"])
    made, ax = figure(height=4.0, width=5.2)
    top = float(np.quantile(np.abs(matrix), 0.95))
    picture = ax.imshow(matrix, cmap="RdBu", vmin=-top, vmax=top, interpolation="nearest")
    edges = np.flatnonzero(np.diff(operators)) + 0.5
    for edge in edges:
        ax.axhline(edge, color="black", linewidth=0.8)
        ax.axvline(edge, color="black", linewidth=0.8)
    middles = [np.flatnonzero(operators == i).mean() for i in range(3)]
    ax.set_xticks(middles, [f"wants {o}" for o in OPERATORS])
    ax.set_yticks(middles, [f"wants {o}" for o in OPERATORS])
    ax.set(title="one step on the row's prompt: log p of the column's")
    ax.grid(False)
    made.colorbar(picture, ax=ax, label="change per unit of step", extend="both")
    return made
