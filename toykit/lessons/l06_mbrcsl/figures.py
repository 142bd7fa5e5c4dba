"""Pictures of the results of lesson 06."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from toykit.control.worlds import linear_q
from toykit.control.worlds.grids import STITCHING, cells
from toykit.lessons.base import Results
from toykit.lessons.l06_mbrcsl.linear import hinges
from toykit.lessons.l06_mbrcsl.sampled import ARMS
from toykit.plots import figure, legend_below, mean_interval, panel_labels, role
from toykit.plots.style import CYCLE

ACTIONS = (CYCLE[0], CYCLE[1])
FITS = {
    "hinges": ("hinges", CYCLE[1]),
    "hinges, known end": ("hinges, end worth 0", CYCLE[0]),
    "hinges and line": ("one feature more", CYCLE[2]),
}
LOOKS = {"return": CYCLE[0], "quick": CYCLE[1], "goal": CYCLE[3]}
NAMES = {"return": "return / V*", "quick": "at the goal after 3 steps", "goal": "at the goal at any time"}
FLOOR = 1e-14  # smaller errors are drawn on it


def draw_saw(ax: Axes, u: int) -> None:
    """The rewards of LinearQ by state, as saws, over the two hinges of Q*."""
    mdp = linear_q(u)
    s, best = np.arange(mdp.n_states), hinges(u)
    for a, how in enumerate(ACTIONS):
        ax.plot(s, best[:, a], color=how.color, linewidth=1.2, alpha=0.55, label=f"Q*(s, {a})")
        line = {"color": how.color, "linestyle": how.linestyle, "marker": how.marker, "markersize": 3.5}
        ax.plot(s, mdp.R[:, a], **line, label=f"r(s, {a})")
    ax.set(xlabel="state s", ylabel="value")


def linear_figure(results: Results) -> Figure:
    """The saw over the hinges, kinks by size, and the error of fitted Q-iteration by sweeps."""
    found = results["linear"]
    made, (first, second, third) = figure(3, height=3.6, width=9.8, widths=(1.15, 1, 1.1))
    draw_saw(first, 8)
    first.set(title="LinearQ, u = 8")
    first.legend(fontsize=8)
    sizes = found["sizes"]
    counted = {
        "r(s, 0)": ([found["tables"][str(u)]["kinks of T0"][0] for u in sizes], CYCLE[0]),
        "r(s, 1)": ([found["tables"][str(u)]["kinks of T0"][1] for u in sizes], CYCLE[1]),
        "width that r needs, at least": ([found["tables"][str(u)]["breakpoints of T0"][0] for u in sizes], CYCLE[2]),
        "Q*, each action": ([found["tables"][str(u)]["kinks of Q*"][0] for u in sizes], role("exact")),
    }
    for name, (y, how) in counted.items():
        second.plot(sizes, y, color=how.color, linestyle=how.linestyle, marker=how.marker, label=name)
    second.set(title="kinks", xlabel="u", ylim=(0, 47))
    second.legend(fontsize=8, loc="upper left")
    draw_sweeps(third, found["fqi"])
    panel_labels((first, second, third))
    return made


def draw_sweeps(ax: Axes, fits: Results) -> None:
    """The largest error of Q after as many sweeps, at u = 4."""
    rows = [(name, how, fits[kind]["4"]) for kind, (name, how) in FITS.items()]
    rows.append(("hinges, nearly best data", CYCLE[3], fits["nearly best"]["0.05"]))
    for name, how, row in rows:
        error = np.maximum(row["error"], FLOOR)
        ax.plot(row["sweeps"], error, color=how.color, linestyle=how.linestyle, marker=how.marker, label=name)
    ax.set(xscale="log", yscale="log", ylim=(1e-15, 1e11))
    ax.set(title="fitted Q-iteration, u = 4", xlabel="sweeps", ylabel="largest error of Q")
    ax.legend(fontsize=8, loc="upper left")


def stitching_figure(results: Results) -> Figure:
    """The law of the imagined returns, what is earned by length, and what a wrong reward model does."""
    found = results["stitching"]
    made, (first, second, third) = figure(3, height=3.6, width=9.8, widths=(1, 1.05, 1.05))
    draw_returns(first, np.array(found["lengths"]["6"]["law"]), 3)
    first.set(title="imagined returns, H = 6")
    lengths = [int(h) for h in found["lengths"]]
    rows = list(found["lengths"].values())
    earned = {
        "best possible": ([row["best"] for row in rows], role("exact")),
        "MBRCSL": ([row["MBRCSL"]["return"] for row in rows], CYCLE[0]),
        "RCSL, asked for H": ([row["RCSL, asked for the best"] for row in rows], CYCLE[2]),
        "RCSL, asked for H/2": ([row["RCSL"] for row in rows], CYCLE[1]),
    }
    for name, (y, how) in earned.items():
        size = 9 if name == "best possible" else 5  # MBRCSL's lie on it
        style = {"color": how.color, "linestyle": how.linestyle, "marker": how.marker, "markersize": size}
        second.plot(lengths, y, **style, mfc="none", label=name)
    second.set(title="what is earned", xlabel="length H", ylabel="return", ylim=(0, 12.5))
    second.legend(fontsize=8, loc="upper left")
    errors = [float(q) for q in found["errors"]]
    for name, label, how in (
        ("best", "best in the model", role("exact")),
        ("mean", "kept, mean in the model", CYCLE[2]),
        ("return", "earned in truth", CYCLE[0]),
    ):
        y = [row[name] for row in found["errors"].values()]
        third.plot(errors, y, color=how.color, linestyle=how.linestyle, marker=how.marker, label=label)
    third.set(title="a model that promises, H = 6", xlabel="P(a step that pays 0 is scored 1)", ylim=(2.5, 8.2))
    third.legend(fontsize=8, loc="upper right")
    panel_labels((first, second, third))
    return made


def draw_returns(ax: Axes, law: np.ndarray, threshold: float) -> None:
    """The probability of each imagined return; those above the threshold, which are kept, are hatched."""
    earned = np.arange(len(law))
    kept = earned > threshold
    for which, label, how in ((~kept, "dropped", role("prior")), (kept, "kept", CYCLE[0])):
        hatch = how.hatch if label == "dropped" else "////"
        ax.bar(earned[which], law[which], 0.8, color=how.color, alpha=0.6, edgecolor="white", hatch=hatch, label=label)
    ax.axvline(threshold + 0.5, color="#B00000", linewidth=1.4)
    aside, side = (0.12, "left") if threshold < 0.7 * len(law) else (-0.12, "right")
    at = threshold + 0.5 + aside
    ax.text(at, 1.04 * law.max(), "threshold", color="#B00000", fontsize=8, va="bottom", ha=side)
    ax.set_xticks(earned)
    ax.set(xlabel="imagined return", ylabel="probability", ylim=(0, 1.32 * law.max()), xlim=(-0.7, len(law) + 0.2))
    ax.legend(fontsize=8, loc="upper left")
    ax.grid(False, axis="x")


def draw_maze(ax: Axes) -> None:
    """The six cells with the two kinds of logged paths and the direct one, which is no one's."""
    free = cells(STITCHING)
    for i, j in free:
        ax.add_patch(_square(j, -i, "white"))
    for i, row in enumerate(STITCHING):
        for j in range(len(row)):
            if (i, j) not in free:
                ax.add_patch(_square(j, -i, "#8A8A8A"))
    paths = {
        "logged: short": ([(1, 2), (2, 2)], CYCLE[4], 0.13),
        "logged: detour": ([(1, 2), (1, 1), (2, 1), (2, 2), (2, 3), (2, 4)], CYCLE[2], -0.13),
        "the stitch": ([(1, 2), (2, 2), (2, 4)], role("exact"), 0.0),
    }
    for name, (path, how, aside) in paths.items():
        x, y = np.array([(j + aside, -i + aside) for i, j in path]).T
        ax.plot(x, y, color=how.color, linestyle=how.linestyle, marker=how.marker, markersize=5, label=name)
    ax.text(2, -0.25, "start", ha="center", va="center", fontsize=8, color="white")
    ax.text(4, -2.75, "goal", ha="center", va="center", fontsize=8, color="white")
    ax.set(xlim=(-0.5, 5.5), ylim=(-3.5, 0.5), aspect="equal", title="the maze")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)


