"""Pictures of the results of lesson 14."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from toykit.lessons.base import Results
from toykit.lessons.compare import last
from toykit.lessons.l14_effective_horizon.claims import SUCCESS, steps_to_solve
from toykit.plots import Role, bars, curve_with_interval, figure, mean_interval, panel_labels
from toykit.plots.style import CYCLE

SWEEPS: dict[str, Role] = dict(zip(("k = 1", "k = 2", "k = 3", "k = 4"), CYCLE, strict=False))
LEARNERS: dict[str, Role] = {"SQIRL": CYCLE[2], "ppo": CYCLE[0], "dqn": CYCLE[1]}
SHOWN = {"SQIRL": "SQIRL", "ppo": "PPO", "dqn": "DQN"}


def lookahead_figure(results: Results) -> Figure:
    """Q^k of moving on in a corridor against its decoy, min_k of the card's trees, and returns that rise and fall."""
    made, (left, middle, right) = figure(3, height=3.2, width=9.8, widths=(1, 1.25, 1))
    looks = dict(zip(((5, 0.05, 0.0), (5, 0.05, 0.25)), (CYCLE[0], CYCLE[1]), strict=True))
    for one in results["corridors"]:
        setting = tuple(one["setting"])
        if setting in looks:
            how, label = looks[setting], f"slip {setting[2]:g}"
            ks = range(1, len(one["forward"]) + 1)
            left.plot(ks, one["forward"], color=how.color, linestyle=how.linestyle, marker=how.marker, label=label)
    left.axhline(0.05, color="#444444", linestyle=":")
    left.text(5, 0.055, "decoy, 0.05", ha="right", va="bottom", fontsize=9)
    left.set(title="$Q^k$ of moving on", xlabel="k", yscale="log", ylim=(8e-3, 1.5), xticks=range(1, 6))
    left.legend(loc="upper left")
    kinds = ("binary", "graded", "binary, slip", "graded, slip")
    looks_of = dict(zip(kinds, (CYCLE[0], CYCLE[1], CYCLE[2], CYCLE[3]), strict=True))
    bars(middle, {k: results["trees"][k] for k in kinds}, ["1", "2", "3", "4"], roles=looks_of)
    middle.set(title="random trees", xlabel="min$_k$", ylabel="trees of 60", ylim=(0, 64))
    middle.legend(loc="upper right")
    returns = results["trees"]["seed 195"]
    right.plot(range(1, 5), returns, color=CYCLE[0].color, marker="o")
    right.axhline(results["trees"]["optimum"], color="#444444", linestyle=":")
    right.text(1.02, results["trees"]["optimum"] + 0.0006, "the best", fontsize=9)
    right.set(title="one tree: $J_k$", xlabel="k", xticks=range(1, 5), ylim=(0.645, 0.676))
    panel_labels((left, middle, right))
    return made


def sqirl_figure(results: Results) -> Figure:
    """SQIRL's success on the corridor whose min_k is 3 against the episodes a step, for each k."""
    made, ax = figure(height=3.2, width=6.4)
    found = results["sqirl"]
    for k in SUCCESS:
        curve_with_interval(ax, found["sizes"], found["success"][k], f"k = {k}", SWEEPS[f"k = {k}"], markers=5)
    ax.set_xscale("log")
    ax.set_xticks(found["sizes"], [str(m) for m in found["sizes"]])
    ax.minorticks_off()
    ax.set(title="optimal policies, min$_k$ = 3", xlabel="episodes a step, m", ylabel="share of 40 seeds")
    ax.set(ylim=(-0.06, 1.12))
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return made


