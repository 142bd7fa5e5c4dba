"""Pictures of the results of lesson 33."""

from __future__ import annotations

from matplotlib.figure import Figure

from toykit.lessons.base import Results
from toykit.lessons.drawing import draw_runs
from toykit.plots import Role, figure, legend_below, panel_labels
from toykit.plots.style import CYCLE

LOOKS: dict[str, Role] = {
    "ProRL": CYCLE[0],
    "KL": CYCLE[1],
    "GRPO": CYCLE[2],
    "clip-higher": CYCLE[3],
    "KL 0.05": CYCLE[4],
    "KL, reset, moments kept": CYCLE[5],
    "ProRL, on plateau": CYCLE[6],
}
SETS: dict[str, Role] = {
    "base": CYCLE[1],
    "the composite": CYCLE[2],
    "three skills": CYCLE[3],
    "six skills": CYCLE[0],
}
LABELS = {"KL": "KL, β = 1, never reset", "KL 0.05": "KL, β = 0.05, never reset", "ProRL": "ProRL: reset every 40"}


def staircase_figure(results: Results) -> Figure:
    """Log-odds and distances after each reset, and pass@k of a task that needs six skills."""
    made, (first, second, third) = figure(3, height=3.2, width=9.8)
    found = results["staircase"]
    cycles = range(1, 6)
    for (beta, path), how in zip(found.items(), (CYCLE[0], CYCLE[2], CYCLE[3]), strict=True):
        style = {"color": how.color, "linestyle": "none", "marker": how.marker}
        first.plot(cycles, path["log-odds"], label=f"β = {beta}", **style)
        first.plot(cycles, path["law"], "--", color=how.color, linewidth=0.9)
    first.set(title="each reset adds 1/β", xlabel="cycle", ylabel="log-odds of success", ylim=(-5, 22))
    first.legend(loc="upper left", fontsize=8)
    for name, how in (("KL to the base", CYCLE[1]), ("KL to the reference", CYCLE[0])):
        second.plot(cycles, found["0.5"][name], color=how.color, linestyle=how.linestyle, marker=how.marker, label=name)
    second.set(title="distances, β = 0.5", xlabel="cycle", ylabel="nats", ylim=(-0.2, 5.8))
    second.legend(loc="upper left", fontsize=8)
    for ax in (first, second):
        ax.set_xticks(list(cycles))
    fans = results["composition"]
    for name, how in SETS.items():
        label = name if name == "base" else f"trained on {name}"
        style = {"color": how.color, "linestyle": how.linestyle, "marker": how.marker}
        third.plot(fans["ks"], fans["fans"][name], label=label, **style)
    third.set(
        title="a task that needs six skills",
        xlabel="k",
        ylabel="pass@k",
        xscale="log",
        ylim=(-0.03, 1.75),
        yticks=(0, 0.5, 1),
    )
    third.legend(loc="upper left", fontsize=8)
    panel_labels((first, second, third))
    return made


def training_figure(results: Results, live: Results | None = None) -> Figure:
    """pass@1 and pass@16 on the training prompts, and pass@16 on those held out; `live` results as crosses."""
    made, axes = figure(3, height=3.4, width=9.8)
    panels = {"train pass@1": "pass@1", "train pass@16": "pass@16", "test pass@16": "pass@16, held out"}
    for ax, (name, title) in zip(axes, panels.items(), strict=True):
        for arm in results["runs"]:
            draw_runs(ax, results, arm, name, LOOKS[arm], live, label=LABELS.get(arm, arm))
        ax.set(title=title, xlabel="training steps")
    legend_below(made, axes[0], ncols=4, fontsize=8)
    panel_labels(axes)
    return made
