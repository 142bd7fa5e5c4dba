"""Pictures of the results of lesson 29."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toykit.lessons.base import Results
from toykit.lessons.drawing import draw_runs
from toykit.lessons.l29_pessimism.offline_mdp import SHARES
from toykit.plots import Role, curve_with_interval, figure, panel_labels
from toykit.plots.style import CYCLE

LOOKS: dict[str, Role] = {"BC": CYCLE[1], "naive": CYCLE[2], "LCB": CYCLE[0]}
RULES = {"most played": LOOKS["BC"], "empirical best": LOOKS["naive"], "LCB": LOOKS["LCB"]}
FLOOR = 1e-7  # smaller expected losses are drawn on it
ON_GPT = {
    "BC": LOOKS["BC"],
    "c = 0": LOOKS["naive"],
    "c = 1": LOOKS["LCB"],
    "c = 4": CYCLE[3],
    "counts, LCB": CYCLE[4],
}
ON_LLM = {"mean": LOOKS["naive"], "mean - std": LOOKS["LCB"], "true reward": CYCLE[3]}


def bandit_figure(results: Results) -> Figure:
    """Two arms: expected loss against N for three ways of logging them."""
    found = results["bandit"]
    made, axes = figure(3, height=3.2, width=9.8)
    titles = {
        "nearly expert": "2 of N pulls are bad",
        "C* = 1.25": "80 % of pulls are good",
        "uniform": "half of them good",
    }
    for ax, (kind, title) in zip(axes, titles.items(), strict=True):
        for name, how in RULES.items():
            lost = np.maximum(found[kind][name], FLOOR)
            ax.plot(found["sizes"], lost, linestyle=how.linestyle, marker=how.marker, color=how.color, label=name)
        _log_axes(ax, found["sizes"])
        ax.set(title=title, xlabel="pulls N", ylim=(5e-8, 1))
    axes[0].set(ylabel="expected loss")
    made.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    panel_labels(axes)
    return made


def mdp_figure(results: Results) -> Figure:
    """The MDP: the loss of three methods against N, from nearly expert to uniform data."""
    found = results["mdp"]
    made, axes = figure(3, height=3.2, width=9.8)
    for ax, share, coverage in zip(axes, SHARES, found["coverage"], strict=True):
        for name, how in LOOKS.items():
            paths = np.maximum(found["runs"][f"{share:g}"][name], 0.0).T
            curve_with_interval(ax, found["sizes"], paths, name, how, markers=len(found["sizes"]))
        ax.set_xscale("log")
        ax.set_xticks(found["sizes"], [str(n) for n in found["sizes"]])
        ax.minorticks_off()
        ax.set(title=f"{share:.0%} chance, C* = {coverage:.2f}", xlabel="transitions N", ylim=(-0.1, 3.2))
    axes[0].set(ylabel="loss of the policy")
    made.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    panel_labels(axes)
    return made


def _log_axes(ax: Axes, sizes: list[int]) -> None:
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xticks(sizes, [str(n) for n in sizes])
    ax.minorticks_off()


def logged_figure(results: Results, live: Results | None = None) -> Figure:
    """Success against the share of chance, success against c at two shares, and the spread of the heads; `live` results
    as crosses."""
    made, (first, second, third) = figure(3, height=3.5, width=9.8, widths=(1.25, 1, 1))
    shares = results["shares"]
    for name, how in ON_GPT.items():
        line = curve_with_interval(first, shares, results["success"][name], name, how, markers=len(shares))
        if live is not None and name in live["success"]:
            now = live["success"][name][0]
            first.plot(live["shares"], now, "x", color=line.get_color(), markersize=6, markeredgewidth=1.6)
    first.set(title="right completion chosen", xlabel="share of chance", ylim=(0, 1.04), ylabel="share of prompts")
    made.legend(*first.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=9)
    for share, how in zip((shares[1], shares[-1]), (CYCLE[5], CYCLE[6]), strict=True):
        place = shares.index(share)
        paths = np.array([[p[place] for p in results["success"][f"c = {c:g}"]] for c in results["scales"]]).T
        curve_with_interval(second, results["scales"], paths, f"{share:.0%} chance", how, markers=9)
    second.set(title="how much pessimism", xlabel="c", ylim=(0, 1.04))
    second.legend(loc="lower left", fontsize=8)
    for kind, how in zip(("right", "wrong"), (CYCLE[0], CYCLE[3]), strict=True):
        curve_with_interval(third, shares, results["spread"][kind], f"{kind} ones", how, markers=len(shares))
    third.set(title="std of the heads", xlabel="share of chance", ylim=(0, None))
    third.legend(loc="lower right", fontsize=8)
    panel_labels((first, second, third))
    return made


def over_optimisation_figure(results: Results) -> Figure:
    """Success against the KL to the base on the way, success by steps, and the best of n."""
    made, (first, second, third) = figure(3, height=3.4, width=9.8)
    for arm, how in ON_LLM.items():
        found = results["runs"][arm]
        x, y = (np.mean(found[name], axis=0) for name in ("kl", "success"))
        first.plot(x, y, linestyle=how.linestyle, marker=how.marker, color=how.color)
        draw_runs(second, results, arm, "success", how)
    first.set(title="on the way", xlabel="KL to the base, nats", ylabel="success")
    second.set(title="in training", xlabel="training steps")
    best = results["best_of_n"]
    for arm in ("mean", "mean - std"):
        curve_with_interval(third, best["n"], best[arm], arm, ON_LLM[arm], markers=len(best["n"]))
    third.set_xscale("log", base=2)
    third.set(title="best of n", xlabel="n")
    made.legend(*second.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    panel_labels((first, second, third))
    return made
