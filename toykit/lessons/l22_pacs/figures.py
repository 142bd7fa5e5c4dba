"""Pictures of the results of lesson 22."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toykit.lessons.base import Results
from toykit.lessons.drawing import draw_against, draw_runs
from toykit.plots import Role, figure, legend_below, panel_labels, role
from toykit.plots.style import CYCLE

LOOKS: dict[str, Role] = {
    "start": role("prior"),
    "fixed, 0.5": CYCLE[4],
    "fixed, 1": CYCLE[0],
    "fixed, 2": CYCLE[2],
    "behaviour": CYCLE[1],
    "GRPO": CYCLE[3],
    "RLOO": CYCLE[6],
}
TABLE = {  # of the flows: (label, look)
    "GRPO": ("GRPO", "GRPO"),
    "behaviour": ("PACS, behaviour", "behaviour"),
    "fixed, question": ("PACS, fixed", "fixed, 1"),
}


def flow_figure(results: Results) -> Figure:
    """The entropy among the right answers on the way, the laws at an accuracy of 0.99, and what length leaves."""
    made, axes = figure(3, height=3.3, width=9.8)
    first, second, third = axes
    near = results["near"]
    ways = {f"fixed, {beta:g}": ("fixed", i) for i, beta in enumerate(near["betas"])}
    ways |= {"behaviour": ("behaviour", near["betas"].index(1.0)), "GRPO": ("GRPO", 0)}
    for name, (of, i) in ways.items():
        how, wrong = LOOKS[name], 1 - np.array(near[of]["accuracies"][i])
        seen = wrong > 0.004
        label = name.replace("fixed, ", "fixed, β = ")
        first.plot(
            wrong[seen],
            np.array(near[of]["entropies"][i])[seen],
            color=how.color,
            linestyle=how.linestyle,
            marker=how.marker,
            markevery=(4, 9),
            label=label,
        )
    first.set(title="entropy among right answers", xlabel="share of wrong answers", xscale="log", ylim=(0, 0.82))
    first.set(xlim=(0.5, 0.004), ylabel="nats")
    first.set_xticks([0.3, 0.1, 0.03, 0.01], ["0.3", "0.1", "0.03", "0.01"])
    first.minorticks_off()
    _draw_laws(second, results)
    for (name, left), how in zip(results["long"]["left"].items(), (CYCLE[1], CYCLE[4], CYCLE[0]), strict=True):
        third.plot(
            results["long"]["lengths"],
            left,
            color=how.color,
            linestyle=how.linestyle,
            marker=how.marker,
            markevery=2,
            label=f"β = {name}",
        )
    third.set(title="push left after 0.01 nats a token", xlabel="tokens of an answer", xscale="log", ylim=(-0.02, 0.62))
    third.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 0.06))
    first.legend(fontsize=8, loc="lower left")
    panel_labels(axes)
    return made


def _draw_laws(ax: Axes, results: Results) -> None:
    """The right answers' shares, side by side for each method."""
    start = np.array([0.40, 0.10, 0.05])
    laws = {"start": ("start", "start", start)}
    laws |= {name: (label, look, np.array(results["flows"][name]["law"][:3])) for name, (label, look) in TABLE.items()}
    width = 0.8 / len(laws)
    for i, (label, look, law) in enumerate(laws.values()):
        how, place = LOOKS[look], np.arange(3) + (i - 1.5) * width
        ax.bar(place, law / law.sum(), width, color=how.color, hatch=how.hatch, edgecolor="white", label=label)
    ax.set_xticks(range(3), ["A", "B", "C"])
    ax.set(title="among right answers, at 0.99", xlabel="right answer", ylabel="share", ylim=(0, 1.02))
    ax.grid(False, axis="x")
    ax.legend(fontsize=8, loc="upper right")


def training_figure(results: Results, live: Results | None = None) -> Figure:
    """pass@1 over training, `live` results as crosses; different right orders and pass@64 against it."""
    made, axes = figure(3, height=3.4, width=9.8)
    for arm in results["runs"]:
        how, name = LOOKS[arm.removeprefix("PACS, ")], arm.replace("fixed, ", "fixed, β = ")
        draw_runs(axes[0], results, arm, "pass@1", how, live, name)
        for ax, panel in zip(axes[1:], ("distinct", "pass@64"), strict=True):
            draw_against(ax, results, arm, "pass@1", panel, how)
    axes[0].set(title="pass@1", xlabel="training steps")
    axes[1].set(title="different right orders in 64 samples", xlabel="pass@1")
    axes[2].set(title="pass@64", xlabel="pass@1")
    legend_below(made, axes[0], ncols=6, fontsize=8, columnspacing=1.2)
    panel_labels(axes)
    return made
