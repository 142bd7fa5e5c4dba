"""Pictures of the results of lesson 24."""

from __future__ import annotations

from matplotlib.figure import Figure

from toykit.lessons.base import Results
from toykit.lessons.drawing import draw_against, draw_runs
from toykit.lessons.l24_rorecomp.sampled import DELAYED, RATES, arm
from toykit.plots import Role, figure, legend_below, panel_labels
from toykit.plots.style import BLACK, CYCLE

LOOKS: dict[str, Role] = {"GRPO": Role(BLACK, "-", "*")}
LOOKS |= dict(zip((*map(arm, RATES), DELAYED), CYCLE, strict=False))
WEIGHTS = {"1": arm(1.0), "cosine": DELAYED, "0.5": arm(0.5), "0": arm(0.0), "0.25": arm(0.2)}


def flow_figure(results: Results) -> Figure:
    """Lengths of right answers on the way to accuracy 0.95, where the choice of two lengths ends, and how it goes."""
    made, (first, second, third) = figure(3, height=3.2, width=9.6)
    for weight, path in results["table"]["path"].items():
        how = LOOKS[WEIGHTS[weight]]
        look = {"color": how.color, "linestyle": how.linestyle, "marker": how.marker, "markevery": 6}
        first.plot(path["accuracy"], path["right"], label=weight, **look)
    first.set(title="length is useless", xlabel="accuracy", ylabel="E[L | right]", ylim=(1.4, 2.6))
    first.legend(fontsize=8, title="weight on the rest", title_fontsize=8, loc="lower left")
    found = results["branch"]
    for (pair, ends), how in zip(found["curves"].items(), CYCLE[3:], strict=False):
        look = {"color": how.color, "linestyle": how.linestyle, "marker": how.marker, "markevery": 4}
        second.plot(found["weights"], ends, label=pair, **look)
    second.set(title="length is useful: the end", xlabel="weight on the rest", ylabel="P(long)", ylim=(-0.03, 1.03))
    second.legend(fontsize=8, title="success of short, long", title_fontsize=8, loc="lower right")
    for weight, path in zip(("1", "0.5", "0.25", "0"), found["path"], strict=True):
        how = LOOKS[WEIGHTS[weight]]
        look = {"color": how.color, "linestyle": how.linestyle, "marker": how.marker, "markevery": 6}
        third.plot(found["steps"], path, label=weight, **look)
    third.set(title="0.5 and 0.7, on the way", xlabel="steps", ylabel="P(long)", ylim=(-0.03, 1.03))
    third.legend(fontsize=8, title="weight on the rest", title_fontsize=8, loc="center right", bbox_to_anchor=(1, 0.47))
    panel_labels((first, second, third))
    return made


def training_figure(results: Results, live: Results | None = None) -> Figure:
    """Mean length and success over training, and against each other; `live` results as crosses."""
    made, axes = figure(3, height=3.5, width=9.6)
    runs = results["runs"]
    methods = [method for method in LOOKS if method in runs]  # a record has them by the alphabet
    for ax, name in zip(axes, ("length", "success"), strict=False):
        for method in methods:
            draw_runs(ax, results, method, name, LOOKS[method], live)
        ax.set(title=f"held-out {name}", xlabel="training steps")
    axes[0].set(ylabel="tokens")
    for method in methods:
        draw_against(axes[2], results, method, "length", "success", LOOKS[method])
    axes[2].set(title="success against length", xlabel="tokens")
    legend_below(made, axes[0], ncols=6, fontsize=9)
    panel_labels(axes)
    return made
