"""Pictures of the results of lesson 27."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toykit.lessons.base import Results
from toykit.lessons.drawing import draw_runs
from toykit.lessons.l27_ace.claims import lead
from toykit.lessons.l27_ace.exact import KS
from toykit.plots import Role, curve_with_interval, figure, legend_below, panel_labels, role
from toykit.plots.style import CYCLE

LOOKS: dict[str, Role] = {
    "reference": role("prior"),
    "ACE": CYCLE[0],
    "GRPO": CYCLE[1],
    "uniform": CYCLE[2],
    "ReLU": CYCLE[3],
    "ACE 1": CYCLE[5],
}
WAYS = {  # of the spurious winner: (label, look)
    "GRPO": ("GRPO", "GRPO"),
    "uniform 2": ("uniform, u = 2", "uniform"),
    "ACE 1": ("ACE, α = 1", "ACE 1"),
    "ACE 2": ("ACE, α = 2", "ACE"),
    "ReLU 2": ("ReLU, α = 2", "ReLU"),
}
RULES = {"ACE": "ACE, α = 2", "uniform": "uniform, u = 1.5", "ReLU": "ReLU, α = 2"}


def winner_figure(results: Results) -> Figure:
    """What is left to the spurious winner, and how the other wrong answers share, at each level of success."""
    made, (left, right) = figure(2, height=3.1, width=9.2)
    found = results["spurious"]
    for name, (label, look) in WAYS.items():
        how = LOOKS[look]
        for ax, of in ((left, "share"), (right, "entropy")):
            style = {"color": how.color, "linestyle": how.linestyle, "marker": how.marker, "markevery": 6}
            ax.plot(found["levels"], found[of][name], label=label, **style)
    left.set(title="the spurious answer", xlabel="success", ylabel="probability", ylim=(0, 0.85))
    right.set(title="how the wrong answers share", xlabel="success", ylabel="entropy, nats")
    left.legend(loc="upper right")
    panel_labels((left, right))
    return made


def coverage_figure(results: Results) -> Figure:
    """pass@k less GRPO's after the same number of steps, with and without a faulty verifier before."""
    made, (left, right) = figure(2, height=3.1, width=9.2)
    for name, label in RULES.items():
        _draw_lead(left, results, name, label, "d = 16")
    _draw_lead(right, results, "ACE", "ACE, α = 1", "control")
    left.set(title="after a faulty verifier", ylabel="pass@k less GRPO's")
    right.set(title="without one")
    for ax in (left, right):
        ax.axhline(0, color=LOOKS["GRPO"].color, linewidth=0.9)
        ax.set(xlabel="k", ylim=(-0.05, 0.065))
        ax.set_xticks(range(0, len(KS), 2), [str(k) for k in KS[::2]])
        ax.legend(loc="upper right")
    panel_labels((left, right))
    return made


def _draw_lead(ax: Axes, results: Results, arm: str, label: str, where: str) -> None:
    by_k = [lead(results, k, arm=arm, where=where) for k in KS]
    curve_with_interval(ax, range(len(KS)), list(zip(*by_k, strict=True)), label, LOOKS[arm], markers=9)


def training_figure(results: Results, live: Results | None = None) -> Figure:
    """The spurious answers and pass@16 after the faulty verifier, and pass@64 without it; `live` as crosses."""
    made, axes = figure(3, height=3.3, width=9.6)
    labels = {"GRPO": "GRPO", **RULES, "ACE 1": "ACE, α = 1"}
    for name in ("GRPO", *RULES):
        for ax, of in zip(axes, ("spurious", "train pass@16"), strict=False):
            draw_runs(ax, results, name, of, LOOKS[name], live, label=labels[name])
    for name in ("GRPO", "ACE", "ACE 1"):
        draw_runs(axes[2], results, f"{name}, never misled", "train pass@64", LOOKS[name], live, label=labels[name])
    axes[0].set(title="misled: the spurious answer", ylabel="probability")
    axes[1].set(title="misled: pass@16")
    axes[2].set(title="never misled: pass@64")
    for ax in axes:
        ax.set(xlabel="training steps")
    legend_below(made, axes, ncols=5, fontsize=8)
    panel_labels(axes)
    return made