def _square(x: float, y: float, color: str) -> Rectangle:
    return Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=color, edgecolor="#E4E4E4")


def draw_arms(ax: Axes, runs: Results, live: Results | None = None) -> None:
    """Three figures of each arm, mean and 95 % interval over the seeds, one arm a line; `live` as crosses."""
    arms = [name for name in ARMS if name in runs]
    for k, (name, how) in enumerate(LOOKS.items()):
        y = np.arange(len(arms)) + 0.22 * (k - 1)
        mean, half = mean_interval(np.array([runs[arm][name] for arm in arms]).T)
        ax.errorbar(mean, y, xerr=half, fmt=how.marker, color=how.color, markersize=5, capsize=2, label=NAMES[name])
        shown = [(live["runs"][arm][name][0], y[i]) for i, arm in enumerate(arms) if live and arm in live["runs"]]
        if shown:
            ax.plot(*zip(*shown, strict=True), "x", color="#222222", markersize=7, markeredgewidth=1.4)
    ax.set_yticks(range(len(arms)), arms)
    ax.invert_yaxis()
    ax.set(xlim=(-0.04, 1.06), title="what each policy does")
    ax.grid(False, axis="y")


def draw_seeds(ax: Axes, columns: dict[str, list[float]]) -> None:
    """Bars at the means, a circle for each seed, moved aside where circles would meet."""
    for k, values in enumerate(columns.values()):
        how = CYCLE[k]
        ax.bar(k, np.mean(values), 0.7, color=how.color, alpha=0.5, hatch=how.hatch, edgecolor="white")
        order = [sorted(values).index(v) + values[:i].count(v) for i, v in enumerate(values)]
        aside = 0.5 * (np.array(order) / max(len(values) - 1, 1) - 0.5)
        ax.plot(k + aside, values, "o", color="#222222", markersize=3.5, mfc="none")
    ax.set_xticks(range(len(columns)), list(columns))
    ax.set(xlim=(-0.6, len(columns) - 0.4))
    ax.grid(False, axis="x")


