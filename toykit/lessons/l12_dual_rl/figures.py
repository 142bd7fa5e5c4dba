"""Pictures of the results of lesson 12."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from toykit.control import Chi2Maximum, LogSumExp
from toykit.lessons.base import Results
from toykit.lessons.drawing import draw_runs
from toykit.lessons.l12_dual_rl.exact import RHO, Q, total_variation
from toykit.objectives import ChiSquare, Gumbel, TotalVariation
from toykit.objectives.dual_values import LossOfV
from toykit.plots import Role, curve_with_interval, figure, panel_labels, role
from toykit.plots.style import CYCLE

LOOKS: dict[str, Role] = {
    "TV": CYCLE[0],
    "chi2": CYCLE[2],
    "XQL": CYCLE[1],
    "XQL, scaled": CYCLE[4],
    "IQL": CYCLE[3],
    "BC": role("prior"),
    "filtered": CYCLE[6],
    "DPO": CYCLE[5],
}
WAYS: dict[str, Role] = {
    "expert": role("exact"),
    "ReCOIL": CYCLE[0],
    "BC, expert": CYCLE[2],
    "discriminator": CYCLE[1],
    "BC, all": role("prior"),
}
DIVERGENCES = {"chi2_reverse": ("chi2", CYCLE[2]), "reverse_kl": ("KL", CYCLE[1])}
V = torch.linspace(-0.6, 3.8, 221, dtype=torch.float64)


def losses_of(level: float, temperature: float) -> dict[str, tuple[Tensor, float]]:
    """The mean loss [221] of every V of the grid less its least value, and the V where it is least, by name.

    That of XQL is times its temperature, which puts it in units of value as the two others.
    """
    losses: dict[str, tuple[LossOfV, float, float]] = {
        "TV": (TotalVariation(level), 1.0, float(total_variation(level, RHO)(Q))),
        "chi2": (ChiSquare(level), 1.0, float(Chi2Maximum(level, RHO)(Q))),
        "XQL": (Gumbel(temperature, clip=None), temperature, float(LogSumExp(temperature, RHO)(Q))),
    }
    made = {}
    for name, (loss, unit, best) in losses.items():
        mean = unit * (RHO * loss(Q - V[:, None])).sum(-1)
        least = unit * float((RHO * loss(Q - best)).sum())
        made[name] = mean - least, best
    return made


def draw_losses(ax: Axes, level: float, temperature: float) -> None:
    """The data's law as bars at the values of its actions, three losses over V, and where each is least."""
    ax.bar(Q.numpy(), RHO.numpy(), width=0.22, color="#C9C9C9", edgecolor="#777777", label="share of the data")
    for i, (name, (loss, best)) in enumerate(losses_of(level, temperature).items()):
        how = LOOKS[name]
        ax.plot(V.numpy(), loss.numpy(), color=how.color, linestyle=how.linestyle, label=name)
        ax.plot([best], [-0.055 - 0.05 * i], how.marker, color=how.color, markersize=7, clip_on=False)
    ax.set(xlabel="V, and the value Q of each action", ylabel="loss above its least", xlim=(-0.6, 3.8))
    ax.set(ylim=(-0.2, 1.6))
    ax.legend(fontsize=8, loc="upper right", ncols=2, columnspacing=1, frameon=True, framealpha=1, edgecolor="none")


def losses_figure(results: Results) -> Figure:
    """Three losses over V, and where they are least by level (TV, chi-square) and by temperature (XQL)."""
    made, (left, right) = figure(2, height=3.4, width=9.4)
    draw_losses(left, 0.8, 0.5)
    left.set(title="level 0.8, temperature 0.5")
    found = results["maximum"]
    levels = (0.3, 0.5, 0.65, 0.8, 0.95)
    for name, label, how, at in (
        ("TV", "TV", LOOKS["TV"], levels[2:]),
        ("chi2", "chi2", LOOKS["chi2"], levels),
        ("chi2, conjugate", "chi2, its own conjugate", CYCLE[5], (0.8, 0.95, 0.99, 0.999)),
    ):
        size = 10 if name == "TV" else 6  # chi-square's lie on it
        right.plot(
            at,
            found[name],
            how.marker,
            color=how.color,
            linestyle=how.linestyle,
            markersize=size,
            mfc="none",
            label=label,
        )
    how = LOOKS["XQL"]
    cold = [1 / (1 + alpha) for alpha in (2.0, 1.0, 0.5, 0.1)]
    right.plot(cold, found["XQL"], color=how.color, linestyle=how.linestyle, marker=how.marker, label="XQL")
    right.axhline(3, color="#444444", linewidth=0.8)
    right.text(0.28, 3.08, "largest Q of the data", fontsize=8, color="#444444")
    right.set(title="where the loss is least", xlabel="level; XQL: 1 / (1 + temperature)", ylabel="V", ylim=(-2, 5.4))
    right.legend(fontsize=8, loc="lower right")
    panel_labels((left, right))
    return made


def pairs_figure(results: Results) -> Figure:
    """How many pairs each divergence leaves out, and the return of the best visitation, by alpha."""
    made, (left, right) = figure(2, height=3.1, width=8.8)
    found = results["alphas"]
    for name, (label, how) in DIVERGENCES.items():
        for ax, what in ((left, "zeros"), (right, "return")):
            y = found[what][name]
            ax.plot(found["alpha"], y, color=how.color, linestyle=how.linestyle, marker=how.marker, label=label)
    left.set(title="pairs that are switched off, of 15", xscale="log", xlabel="alpha", ylabel="pairs", ylim=(-0.6, 11))
    right.set(title="return of the best visitation", xscale="log", xlabel="alpha", ylabel="E[r]")
    left.set_yticks(range(0, 11, 2))
    left.legend(fontsize=9)
    panel_labels((left, right))
    return made


def training_figure(results: Results, live: Results | None = None) -> Figure:
    """Success of the arms; of those with values the largest gradient norm so far and |Q|; `live` results as crosses."""
    made, axes = figure(3, height=3.6, width=9.8)
    panels = {"success": "success", "gradient norm": "largest gradient norm", "largest Q": "largest |Q|"}
    for ax, (name, title) in zip(axes, panels.items(), strict=True):
        for arm, found in results["runs"].items():
            if name == "success" or "V" in found:
                draw_runs(ax, results, arm, name, LOOKS[arm], live)
        ax.set(title=title, xlabel="training steps")
    axes[0].set(ylabel="P(right), held out", ylim=(0, None))
    axes[1].set(ylim=(0, None))
    axes[2].axhline(1, color="#444444", linewidth=0.8)
    made.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=8, fontsize=8.5)
    panel_labels(axes)
    return made


def grid_figure(results: Results) -> Figure:
    """How often the goal is reached by the share of the expert's moves that the other data hold."""
    made, ax = figure(height=3.4, width=6.2)
    found = results["grid"]
    at = np.arange(len(found["covered"]))
    for name, how in WAYS.items():
        curve_with_interval(ax, at, found["success"][name], name, how)
    ax.set_xticks(at, [f"{covered:g}" for covered in found["covered"]])
    ax.set(xlabel="share of the expert's moves that the other data keep", ylabel="P(goal within 12 moves)")
    ax.set(ylim=(-0.03, 1.05))
    made.legend(*ax.get_legend_handles_labels(), loc="outside right center", fontsize=9)
    return made
