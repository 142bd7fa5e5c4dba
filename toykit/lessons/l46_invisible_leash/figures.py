"""Pictures of the results of lesson 46."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toykit.diagnostics import detectable
from toykit.lessons.base import Results
from toykit.lessons.drawing import draw_runs
from toykit.plots import Role, curve_with_interval, figure, legend_below, panel_labels, role
from toykit.plots.style import CYCLE

LOOKS: dict[str, Role] = {
    "base": role("prior"),
    "RL": CYCLE[1],
    "SFT": CYCLE[2],
    "tilt": CYCLE[0],
    "GRPO": CYCLE[1],
    "GRPO + KL": CYCLE[0],
    "NSR": CYCLE[3],
    "PSR": CYCLE[4],
}
NAMES = {"RL": "RL", "SFT": "SFT on right answers", "tilt": "tilt of RL's success"}
FLOOR = 1e-8  # probabilities below are drawn there
QUADRANTS = {  # (marker, size) of an answer that is preserved, gained, lost, out
    "kept": ("o", 22),
    "new": ("^", 30),
    "lost": ("X", 30),
    "neither": (".", 18),
}


def flow_figure(results: Results) -> Figure:
    """Two right answers under exact ascent, entropy along two tilts, token and answer entropy of reasoning."""
    made, (first, second, third) = figure(3, height=3.2, width=9.6)
    _draw_winner(first, results)
    _draw_tilts(second, results["entropy"])
    found = results["reasons"]
    for name, how in (("token entropy", CYCLE[3]), ("answer entropy", CYCLE[1]), ("success", CYCLE[0])):
        y = found[name]
        third.plot(y, color=how.color, linestyle=how.linestyle, marker=how.marker, markevery=(5, 80), label=name)
    third.set(title="answer at once, or reason", xlabel="steps", ylabel="nats; share", ylim=(-0.03, 1.75))
    third.legend(fontsize=8, loc="upper right")
    panel_labels((first, second, third))
    return made


def _draw_winner(ax: Axes, results: Results) -> None:
    found = results["winner"]
    steps, path = np.array(found["steps"]), np.array(found["path"])
    kept = steps > 0
    for i, (name, how) in enumerate((("likelier answer", CYCLE[0]), ("other answer", CYCLE[1]))):
        ax.plot(steps[kept], path[kept, i], color=how.color, linestyle=how.linestyle, label=name)
        ax.axhline(found["tilt"][i], color=how.color, linestyle=":", linewidth=1)
    eps = results["metrics"]["eps"]
    ax.axhline(eps, color="#444444", linewidth=0.8)
    ax.annotate("seen in 8,192 samples", (1.2, eps), (0, 3), textcoords="offset points", fontsize=8)
    ax.annotate("tilt", (1.2, found["tilt"][1]), (0, 3), textcoords="offset points", fontsize=8)
    ax.set(title="two right answers", xlabel="steps of exact ascent", ylabel="probability", ylim=(1e-4, 2))
    ax.set(xscale="log", yscale="log")
    ax.legend(fontsize=8, loc="upper right", bbox_to_anchor=(1, 0.93))


def _draw_tilts(ax: Axes, found: Results) -> None:
    for name, label, how in (("rare", "right answers rare", CYCLE[1]), ("usual", "right answer usual", CYCLE[0])):
        ax.plot(found["fine"], found[name]["curve"], color=how.color, linestyle=how.linestyle, label=label)
        ax.axhline(found[name]["base"], color=how.color, linestyle=":", linewidth=1)
        ax.annotate("H[q]", (12, found[name]["base"]), (-2, 3), textcoords="offset points", fontsize=8, ha="right")
    ax.set(title="entropy along the tilt", xlabel="β", ylabel="nats", ylim=(0, 1.75), xlim=(-0.2, 12.2))
    ax.legend(fontsize=8, loc="upper right")


def support_figure(results: Results) -> Figure:
    """Every right answer under the base and after RL, and the net change of support by the k that measures it."""
    made, (left, right) = figure(2, height=3.4, width=9.2)
    found = results["tree"]
    draw_support(left, found["scatter"]["base"], found["scatter"]["RL"], k=1024)
    left.set(title="right answers, before and after RL")
    left.legend(fontsize=8, loc="upper left", ncols=2, columnspacing=0.8, handletextpad=0.2)
    for name, label in NAMES.items():
        curves = [
            [table["NSCR"][seed] for table in found["answers"][name]] for seed in range(len(found["success"]["RL"]))
        ]
        curve_with_interval(right, found["ks"], curves, label, LOOKS[name], markers=5)
    finish_net(right)
    right.legend(fontsize=8, loc="lower left")
    panel_labels((left, right))
    return made


def draw_support(ax: Axes, log_q: Sequence[float], log_pi: Sequence[float], k: int) -> None:
    """Probabilities of right answers before and after, with the cross at which `k` samples show an answer."""
    eps = detectable(k)
    q, pi = (np.clip(np.exp(np.array(x)), FLOOR, 1) for x in (log_q, log_pi))
    place = {"kept": (True, True), "new": (False, True), "lost": (True, False), "neither": (False, False)}
    looks = {"kept": "tilt", "new": "SFT", "lost": "RL", "neither": "base"}
    for name, (before, after) in place.items():
        at = ((q > eps) == before) & ((pi > eps) == after)
        marker, size = QUADRANTS[name]
        label = f"{name} {at.sum()}"
        ax.scatter(q[at], pi[at], s=size, marker=marker, color=LOOKS[looks[name]].color, label=label, linewidths=0)
    ax.axhline(eps, color="#444444", linewidth=0.8)
    ax.axvline(eps, color="#444444", linewidth=0.8)
    ax.plot((FLOOR, 1), (FLOOR, 1), color="#BBBBBB", linewidth=0.8, zorder=0)
    ax.set(xscale="log", yscale="log", xlim=(1e-5, 1), ylim=(FLOOR / 2, 30))
    ax.set(xlabel="under the base", ylabel="after training")


def finish_net(ax: Axes) -> None:
    ax.axhline(0, color="#444444", linewidth=0.8)
    ax.set(title="gained less lost, of all", xlabel="samples k", ylabel="NSCR", ylim=(-1.05, 1.1))
    ax.set_xscale("log", base=2)
    ax.set_xticks([4, 16, 64, 256, 1024, 4096, 16384], ["4", "16", "64", "256", "1,024", "4,096", "16,384"])


def training_figure(results: Results, live: Results | None = None) -> Figure:
    """NSCR and answer entropy over training, and NSCR by k at the end; `live` results are drawn as crosses."""
    made, axes = figure(3, height=3.3, width=9.6)
    runs, ks = results["runs"], results["ks"]
    for arm, found in runs.items():
        draw_runs(axes[0], results, arm, "train NSCR 256", LOOKS[arm], live)
        draw_runs(axes[1], results, arm, "train answer entropy", LOOKS[arm], live)
        ends = [[found[f"train NSCR {k}"][seed][-1] for k in ks] for seed in range(len(found["train success"]))]
        curve_with_interval(axes[2], range(len(ks)), ends, arm, LOOKS[arm], markers=4)
    axes[0].set(title="NSCR at k = 256", xlabel="training steps", ylabel="gained less lost, of all")
    axes[1].set(title="answer entropy", xlabel="training steps", ylabel="nats", ylim=(0, None))
    axes[2].set(title="NSCR at the end, by k", xlabel="samples k")
    axes[2].axhline(0, color="#444444", linewidth=0.8)
    axes[2].set_xticks(range(len(ks)), [f"{k:,}" for k in ks])
    legend_below(made, axes[0], ncols=5, fontsize=9)
    panel_labels(axes)
    return made
