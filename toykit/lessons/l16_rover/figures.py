"""Pictures of the results of lesson 16."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toykit.lessons.base import Results
from toykit.lessons.drawing import draw_runs
from toykit.plots import Role, figure, panel_labels
from toykit.plots.style import CYCLE

LOOKS: dict[str, Role] = {
    "ROVER": CYCLE[0],
    "GRPO": CYCLE[1],
    "REINFORCE": CYCLE[2],
    "ROVER, minibatches": CYCLE[3],
    "ROVER, β = 0": CYCLE[4],
}


def theory_figure(results: Results) -> Figure:
    """Value, bound and effective number against rho on the card's tree, and what three learners keep on the way."""
    made, (first, second, third) = figure(3, height=3.2, width=9.6)
    found = results["table"]
    value, bound, number = np.array(found["curves"]).T
    for name, row, how in (("value", value, CYCLE[0]), ("bound", bound, CYCLE[1])):
        first.plot(found["grid"], row, color=how.color, linestyle=how.linestyle, label=name)
    first.axhline(found["success"], color="#888888", linewidth=0.8, linestyle=":", label="uniform policy")
    first.set(title="success of softmax($Q_u$/ρ)", xlabel="ρ", xscale="log", ylim=(0, 1.04))
    first.legend(fontsize=8)
    second.plot(found["grid"], number, color=CYCLE[0].color, label="softmax of $Q_u$")
    rhos = (0.1, 0.05, 0.02)
    for backup, marker in (("mean", "o"), ("max", "X")):
        learned = np.mean(results["td"][backup]["effective"], axis=1)
        how = CYCLE[0] if backup == "mean" else CYCLE[1]
        second.plot(rhos, learned, marker, color=how.color, markersize=7, label=f"TD, {backup}")
    second.set(title="effective right completions", xlabel="ρ", xscale="log", ylim=(0, 7.6))
    second.legend(fontsize=8, loc="center right")
    _paths(third, results["practical"], "effective", ("ROVER", "GRPO", "REINFORCE"))
    third.set(title="the practical loss", xlabel="success", ylabel="effective right completions", ylim=(0.8, 7.6))
    third.legend(fontsize=8)
    panel_labels((first, second, third))
    return made


def training_figure(results: Results, live: Results | None = None) -> Figure:
    """Success and different right orders over training, and one against the other; `live` results as crosses."""
    made, axes = figure(3, height=3.4, width=9.6)
    panels = {"pass@1": "success", "distinct": "different right orders of 64"}
    for ax, (name, title) in zip(axes, panels.items(), strict=False):
        for arm in results["runs"]:
            draw_runs(ax, results, arm, name, LOOKS[arm], live)
        ax.set(title=title, xlabel="training steps")
    _paths(axes[2], results, "distinct", results["runs"])
    axes[2].axvline(0.7, color="#888888", linewidth=0.8, linestyle=":")
    axes[2].set(title="one against the other", xlabel="success", ylabel="different right orders")
    made.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=9)
    panel_labels(axes)
    return made


def _paths(ax: Axes, results: Results, figure: str, arms: Iterable[str]) -> None:
    """A figure against success on the way, means over seeds."""
    for arm in arms:
        how, found = LOOKS[arm], results["runs"][arm]
        x, y = (np.mean(found[name], axis=0) for name in ("pass@1", figure))
        ax.plot(
            x, y, color=how.color, linestyle=how.linestyle, marker=how.marker, markevery=max(len(x) // 8, 1), label=arm
        )
