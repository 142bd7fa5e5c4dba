"""Pictures of the results of lesson 26."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toykit.lessons.base import Results
from toykit.lessons.drawing import draw_runs
from toykit.plots import Role, figure, legend_below, panel_labels
from toykit.plots.style import CYCLE

LOOKS: dict[str, Role] = {
    "StableReinforce": CYCLE[0],
    "Reinforce++": CYCLE[1],
    "+ filter": CYCLE[2],
    "+ pre-clip": CYCLE[3],
    "result only": CYCLE[4],
}
FILTERS = {"none": ("no filter", "Reinforce++"), "paper": ("± 3", "StableReinforce"), "code": ("mean ± 3", "+ filter")}
REWARDS = {"result only": "result only", "multiplicative": "StableReinforce", "additive": "+ pre-clip"}


def outliers_figure(results: Results) -> Figure:
    """Success with and without the filters; the loss against the log-ratio; accuracy and consistency by reward."""
    made, axes = figure(3, height=3.3, width=9.8)
    found = results["flow"]
    for name, (label, look) in FILTERS.items():
        _line(axes[0], found["kept"], found["p"][name], label, LOOKS[look])
    axes[0].set(title="a bandit, p = 0.05", xlabel="steps of gradient ascent", ylabel="success")
    axes[0].set(xlim=(-25, 780), ylim=(0, 1.04))
    axes[0].legend(loc="lower right")
    _draw_losses(axes[1], results["overflow"]["curves"])
    _draw_rewards(axes[2], results["gate"])
    panel_labels(axes)
    return made


def _line(ax: Axes, x: list[float], y: list[float], label: str, how: Role) -> None:
    every = max(1, len(x) // 6)
    ax.plot(x, y, color=how.color, linestyle=how.linestyle, marker=how.marker, markevery=every, label=label)


def _draw_losses(ax: Axes, curves: Results) -> None:
    """Where the loss is infinite the line ends, with a cross."""
    for name, look in (("naive", "Reinforce++"), ("pre-clip", "StableReinforce")):
        points = [(x, y) for x, y in zip(curves["log-ratio"], curves[name], strict=True) if y is not None]
        xs, ys = (list(part) for part in zip(*points, strict=True))
        _line(ax, xs, ys, name, LOOKS[look])
        if len(points) < len(curves["log-ratio"]):
            ax.plot(xs[-1], ys[-1], "X", color=LOOKS[look].color, markersize=9)
            ax.annotate("then ∞", (xs[-1], ys[-1]), (-6, -14), textcoords="offset points", fontsize=9, ha="right")
    ax.set(title="one token, A = -1, float32", xlabel="log-ratio", ylabel="loss", yscale="log")
    ax.legend(loc="upper left", bbox_to_anchor=(0, 0.86))


def _draw_rewards(ax: Axes, gate: Results) -> None:
    """Accuracy against consistency on the way from both starts, open circles: one path stays in its own."""
    for start in ("hard", "easy"):
        for name, look in REWARDS.items():
            path = gate[start][name]
            _line(ax, path["consistency"], path["accuracy"], name if start == "hard" else "", LOOKS[look])
        at = (gate[start]["additive"]["consistency"][0], gate[start]["additive"]["accuracy"][0])
        ax.plot(*at, "o", color="#222222", markersize=13, mfc="white", zorder=1)
        ax.annotate(f"{start} start", at, (9, -12), textcoords="offset points", fontsize=9)
    ax.set(title="paths of three rewards", xlabel="consistency", ylabel="accuracy", xlim=(0, 1.04), ylim=(0.2, 1.04))
    ax.legend(loc="lower left")


def training_figure(results: Results, live: Results | None = None) -> Figure:
    """Success, the largest advantage in a batch, and the loss after a usual step; `live` results as crosses."""
    made, axes = figure(3, height=3.4, width=9.8)
    for arm in results["runs"]:
        for ax, panel in zip(axes, ("success", "largest |A|, n = 256", "step, loss"), strict=True):
            draw_runs(ax, results, arm, panel, LOOKS[arm], live)
    axes[0].set(title="success, held out", xlabel="training steps")
    axes[1].set(title="largest |A| of two batches of 256", xlabel="training steps")
    axes[1].axhline(3, color="#888888", linewidth=0.8)
    axes[2].set(title="log10(1 + |loss|) after a step", xlabel="training steps")
    legend_below(made, axes[0], ncols=5, fontsize=8)
    panel_labels(axes)
    return made
