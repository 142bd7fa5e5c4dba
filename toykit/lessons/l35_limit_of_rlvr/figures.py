"""The figures of lesson 35: a picture of each rung's results."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toykit.lessons.base import Results
from toykit.lessons.l35_limit_of_rlvr.explorer import LOOKS
from toykit.lessons.l35_limit_of_rlvr.sampled import ALGORITHMS
from toykit.plots import curve_with_interval, figure, panel_labels
from toykit.plots.style import BLUE, CYCLE, PURPLE, SKY, Role

AGES = {50: Role(CYCLE[4].color, ":", "v"), 200: Role(PURPLE, "--", "s"), 2000: LOOKS["RL"], 800: LOOKS["RL"]}
LEAST = 1e-9  # where the axis of probabilities begins
HOT = Role(SKY, (0, (2, 1)), "X")


def crossing_figure(results: Results) -> Figure:
    """pass@k of the base, of RL as it goes on and of the distilled policy; and RL where nothing is shared."""
    made, (left, right) = figure(2, height=3.3, sharey=True)
    steps = results["steps"]

    def curves(ax: Axes, runs: Any, at: list[int], listed: list[int]) -> None:
        passed(ax, results["ks"], runs[listed.index(0)], "base", LOOKS["base"])
        for step in at:
            passed(ax, results["ks"], runs[listed.index(step)], f"RL, step {step:,}", AGES[step])

    curves(left, results["missed"]["RL"], [50, 200, 2000], steps)
    at = steps.index(800)
    passed(left, results["ks"], results["missed"]["distilled"][at], "distilled, step 800", LOOKS["distilled"])
    curves(right, results["orthogonal"]["missed"], [50, 200, 800], results["orthogonal"]["steps"])
    left.set(title="prompts share parameters", ylabel="pass@k")
    right.set(title="control: nothing is shared")
    for ax in (left, right):
        k_axis(ax, results["ks"])
        ax.legend(loc="lower right")
    panel_labels((left, right))
    return made


def passed(ax: Axes, ks: list[int], missed: Any, label: str, how: Role) -> None:
    """pass@k of runs `missed` [seeds, K], their mean and interval."""
    curve_with_interval(ax, ks, 1 - np.asarray(missed), label, how, markers=6)


def k_axis(ax: Axes, ks: list[int]) -> None:
    ax.set_xscale("log", base=2)
    shown = [k for k in ks if k in (1, 4, 16, 64, 256, 1024)]
    ax.set_xticks(shown, [f"{k:,}" for k in shown])
    ax.set(xlabel="tries k", ylim=(0, 1.04), xlim=(0.85, 1.18 * ks[-1]))


def lost_figure(results: Results) -> Figure:
    """The 64 answers to one problem that RL has lost, under the three policies; the right ones are black."""
    found = results["lost"]
    made, axes = figure(3, height=2.6, width=9.2, sharey=True)
    right = np.isin(np.arange(64), found["right"])
    for ax, (name, law) in zip(axes, found["laws"].items(), strict=True):
        p, how = np.array(law), LOOKS[name]
        for among, color, alpha in ((~right, how.color, 0.55), (right, "black", 1.0)):
            ax.bar(np.flatnonzero(among), p[among], 1.0, bottom=LEAST, color=color, alpha=alpha, linewidth=0)
        ax.set(title=f"{name}: right with {p[right].sum():.2g}", xlabel="the 64 answers", xticks=[], yscale="log")
        ax.set(ylim=(LEAST, 1.5), yticks=[1e-8, 1e-6, 1e-4, 1e-2, 1])
    axes[0].set_ylabel("probability")
    panel_labels(axes)
    return made


BOXES = {
    "base(base)": ("of the base,\nunder the base", "base"),
    "base(RL)": ("of RL,\nunder the base", "RL"),
    "RL(RL)": ("of RL,\nunder RL", "RL"),
    "base(right)": ("right ones,\nunder the base", "distilled"),
    "base(distilled)": ("distilled,\nunder the base", "distilled"),
}


def perplexity_figure(results: Results) -> Figure:
    """Box plots of the perplexity of whose answers under which model, over prompts and seeds."""
    made, ax = figure(height=3.0, width=8.5)
    found = results["perplexity"]["prompt"]
    each = [list(chain.from_iterable(found[name])) for name in BOXES]
    mean = {"marker": "D", "markerfacecolor": "white", "markeredgecolor": "black", "markersize": 6}
    looks: Any = {"medianprops": {"color": "black"}, "meanprops": mean, "flierprops": {"markersize": 3}}
    drawn = ax.boxplot(each, widths=0.5, patch_artist=True, showmeans=True, **looks)
    for box, (_, who) in zip(drawn["boxes"], BOXES.values(), strict=True):
        box.set(facecolor=LOOKS[who].color, alpha=0.55, hatch=LOOKS[who].hatch)
    ax.set_xticks(range(1, len(BOXES) + 1), [label for label, _ in BOXES.values()])
    ax.axhline(4, color="black", linewidth=0.8, linestyle=":")
    ax.annotate("guessing: 4", (0, 4), (4, 4), ax.get_yaxis_transform(), "offset points")
    ax.set(title="perplexity of answers, by prompt (mean: white diamond)", ylabel="perplexity", ylim=(0.9, None))
    ax.grid(False, axis="x")
    return made


def estimator_figure(results: Results) -> Figure:
    """The two estimates of pass@k from 64 samples: their means, and their standard deviations."""
    found = results["estimator"]["spread"]
    made, (left, right) = figure(2, height=2.8)
    left.plot(found["ks"], found["exact"], "o-", color="black", label="exact")
    left.plot(found["ks"], found["unbiased"], "s--", color=BLUE, label="unbiased, mean", markersize=8, fillstyle="none")
    left.plot(found["ks"], found["plug_in"], "v:", color=LOOKS["RL"].color, label="plug-in, mean")
    right.plot(found["ks"], found["unbiased_sd"], "s--", color=BLUE, label="unbiased, all 64 samples")
    right.plot(found["ks"], found["block_sd"], "D-.", color=PURPLE, label="one block of k samples")
    left.set(title=f"one problem, p = {found['p']:g}, n = {found['n']}", ylabel="pass@k")
    right.set(title="standard deviation of the estimate", ylim=(0, 0.6))
    for ax in (left, right):
        ax.set_xscale("log", base=2)
        ax.set_xticks(found["ks"], [str(k) for k in found["ks"]])
        ax.set_xlabel("k")
    left.legend(loc="upper left")
    right.legend(loc="upper left")
    panel_labels((left, right))
    return made


def sampled_figure(results: Results) -> Figure:
    """pass@k at the end of training on train and on held-out prompts, and each algorithm's gap."""
    made, axes = figure(3, height=3.2, width=9.4, widths=(1.25, 1.25, 1))
    ks = results["ks"]
    for ax, split in zip(axes, ("train", "test"), strict=False):
        base = np.array([[results["base"][f"{split} missed {k}"] for k in ks]])
        passed(ax, ks, base, "base", LOOKS["base"])
        passed(ax, ks, at_end(results, "GRPO", f"{split} missed"), "GRPO", LOOKS["RL"])
        if split == "train":
            passed(ax, ks, at_end(results, "GRPO", "hot missed"), "GRPO, heated", HOT)
        passed(ax, ks, at_end(results, "distilled", f"{split} missed"), "distilled", LOOKS["distilled"])
        k_axis(ax, ks)
    axes[0].set(title="train prompts", ylabel="pass@k")
    axes[1].set(title="held-out prompts")
    axes[0].legend(loc="lower right")
    _gaps(axes[2], results)
    panel_labels(axes)
    return made


def at_end(results: Results, method: str, figure_name: str) -> np.ndarray:
    """A curve [seeds, K] at the last stop."""
    runs = results["runs"][method]
    return np.array([[path[-1] for path in runs[f"{figure_name} {k}"]] for k in results["ks"]]).T


def _gaps(ax: Axes, results: Results) -> None:
    """Each algorithm's gap, one dot a seed, and its mean."""
    for i, name in enumerate(reversed(ALGORITHMS)):
        gaps = [path[-1] for path in results["runs"][name]["gap"]]
        ax.plot(gaps, [i] * len(gaps), "o", color=LOOKS["RL"].color, alpha=0.6)
        ax.plot(sum(gaps) / len(gaps), i, "|", color="black", markersize=14, markeredgewidth=2)
    ax.set_yticks(range(len(ALGORITHMS)), list(reversed(ALGORITHMS)))
    ax.set(title="gap", xlabel="base pass@256 − RL pass@1", xlim=(0, 1))
    ax.grid(False, axis="y")
