"""Pictures of the results of lesson 47."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toykit.lessons.base import Results
from toykit.lessons.drawing import draw_runs
from toykit.lessons.l47_change_points.drift import CHANGES as SWITCHES
from toykit.lessons.l47_change_points.exact import CHANGE, CHANGES
from toykit.lessons.l47_change_points.monitor import KINDS
from toykit.plots import Role, curve_with_interval, figure, mean_interval, panel_labels
from toykit.plots.style import CYCLE

LOOKS: dict[str, Role] = dict(
    zip(("R-BOCPD-UCRL2", "UCRL2", "window", "oracle", "local restarts", "Q-learning"), CYCLE, strict=False)
)
ARMS: dict[str, Role] = dict(
    zip(("detector, falls", "no reset", "detector", "oracle", "periodic", "oracle, not hot"), CYCLE, strict=False)
)


def detector_figure(results: Results) -> Figure:
    """Delay against KL with the line log(1/eta) / KL, and what eta costs: false alarms, and delays."""
    made, (left, middle, right) = figure(3, height=3.0, width=9.6)
    rows = results["farther"]
    kl = np.array([one["kl"] for one in rows])
    x = np.geomspace(0.02, 1.4, 50)
    left.plot(x, math.log(CHANGE) / x, ":", color="black", label="log(1/η) / KL")
    curve_with_interval(left, kl, np.array([one["delay"] for one in rows]).T, "seen", CYCLE[0], markers=4)
    left.set(title="delay by KL, η = 1/n", xlabel="KL(new law ‖ old law), nats", ylabel="symbols")
    left.set(xscale="log", yscale="log", ylim=(3, 800))
    left.legend(loc="lower left")
    etas = [one["eta"] for one in results["etas"]]
    alarms = np.array([one["false alarms"] for one in results["etas"]]).T
    curve_with_interval(middle, etas, alarms, "", CYCLE[1], markers=len(etas))
    middle.set(title="false alarms in 300 symbols", xlabel="η", xscale="log", yscale="symlog", ylim=(-0.1, 60))
    middle.set_yscale("symlog", linthresh=1)
    few = [i for i, eta in enumerate(etas) if eta <= 1e-3]
    kept = [etas[i] for i in few]
    line = [math.log(1 / eta) / results["streams"]["kl"] for eta in kept]
    right.plot(kept, line, ":", color="black", label="log(1/η) / KL")
    delays = np.array([results["etas"][i]["delay"] for i in few]).T
    curve_with_interval(right, kept, delays, "seen", CYCLE[0], markers=len(few))
    right.set(title="delay by η, KL 0.676", xlabel="η", ylabel="symbols", xscale="log", ylim=(0, 32))
    right.legend(loc="upper right")
    panel_labels((left, middle, right))
    return made


def regret_figure(results: Results) -> Figure:
    """Regret of all algorithms, with the changes and the restarts; right, those that are low."""
    made, (left, right) = figure(2, height=3.4, width=9.6)
    found = results["regret"]
    for ax, names in ((left, tuple(LOOKS)), (right, ("R-BOCPD-UCRL2", "oracle", "window", "local restarts"))):
        for name in names:
            curves = np.array(found["runs"][name]["curves"])
            steps = np.arange(curves.shape[1]) * found["every"]
            curve_with_interval(ax, steps, curves, name, LOOKS[name])
        for change in CHANGES:
            ax.axvline(change, color="#888888", linewidth=0.9, linestyle="--")
        ax.set(xlabel="steps", xlim=(0, 6000))
    marks = [r for run in found["runs"]["R-BOCPD-UCRL2"]["restarts"] for r in run]
    right.plot(marks, np.full(len(marks), 14.0), "|", color=LOOKS["R-BOCPD-UCRL2"].color, markersize=12, zorder=3)
    left.set(title="regret, six runs", ylabel="reward lost", ylim=(0, 2400))
    left.legend(loc="upper left", fontsize=8, ncols=2)
    right.set(title="the lower ones; ticks are restarts", ylim=(0, 420))
    right.legend(loc="upper left", fontsize=8)
    panel_labels((left, right))
    return made


def drift_figure(results: Results, live: Results | None = None) -> Figure:
    """Success on held-out prompts by the rule in force; `live` results as crosses."""
    made, (left, right) = figure(2, height=3.4, width=9.6)
    pairs = (("detector, falls", "no reset", "detector"), ("oracle", "periodic", "oracle, not hot"))
    for ax, names in zip((left, right), pairs, strict=True):
        for name in names:
            if name in results["runs"]:
                draw_runs(ax, results, name, "success", ARMS[name], live)
        for change in SWITCHES:
            ax.axvline(change, color="#888888", linewidth=0.9, linestyle="--")
        ax.set(xlabel="updates", ylim=(-0.02, 1.18))
        ax.legend(loc="upper left", fontsize=8, ncols=3, columnspacing=1.0, handlelength=1.8)
    left.set(title="told by a detector", ylabel="success")
    right.set(title="told by a calendar or an oracle")
    panel_labels((left, right))
    return made


def monitor_figure(results: Results, live: Results | None = None) -> Figure:
    """Outcomes before the bug and at the end, and alarms before and after, with and without the bug."""
    found = results["monitor"]
    made, (left, right) = figure(2, height=3.0, width=9.0)
    bug, end = found["stops"][-2:]
    labels, bottom = (f"update {bug}", f"{end}, bug", f"{end}, none"), np.zeros(3)
    for kind, how in zip(KINDS, (CYCLE[3], CYCLE[1], CYCLE[0]), strict=True):
        shares = [
            np.mean([path[at] for path in found["runs"][arm][kind]])
            for arm, at in (("bug", -2), ("bug", -1), ("no bug", -1))
        ]
        left.bar(labels, shares, 0.62, bottom, color=how.color, hatch=how.hatch, alpha=0.6, label=kind)
        bottom += shares
    left.set(title="outcomes, by the run's own verifier", ylabel="share", ylim=(0, 1.3))
    left.legend(loc="upper center", ncols=3, fontsize=8)
    left.grid(False, axis="x")
    for i, (arm, how) in enumerate((("bug", CYCLE[1]), ("no bug", CYCLE[0]))):
        _bars(right, found, arm, how, (i - 0.5) * 0.34)
    right.set_xticks(range(2), [f"updates 1 to {bug}", f"{bug + 1} to {end}"])
    right.set(title="alarms", ylabel="a run", ylim=(0, None))
    right.grid(False, axis="x")
    right.legend(loc="upper right")
    panel_labels((left, right))
    return made


def _bars(ax: Axes, found: Results, arm: str, how: Role, shift: float) -> None:
    runs = np.array([[path[-1] for path in found["runs"][arm][f"alarms {when}"]] for when in ("before", "after")]).T
    mean, half = mean_interval(runs)
    place = np.arange(2) + shift
    ax.bar(place, mean, 0.3, color=how.color, hatch=how.hatch, alpha=0.6, label=arm)
    ax.errorbar(place, mean, half, fmt="none", ecolor="black", elinewidth=0.9)
