"""Pictures of the results of lesson 23."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toykit.lessons.base import Results
from toykit.lessons.drawing import draw_runs
from toykit.plots import Role, figure, panel_labels
from toykit.plots.style import CYCLE

LOOKS: dict[str, Role] = {
    "active": CYCLE[0],
    "passive": CYCLE[1],
    "no noise": CYCLE[3],
    "no noise, truncated": CYCLE[4],
    "same policy": CYCLE[2],
}
ARM_LOOKS = dict(
    zip(
        ("eps 1", "every pair", "eps 0.5", "eps 2", "passive 0.1", "no noise"),
        (CYCLE[0], CYCLE[1], CYCLE[5], CYCLE[2], CYCLE[4], CYCLE[3]),
        strict=True,
    )
)


Groups = dict[str, dict[str, tuple[list[float], list[float]]]]  # {group: {arm: (queries, regrets), a number a seed}}


def plane(ax: Axes, groups: Groups, sides: tuple[int, ...] = (-1,)) -> None:
    """Regret against queries, both logarithmic, a dot a seed; a line joins the medians of a group's arms, each with its
    last word above (1) or below (-1), in turn as `sides` says, and above for passive ones."""
    for name, arms in groups.items():
        how, middles = LOOKS[name], []
        for queries, regrets in arms.values():
            ax.plot(queries, regrets, how.marker, color=how.color, markersize=3, alpha=0.3)
            middles.append((float(np.median(queries)), float(np.median(regrets))))
        ax.plot(*zip(*middles, strict=True), how.marker, linestyle=how.linestyle, color=how.color, label=name)
        for i, (arm, at) in enumerate(zip(arms, middles, strict=True)):
            up = 1 if name == "passive" else sides[i % len(sides)]
            ax.annotate(
                arm.split()[-1], at, (0, 9 * up), textcoords="offset points", ha="center", va="center", fontsize=8
            )
    ax.set(xscale="log", yscale="log", xlabel="queries", ylabel="regret of 400 episodes")
    ax.legend(loc="upper right", fontsize=8)


def frontier_figure(results: Results) -> Figure:
    """What queries buy: active and passive asking, regret over the episodes, and Thompson sampling."""
    made, (left, middle, right) = figure(3, height=3.4, width=10.2)
    runs = results["runs"]

    def of(word: str) -> dict[str, tuple[list[float], list[float]]]:
        return {name: (one["queries"], one["regret"]) for name, one in runs.items() if name.startswith(word)}

    plane(left, {"active": of("eps"), "passive": of("passive")})
    left.set(title="a dot a seed")
    for label, name in (("eps 0.25", "active"), ("no noise, truncated",) * 2, ("same policy",) * 2, ("no noise",) * 2):
        how, curve = LOOKS[name], np.array(runs[label]["curve"])
        middle.plot(results["shown"], np.median(curve, 0), color=how.color, linestyle=how.linestyle, label=label)
        low, high = np.quantile(curve, (0.25, 0.75), axis=0)
        middle.fill_between(results["shown"], low, high, color=how.color, alpha=0.12, linewidth=0)
    middle.set(title="median and quartiles", xlabel="episodes", ylabel="regret so far", ylim=(0, 1250))
    middle.legend(loc="upper left", fontsize=8)
    found = results["thompson"]
    plane(right, {"active": {f"eps {eps}": (one["queries"], one["regret"]) for eps, one in found.items()}}, (-1, 1))
    right.set(title="Thompson sampling, 60 seeds")
    right.get_legend().remove()
    panel_labels((left, middle, right))
    return made


def training_figure(results: Results, live: Results | None = None) -> Figure:
    """The policy's reward by steps and by comparisons, and regret against comparisons; `live` results as crosses."""
    made, axes = figure(3, height=3.5, width=10.0)
    first, second, third = axes
    for arm, found in results["runs"].items():
        how = ARM_LOOKS[arm]
        draw_runs(first, results, arm, "reward", how, live)
        asked, reward = (np.mean(found[name], axis=0) for name in ("asked", "reward"))
        second.plot(asked, reward, how.marker, linestyle=how.linestyle, color=how.color, markersize=4)
        ends = [[path[-1] for path in found[name]] for name in ("asked", "regret")]
        third.plot(*ends, how.marker, color=how.color, markersize=4, alpha=0.4)
        third.plot(*(np.median(x) for x in ends), how.marker, color=how.color, markersize=8, markeredgecolor="black")
    first.set(title="reward, base 0 and best 1", xlabel="training steps", ylim=(-0.1, 1.05))
    second.set(title="reward by comparisons asked", xlabel="comparisons (mean over seeds)", ylim=(-0.1, 1.05))
    second.set_xscale("symlog", linthresh=1)
    second.set_xlim(0, 300)
    third.set(title="at the end: seeds and median", xlabel="comparisons", ylabel="regret", xscale="log")
    made.legend(*first.get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=9)
    panel_labels(axes)
    return made
