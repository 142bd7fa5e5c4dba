"""Pictures of the results of lesson 54."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toykit.lessons.base import Results
from toykit.lessons.drawing import draw_runs
from toykit.lessons.l54_mssr.exact import drift
from toykit.plots import Role, figure, legend_below, panel_labels
from toykit.plots.style import CYCLE

LOOKS: dict[str, Role] = {
    "MSSR": CYCLE[0],
    "GRPO": CYCLE[1],
    "MVSR": CYCLE[2],
    "MSSR, law": CYCLE[3],
    "MVSR, bonus": CYCLE[4],
    "REINFORCE++": CYCLE[5],
}
COMPLETIONS = 64  # a step of the gpt rung


def exact_figure(results: Results) -> Figure:
    """What the sampled token's term does to the entropy of a law, rho against the KL, and sixteen bandits."""
    made, (first, second, third) = figure(3, height=3.2, width=9.8)
    for answers, how in ((6, CYCLE[0]), (64, CYCLE[2])):
        top, change = _one_and_others(answers)
        first.plot(top, change, color=how.color, linestyle=how.linestyle, label=f"{answers} tokens")
    first.axhline(0, color=LOOKS["MSSR, law"].color, linewidth=0.9, label="the law's term")
    first.set(
        title="what the term does to H", xlabel="probability of one token", ylabel="dH/dt, α = 1", ylim=(-0.09, 0.045)
    )
    first.legend(fontsize=8, loc="upper left")
    for rule, how in (("released", CYCLE[0]), ("monotone", CYCLE[2])):
        second.plot(results["rho"]["kl"], results["rho"][rule], color=how.color, linestyle=how.linestyle, label=rule)
    second.set(title="how much is remembered", xlabel="KL to the reference", ylabel="ρ", ylim=(0.87, 0.965))
    second.legend(fontsize=8)
    for rule, found in results["bandits"]["0"].items():
        how = LOOKS[rule]
        third.plot(found["path"], color=how.color, linestyle=how.linestyle, marker=how.marker, markevery=40, label=rule)
    third.set(title="sixteen bandits", xlabel="steps of 16 completions", ylabel="accuracy")
    third.legend(fontsize=8)
    panel_labels((first, second, third))
    return made


def _one_and_others(answers: int) -> tuple[list[float], list[float]]:
    """dH/dt where one token has the given probability and all others share the rest."""
    top = torch.linspace(0.005, 0.995, 199, dtype=torch.float64)
    others = ((1 - top) / (answers - 1))[:, None].expand(-1, answers - 1)
    return top.tolist(), drift(torch.cat([top[:, None], others], 1).log()).tolist()


def training_figure(results: Results, live: Results | None = None) -> Figure:
    """Success against completions, and success and entropy at the harsh learning rate; `live` results as crosses."""
    made, axes = figure(3, height=3.4, width=9.8)
    shown, now = _by_completions(results), None if live is None else _by_completions(live)
    for arm, how in LOOKS.items():
        draw_runs(axes[0], shown, arm, "success", how, now)
        if f"{arm}, harsh" in shown["runs"]:
            for ax, name in zip(axes[1:], ("success", "token entropy"), strict=True):
                draw_runs(ax, shown, f"{arm}, harsh", name, how, now, label=arm)
    titles = ("success", "harsh: success", "harsh: entropy per token, nats")
    for ax, title in zip(axes, titles, strict=True):
        ax.set(title=title, xlabel="completions")
        _thousands(ax, shown["stops"][-1])
    legend_below(made, axes[0], ncols=6, fontsize=9)
    panel_labels(axes)
    return made


def _by_completions(results: Results) -> Results:
    return results | {"stops": [COMPLETIONS * stop for stop in results["stops"]]}


def _thousands(ax: Axes, most: int) -> None:
    ax.set_xticks([0, most // 2, most])
