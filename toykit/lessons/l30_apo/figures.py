"""Pictures of the results of lesson 30."""

from __future__ import annotations

from matplotlib.figure import Figure

from toykit.lessons.base import Results
from toykit.lessons.drawing import draw_runs
from toykit.lessons.l30_apo.exact import LNBS
from toykit.plots import Role, curve_with_interval, figure, legend_below, panel_labels
from toykit.plots.style import CYCLE

LOOKS: dict[str, Role] = {
    "no KL": CYCLE[1],
    "KL": CYCLE[4],
    "DADS": CYCLE[2],
    "commented out": CYCLE[3],
    "STCR": CYCLE[5],
    "APO": CYCLE[0],
}
FLOWS = {"no KL": "no KL", "KL": "KL", "DADS": "DADS", "commented out": "DADS, commented out"}
SAMPLED = {
    "GRPO": "no KL",
    "GRPO + KL": "KL",
    "GRPO + KL + DADS": "DADS",
    "GRPO + KL + STCR": "STCR",
    "APO": "APO",
}
PANELS = {
    "hard success": "hard prompts: success",
    "easy success": "easy prompts: success",
    "forgotten": "pretraining text: nats a token",
    "hard KL": "hard prompts: KL(π, base), nats",
    "easy KL": "easy prompts: KL(π, base), nats",
    "hard wrong length": "hard prompts: tokens if wrong",
}


def kl_figure(results: Results) -> Figure:
    """Accuracy on the way from a hard and from an easy start, without a KL and with three."""
    made, axes = figure(2, height=3.0, width=9.2)
    found = results["flow"]
    for i, (ax, start) in enumerate(zip(axes, ("hard: p0 = 0.05", "easy: p0 = 0.8"), strict=True)):
        for arm, label in FLOWS.items():
            curve_with_interval(ax, found["kept"], [found["path"][arm][i]], label, LOOKS[arm], markers=5)
        ax.set(title=start, xlabel="steps of exact ascent", ylabel="accuracy")
    axes[1].legend(loc="lower right")
    panel_labels(axes)
    return made


def lengths_figure(results: Results) -> Figure:
    """Mean lengths of wrong and of right answers at accuracy 0.9 against ln b, from nine starts."""
    made, axes = figure(2, height=2.9, width=9.2)
    places = range(len(LNBS))
    for ax, which in zip(axes, ("wrong", "right"), strict=True):
        curve_with_interval(ax, places, results["random"][which], "eight random starts", LOOKS["KL"])
        curve_with_interval(ax, places, results["lengths"][which], "right ones equally likely", LOOKS["APO"])
        ax.set_xticks(places, ["none", *(f"{lnb:g}" for lnb in LNBS[1:])])
        ax.set(title=f"{which} answers at accuracy 0.9", xlabel="ln b", ylabel="mean tokens", ylim=(1, 5))
    axes[1].legend(loc="upper right")
    panel_labels(axes)
    return made


def training_figure(results: Results, live: Results | None = None) -> Figure:
    """Both kinds of prompts and the pretraining text over the seeds; `live` results are drawn as crosses."""
    made, axes = figure(3, 2, height=2.6, width=9.6)
    panels = list(axes.flat)
    for ax, (name, title) in zip(panels, PANELS.items(), strict=True):
        for arm, look in SAMPLED.items():
            draw_runs(ax, results, arm, name, LOOKS[look], live)
        ax.set(title=title, xlabel="training steps")
    legend_below(made, panels[0], ncols=5, fontsize=8)
    panel_labels(panels)
    return made
