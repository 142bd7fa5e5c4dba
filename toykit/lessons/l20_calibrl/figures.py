"""Pictures of the results of lesson 20."""

from __future__ import annotations

from matplotlib.figure import Figure

from toykit.lessons.base import Results
from toykit.lessons.drawing import draw_against, draw_runs
from toykit.plots import Role, bars, figure, legend_below, panel_labels
from toykit.plots.style import CYCLE

LOOKS: dict[str, Role] = {
    "GRPO": CYCLE[0],
    "expert rows": CYCLE[1],
    "as released": CYCLE[2],
    "α = 1": CYCLE[3],
    "α = 0.5": CYCLE[4],
    "α = 0.3": CYCLE[5],
    "α = 0.3, whole answers": CYCLE[6],
}
LEVELS = {"token": "token by token", "sequence_sum": "sums", "sequence_mean": "means"}
SLOPES = (1.0, 0.8, 0.5, 0.3, 0.0)


def gate_figure(results: Results) -> Figure:
    """Entropy of the right answers by slope, which of them are left, and the same on answers of several tokens."""
    made, (first, second, third) = figure(3, height=3.3, width=10.2)
    found = results["table"]
    for weight, how in zip(("0.1", "1", "5"), CYCLE[1:], strict=False):
        path = [found["entropy"][f"{weight}, {slope:g}"] for slope in SLOPES]
        first.plot(SLOPES, path, color=how.color, linestyle=how.linestyle, marker=how.marker, label=f"λ = {weight}")
    first.axhline(found["start"], color="#888888", linewidth=0.8)
    first.annotate("start", (0.98, found["start"] - 0.0015), ha="left", va="top", fontsize=8, color="#666666")
    first.set(title="right answers, six of one token", xlabel="α", ylabel="entropy at accuracy 0.95")
    first.set(xlim=(1.05, -0.05), ylim=(1.3, 1.405))
    first.legend(fontsize=8, loc="upper left")
    laws = {"GRPO": "GRPO", "α = 0.5": "1, 0.5", "α = 0": "1, 0", "imitation": "imitation"}
    roles: dict[str, str | Role] = {name: how for name, how in zip(laws, CYCLE, strict=False)}
    shown = {name: found["law"][column] for name, column in laws.items()}
    bars(second, shown, ("1", "2", "3", "4\n(expert)"), roles=roles)
    second.set(title="which are left (λ = 1)", ylabel="share of the right ones", ylim=(0, 0.72))
    second.legend(fontsize=8, loc="upper left")
    for (level, name), how in zip(LEVELS.items(), CYCLE[1:], strict=False):
        path = results["tree"]["path"][level]
        third.plot(SLOPES, path, color=how.color, linestyle=how.linestyle, marker=how.marker, label=name)
    third.set(title="answers of one and two tokens", xlabel="α", ylabel="entropy at accuracy 0.95", xlim=(1.05, -0.05))
    third.legend(fontsize=8, loc="upper left")
    panel_labels((first, second, third))
    return made


def training_figure(results: Results, live: Results | None = None) -> Figure:
    """Success over training, and the entropies of all and of right completions against it; `live` as crosses."""
    made, axes = figure(3, height=3.4, width=10.2)
    for arm in results["runs"]:
        draw_runs(axes[0], results, arm, "success", LOOKS[arm], live)
    axes[0].set(title="success", xlabel="training steps")
    panels = {"entropy": "entropy of completions", "entropy, right": "of the right ones"}
    for ax, (name, title) in zip(axes[1:], panels.items(), strict=True):
        for arm in results["runs"]:
            draw_against(ax, results, arm, "success", name, LOOKS[arm], live)
        ax.axvline(results["level"], color="#888888", linewidth=0.8)
        ax.set(title=title, xlabel="success", ylabel="nats")
    legend_below(made, axes[0], ncols=4, fontsize=9)
    panel_labels(axes)
    return made