def maze_figure(results: Results, live: Results | None = None) -> Figure:
    """The maze; each arm's return and how often it reaches the goal; how often rollouts beat the data, by what the
    behaviour sees; and what the two earn that use the learned world."""
    made, axes = figure(4, height=4.0, width=9.8, widths=(1.0, 1.5, 0.6, 0.75))
    draw_maze(axes[0])
    draw_arms(axes[1], results["runs"], live)
    draw_seeds(axes[2], {name: results["imagined"][name] for name in ("cell", "history")})
    axes[2].set(title="rollouts that\nbeat the data", xlabel="behaviour sees")
    names = {"MBRCSL": "MBRCSL", "Q-iteration": "Q-iter."}
    draw_seeds(axes[3], {label: results["modelled"][name] for name, label in names.items()})
    axes[3].set(title="return / V*,\n20 seeds", xlabel="in the learned world", ylim=(0, 1.06))
    legend_below(made, axes[:2], ncols=3, fontsize=9)
    panel_labels(axes)
    return made


def chains_figure(results: Results) -> Figure:
    """pass@1 of the three policies on held-out prompts, a circle for each seed."""
    made, ax = figure(height=3.0, width=6.4)
    draw_seeds(ax, results["pass@1"])
    ax.set(ylabel="pass@1, held out", ylim=(0, 1.03))
    return made