def designs_figure(results: Results) -> Figure:
    """For every grid design the k that comes within 1 % of the best return, and min_k; J_k of some of them."""
    made, (left, right) = figure(2, height=4.0, width=9.8, widths=(1.25, 1))
    found = results["designs"]
    names = sorted(found, key=lambda name: (-found[name]["near"], -found[name]["least"]))
    rows = range(len(names))
    near, least = ([found[name][key] for name in names] for key in ("near", "least"))
    left.hlines(rows, near, least, color="#bbbbbb", linewidth=1.2)
    left.plot(near, rows, "o", color=CYCLE[0].color, label="within 1 % of the best", markersize=6)
    left.plot(least, rows, "x", color=CYCLE[1].color, label="min$_k$, strictly", markersize=6, markeredgewidth=1.8)
    left.set_yticks(rows, names, fontsize=8.5)
    left.set(title="k that is needed", xlabel="k", xlim=(0, 41), ylim=(-0.6, len(names) + 1.2))
    left.legend(loc="upper left", ncols=2, fontsize=8.5)
    for name, how in zip(("sparse", "decoys", "decoy_small", "key_toll_high", "decoy_large"), CYCLE, strict=False):
        returns = np.array(found[name]["returns"][:20]) / found[name]["optimum"]
        right.plot(range(1, 21), returns, color=how.color, linestyle=how.linestyle, marker=how.marker, label=name)
    right.set(title="$J_k$ / J*", xlabel="k", ylim=(-0.05, 1.1), xticks=(1, 5, 10, 15, 20))
    right.legend(loc="lower right", fontsize=8.5)
    panel_labels((left, right))
    return made


def rooms_figure(results: Results, live: Results | None = None) -> Figure:
    """Steps until a room is solved by SQIRL, PPO and DQN, and against the k that is needed; medians over seeds.

    What was not solved stands at the right (top) edge; crosses are the SQIRL of a `live` run.
    """
    rooms = results["rooms"]
    edge = 2.2 * rooms["budget"]
    made, (left, right) = figure(2, height=4.0, width=9.8, widths=(1.45, 1))
    steps = {name: steps_to_solve(results, name) for name in LEARNERS}
    names = sorted(rooms["near"], key=lambda name: (-steps["SQIRL"][name], -rooms["near"][name]))
    rows = {name: i for i, name in enumerate(names)}
    for (learner, how), shift in zip(LEARNERS.items(), (0.0, 0.22, -0.22), strict=True):
        x = [min(steps[learner][name], edge) for name in names]
        y = [rows[name] + shift for name in names]
        left.plot(x, y, how.marker, color=how.color, label=SHOWN[learner], markersize=6)
    if live is not None:
        now = {name: min(x, edge) for name, x in steps_to_solve(live, "SQIRL").items()}
        at = [rows[name] for name in now]
        left.plot(list(now.values()), at, "x", color="black", markersize=8, markeredgewidth=1.6)
    ticks, words = (3e3, 1e4, 3e4, rooms["budget"], edge), ("3,000", "10,000", "30,000", "60,000", "not")
    left.set(xscale="log", xlim=(2500, 1.25 * edge), ylim=(-0.7, len(names) + 1.0))
    left.set_xticks(ticks, words)
    left.minorticks_off()
    left.axvline(rooms["budget"], color="#888888", linewidth=0.9, linestyle="--")
    left.set_yticks(range(len(names)), [f"{name} ({rooms['near'][name]})" for name in names], fontsize=8.5)
    left.set(title="steps until solved (in brackets: k needed)", xlabel="steps")
    left.legend(loc="upper left", ncols=3)
    for (learner, how), shift in zip(LEARNERS.items(), (1.0, 1.06, 0.94), strict=True):
        x = [rooms["near"][name] * shift for name in names]
        y = [min(steps[learner][name], edge) for name in names]
        right.plot(x, y, how.marker, color=how.color, markersize=6)
    right.axhline(rooms["budget"], color="#888888", linewidth=0.9, linestyle="--")
    right.set(xscale="log", yscale="log", ylim=(2500, 1.25 * edge), xlabel="k within 5 % of the best")
    right.set_xticks((1, 2, 3, 5, 10), ("1", "2", "3", "5", "10"))
    right.set_yticks(ticks, words)
    right.minorticks_off()
    right.set(title="steps against k")
    panel_labels((left, right))
    return made


