"""Pictures of the results of lesson 17."""

from __future__ import annotations

from matplotlib.figure import Figure

from toykit.lessons.base import Results
from toykit.lessons.drawing import draw_against, draw_runs
from toykit.plots import Role, figure, legend_below, panel_labels
from toykit.plots.style import CYCLE

LOOKS: dict[str, Role] = {"LUSPO": CYCLE[0], "GSPO": CYCLE[1], "GRPO": CYCLE[2], "GSPO, half clipped": CYCLE[3]}


def flow_figure(results: Results) -> Figure:
    """Lengths under exact flow, the speed of the mean length against success, and the bandit where long is better."""
    made, (first, second, third) = figure(3, height=3.2, width=9.6)
    found = results["table"]
    for name in ("LUSPO", "GSPO"):
        how = LOOKS[name]
        for kind, marker in (("right", "o"), ("wrong", "X")):
            first.plot(
                found["steps"],
                found[name][kind],
                color=how.color,
                linestyle=how.linestyle,
                marker=marker,
                markevery=(0 if kind == "right" else 4, 8),
                label=f"{name}, {kind}",
            )
    first.set(title="mean length by reward", xlabel="steps", ylabel="tokens", ylim=(0.9, 4.6))
    first.legend(fontsize=8, ncols=2, loc="upper left", columnspacing=1)
    for name, rate in results["drift"]["curves"].items():
        how, label = LOOKS[name], name.replace("half clipped", "half of A < 0 clipped")
        second.plot(results["drift"]["p"], rate, color=how.color, linestyle=how.linestyle, label=label)
    second.set(title="does it get longer?", xlabel="success p", ylabel="dE[L]/dt", ylim=(-0.062, 0.062))
    second.legend(fontsize=8, loc="upper right")
    for name, path in results["long"]["path"].items():
        how = LOOKS[name]
        third.plot(path, color=how.color, linestyle=how.linestyle, marker=how.marker, markevery=10, label=name)
    third.axhline(0.8, color="#888888", linewidth=0.8)
    third.set(title="where long is better", xlabel="steps", ylabel="P(long)", ylim=(0, 1.04))
    third.legend(fontsize=8, loc="lower right")
    panel_labels((first, second, third))
    return made


def training_figure(results: Results, live: Results | None = None) -> Figure:
    """Mean lengths of right and wrong completions over training, and against success; `live` results as crosses."""
    made, axes = figure(3, height=3.3, width=9.6)
    runs, panels = results["runs"], {"length, right": "right completions", "length, wrong": "wrong completions"}
    for ax, (name, title) in zip(axes, panels.items(), strict=False):
        for arm in runs:
            draw_runs(ax, results, arm, name, LOOKS[arm], live)
        ax.set(title=title, xlabel="training steps")
    axes[0].set(ylabel="mean length")
    for arm in runs:
        draw_against(axes[2], results, arm, "success", "length, right", LOOKS[arm])
    axes[2].set(title="right completions, on the way", xlabel="success")
    legend_below(made, axes[0], ncols=3, fontsize=9)
    panel_labels(axes)
    return made
