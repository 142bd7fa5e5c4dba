"""Pictures of the results of lesson 38."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toykit.lessons.base import Results
from toykit.lessons.drawing import draw_runs
from toykit.lessons.l38_rl_plus import exact, sampled
from toykit.plots import Role, curve_with_interval, figure, legend_below, panel_labels, role
from toykit.plots.style import CYCLE

LOOKS: dict[str, Role] = {
    "RL-PLUS": CYCLE[0],
    "GRPO": CYCLE[1],
    "RL-PLUS, 1/V": CYCLE[2],
    "LUFFY": CYCLE[3],
    "SFT": CYCLE[4],
    "GRPO + SFT": CYCLE[5],
    "off-policy": CYCLE[7],
    "base": role("prior"),
}


def rare_figure(results: Results) -> Figure:
    """Steps until a path is found, by its length and by its tokens' probability, and pass@k of prompts that share."""
    made, (first, second, third) = figure(3, height=3.4, width=9.8)
    found = results["scaling"]
    for name in ("GRPO", "off-policy", "LUFFY", "RL-PLUS", "RL-PLUS, 1/V", "SFT"):
        how = LOOKS[name]
        style = {"color": how.color, "linestyle": how.linestyle, "marker": how.marker, "markersize": 4, "label": name}
        steps = [s if s > 0 else np.nan for s in found["length"][name]]
        first.plot(found["lengths"], steps, **style)
        second.plot([1 / p for p in found["tokens"]][: len(found["token"][name])], found["token"][name], **style)
    for ax in (first, second):
        ax.set(yscale="log", ylim=(5, 30_000))
    first.set_xticks(found["lengths"])
    first.set(title="$p_t$ = 0.1", xlabel="tokens of the path", ylabel="steps until found")
    second.set(title="three tokens", xlabel="1 / $p_t$", xscale="log")
    for name in ("base", "GRPO", "LUFFY", "RL-PLUS", "RL-PLUS, 1/V", "SFT"):
        _draw_curve(third, exact.KS, results["sharing"]["pass"][name], name)
    third.set(title="24 prompts share weights", ylabel="pass@k")
    legend_below(made, (first, second, third), ncols=7, fontsize=8)
    panel_labels((first, second, third))
    return made


def training_figure(results: Results, live: Results | None = None) -> Figure:
    """pass@1, the probability of rare right operators, and the entropy over training; `live` results as crosses."""
    made, axes = figure(3, height=3.4, width=9.8)
    panels = {"train pass@1": "pass@1", "train rare operators": "right operators, rare at first", "entropy": "entropy"}
    for ax, (name, title) in zip(axes, panels.items(), strict=True):
        for arm in results["runs"]:
            draw_runs(ax, results, arm, name, LOOKS[arm], live)
        ax.set(title=title, xlabel="training steps")
    axes[0].set(ylabel="mean over training prompts")
    axes[2].set(ylabel="nats", ylim=(0, None))
    legend_below(made, axes, ncols=7, fontsize=8)
    panel_labels(axes)
    return made


def coverage_figure(results: Results) -> Figure:
    """pass@k at the last stop, of training and of held-out prompts, beside the base's."""
    made, axes = figure(2, height=3.4, width=9.2)
    for ax, (split, title) in zip(axes, (("train", "training prompts"), ("test", "held out")), strict=True):
        runs = {arm: [found[f"{split} pass@{k}"] for k in sampled.KS] for arm, found in results["runs"].items()}
        first = next(iter(runs.values()))
        _draw_curve(ax, sampled.KS, [[paths[0][0] for paths in first]], "base")
        for arm, by_k in runs.items():
            _draw_curve(ax, sampled.KS, [[p[-1] for p in seed] for seed in zip(*by_k, strict=True)], arm)
        ax.set(title=title, ylim=(0, 1.02))
    axes[0].set(ylabel="pass@k at the end")
    legend_below(made, axes, ncols=7, fontsize=8)
    panel_labels(axes)
    return made


def _draw_curve(ax: Axes, ks: tuple[int, ...], rows: list[list[float]], name: str) -> None:
    curve_with_interval(ax, range(len(ks)), rows, name, LOOKS[name], markers=len(ks))
    ax.set_xticks(range(len(ks)), [str(k) for k in ks])
    ax.set(xlabel="k")