def completions_figure(results: Results, live: Results | None = None) -> Figure:
    """What SQIRL and GRPO earn of the best where completions pay one reward, and where there is a decoy."""
    found = results["completions"]
    made, (left, right) = figure(2, height=3.2, width=9.4, widths=(1.1, 1))
    rows = [
        ("one reward", "SQIRL, k = 1", CYCLE[0]),
        ("one reward", "GRPO", CYCLE[3]),
        ("decoy", "SQIRL, k = 1", CYCLE[0]),
        ("decoy", "SQIRL, k = 3", CYCLE[2]),
        ("decoy", "GRPO", CYCLE[3]),
    ]
    for place, (kind, name, how) in enumerate(rows):
        values = last(found["grpo"][kind], "GRPO", "greedy") if name == "GRPO" else found["trees"][kind][name]
        mean, half = mean_interval(values)
        left.bar(place, mean, 0.62, facecolor=how.color, alpha=0.45, edgecolor="#444444", hatch=how.hatch)
        left.errorbar(place, mean, half, fmt="none", ecolor="black", elinewidth=1.2, capsize=4)
        left.plot(place + np.linspace(0.12, 0.28, len(values)), np.sort(values), ".", color="black", markersize=4)
    left.set_xticks(range(len(rows)), [f"{name}\n{kind}" for kind, name, _ in rows], fontsize=8)
    left.set(title="earned, of the best (dots: seeds)", ylim=(0, 1.4))
    left.grid(False, axis="x")
    for kind, how in (("one reward", CYCLE[0]), ("decoy", CYCLE[1])):
        path = found["grpo"][kind]
        curve_with_interval(right, path["stops"], path["runs"]["GRPO"]["sampled"], kind, how, markers=6)
    right.set(title="GRPO on the way, sampled", xlabel="steps of 64 completions", ylim=(0, 1.12))
    right.legend(loc="upper left")
    panel_labels((left, right))
    return made


def ranking_figure(results: Results) -> Figure:
    """How well the base ranks next tokens against how soon GRPO learns a prompt, and what acting on the ranks earns."""
    made, (left, middle, right) = figure(3, height=3.3, width=9.8, widths=(1, 1.2, 0.8))
    runs, stops = results["runs"]["GRPO"], results["stops"]
    halves: dict[str, list[np.ndarray]] = {"upper half": [], "lower half": []}
    for seed, shares in enumerate(results["ranked"]):
        paths = np.array([runs[f"prompt {i}"][seed] for i in range(len(shares))])
        left.plot(shares, paths.mean(1), ".", color=CYCLE[0].color, alpha=0.6)
        order = np.argsort(shares, kind="stable")
        halves["lower half"].append(paths[order[: len(order) // 2]].mean(0))
        halves["upper half"].append(paths[order[len(order) // 2 :]].mean(0))
    left.set(
        title="each prompt", xlabel="places ranked rightly", ylabel="mean success over training", xlim=(-0.03, 1.03)
    )
    for (name, curves), how in zip(halves.items(), CYCLE, strict=False):
        curve_with_interval(middle, stops, np.array(curves), f"{name} by rank", how, markers=6)
    middle.set(title="success under GRPO", xlabel="training steps", ylim=(0, 1.2))
    middle.legend(loc="upper left")
    for place, (name, how) in enumerate(zip(("base, greedy", "Q¹, greedy"), CYCLE, strict=False)):
        mean, half = mean_interval(results["success"][name])
        right.bar(place, mean, 0.6, facecolor=how.color, alpha=0.45, edgecolor="#444444", hatch=how.hatch)
        right.errorbar(place, mean, half, fmt="none", ecolor="black", elinewidth=1.2, capsize=4)
    right.set_xticks((0, 1), ("base", "$Q^1$"))
    right.set(title="greedy success", ylim=(0, 1.1))
    right.grid(False, axis="x")
    panel_labels((left, middle, right))
    return made
