"""The figures of lesson 32: a picture of each rung's results."""

from __future__ import annotations

import math

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toykit.exact import best_of_n, kl
from toykit.lessons.base import Results
from toykit.lessons.l32_alignment_asymptotics.exact import P, R, sums
from toykit.lessons.l32_alignment_asymptotics.explorer import frontier_explorer, frontier_figure, frontier_words
from toykit.lessons.l32_alignment_asymptotics.sampled import ARMS
from toykit.lessons.l32_alignment_asymptotics.vowels import Vowels, frontier_of_chain
from toykit.plots import figure, mean_interval, panel_labels, role
from toykit.plots.style import BLACK, CYCLE, GREY

__all__ = [
    "frontier_explorer",
    "frontier_figure",
    "frontier_words",
    "gap_rows",
    "limit_figure",
    "rungs_figure",
]


def limit_figure(results: Results) -> Figure:
    """Best-of-n of strings of 4 to 256 letters under the frontier, and how its gap and its distance go with m."""
    made, (first, second, third) = figure(3, height=3.0, width=9.4, widths=(1.25, 1, 1))
    alphas = torch.linspace(0, 1.1, 60, dtype=torch.float64)
    tilts = (P.log() + alphas[:, None] * R).log_softmax(-1)
    how = role("posterior")
    first.plot(kl(tilts, P.log().expand_as(tilts)), tilts.exp() @ R, color=how.color, label="tilts (RL)")
    for look, m in zip((CYCLE[1], CYCLE[2], CYCLE[4]), (4, 16, 64), strict=True):
        values, log_p = sums(m)
        law = best_of_n(log_p.expand(40, -1), values, log_n=m * torch.linspace(0, 0.95, 40, dtype=torch.float64))
        spent, gained = law.kl / m, law.log_p.exp() @ values / m
        first.plot(spent, gained, color=look.color, linestyle=look.linestyle, label=f"best-of-n, m = {m}")
    first.set(title="reward against KL, a letter", xlabel="KL a letter, nats", xlim=(0, 0.82), ylim=(0.75, 2.6))
    first.legend(loc="lower right")
    _limits(second, third, results)
    panel_labels((first, second, third))
    return made


def _limits(gaps: Axes, distances: Axes, results: Results) -> None:
    rows, alpha, c = results["table"], results["letter"]["alpha"], results["letter"]["width"]
    m = np.array([row["m"] for row in rows])
    gap, distance = (np.array([row[name] for row in rows]) for name in ("bon", "distance"))
    gap = rows[0]["rl"] - gap
    look = role("policy")
    gaps.plot(m, gap, look.marker, color=look.color, label="RL − best-of-n")
    gaps.plot(m, (0.5 * np.log(m) + 1 + c) / (alpha * m), color=BLACK, linewidth=1.0, label="(½ log m + 1 + c) / αm")
    gaps.set(title="gap in reward a letter", ylim=(3e-3, 1), yscale="log")
    distances.plot(m, distance, look.marker, color=look.color, label="KL(best-of-n, RL)")
    distances.plot(m, 0.5 * np.log(m) + c, color=BLACK, linewidth=1.0, label="½ log m + c")
    distances.plot(m, distance / m, "s", color=GREY, markersize=4, label="a letter")
    distances.set(title="distance to RL's law, nats", ylim=(-0.1, 3.9))
    for ax in (gaps, distances):
        ax.set(xlabel="letters m", xscale="log")
        ax.set_xticks([4, 16, 64, 256, 1024], ["4", "16", "64", "256", "1,024"])
        ax.legend(loc="upper right" if ax is gaps else "upper left")


ARM_LOOKS = {"budget": CYCLE[0], "matched": CYCLE[2]}


def rungs_figure(results: Results, live: Results | None = None) -> Figure:
    """Reward against KL, a letter, at each length: best-of-n, both arms of RL as they train, the source's curves.

    Points are means over the seeds, crosses at RL's ends their 95 % intervals; `live` results are drawn as stars.
    """
    made, axes = figure(len(results["m"]), height=3.2, width=9.4, sharey=True)
    for ax, m in zip(axes, results["m"], strict=True):
        _draw_length(ax, m, results["lengths"][str(m)])
        if live is not None and str(m) in live["lengths"]:
            for arm, run in live["lengths"][str(m)]["runs"].items():
                x, y, color = run["kl"][0], run["reward"][0], ARM_LOOKS[arm].color
                ax.plot(x, y, "*", color=color, markersize=8, markeredgecolor=BLACK, markeredgewidth=0.6)
    axes[0].set(ylabel="vowels a letter")
    axes[0].legend(loc="lower right", fontsize=8)
    panel_labels(axes)
    return made


def _draw_length(ax: Axes, m: int, found: Results) -> None:
    exact = Vowels.of(m)
    alphas = torch.linspace(0, 1.25 * exact.alpha["budget"], 50, dtype=torch.float64)
    tilts = (exact.log_p + alphas[:, None] * exact.counts).log_softmax(-1)
    spent, gained = kl(tilts, exact.log_p.expand_as(tilts)) / m, tilts.exp() @ exact.counts / m
    ax.plot(spent, gained, color=BLACK, linewidth=1.0, label="frontier of the source")
    ax.plot(*frontier_of_chain(alphas), color=GREY, linewidth=1.0, linestyle="--", label="its limit, m → ∞")
    for arm, label in ARMS.items():
        run, look = found["runs"][arm], ARM_LOOKS[arm]
        (x, dx), (y, dy) = (mean_interval(run[name]) for name in ("kl", "reward"))
        ax.plot(x, y, color=look.color, linestyle=":", linewidth=1.0)
        ax.errorbar(x[-1], y[-1], dy[-1], dx[-1], look.marker, color=look.color, markersize=6, capsize=2, label=label)
    look = role("policy")
    x, y = np.array(found["curve"]).mean(0).T
    ax.plot(x, y, look.marker, color=look.color, markersize=4, label="best-of-n")
    ax.annotate(f"n = {found['n']}", (x[-1], y[-1]), (6, -10), textcoords="offset points", color=look.color, fontsize=8)
    ax.set(title=f"{m} letters", xlabel="KL a letter, nats", xlim=(-0.005, 0.23), ylim=(0.44, 0.63))


def gap_rows(results: Results) -> list[dict[str, object]]:
    """Rows for a table: what separates RL and best-of-n at each length, a letter, with 95 % intervals."""
    rows: list[dict[str, object]] = []
    names = {
        "gap": "gap, KL mδ against exp(mδ) draws",
        "ahead": "gap at equal KL",
        "bon_distance": "KL(best-of-n, tilt)",
    }
    for m in results["m"]:
        found = results["lengths"][str(m)]
        row: dict[str, object] = {"letters": m, "n": found["n"]}
        for name, label in names.items():
            mean, half = mean_interval(found[name])
            row[label] = f"{mean:.4f} ± {half:.4f}"
        rows.append(
            row
            | {
                "log n − (n−1)/n": math.log(found["n"]) - 1 + 1 / found["n"],
                "KL of best-of-n": m * float(np.mean(found["kl"])),
            }
        )
    return rows
