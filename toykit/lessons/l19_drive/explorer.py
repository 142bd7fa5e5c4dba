"""The explorer of lesson 19: the difficulty ladder under phases, and what a group sees of a hard problem."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from toykit.exact import group_weight, informative
from toykit.lessons.l19_drive.exact import FIRST, SECOND, for_training, programming
from toykit.lessons.l19_drive.figures import draw_ladder
from toykit.lessons.l19_drive.flow import Run, begin, hard_focus
from toykit.plots import Choice, Slider, explore, figure, wipe
from toykit.plots.explorer import Explorer
from toykit.plots.style import CYCLE
from toykit.training import Phase

FASTER = 6  # steps of six times the size, a sixth as many
EVERY = 5
SIZES = {"36, 36, 36": (36, 36, 36), "18, 12, 6": (18, 12, 6), "12, 8, 4": (12, 8, 4), "6, 4, 2": (6, 4, 2)}
P = torch.logspace(-4, -0.001, 120, dtype=torch.float64)
STAGES = ("both", "stage 2 only")
HOW = ("all ranked", "nested", "all ranked, no std", "nested, no std")


def plan(group: int, kept: str, stages: str) -> list[Phase]:
    first = [Phase(None, FIRST.steps // FASTER, FIRST.group_size)] if stages == "both" else []
    sizes = zip(SIZES[kept], SECOND, strict=True)
    return first + [Phase(n, phase.steps // FASTER, group) for n, phase in sizes]


@cache
def _path(group: int, kept: str, how: str, stages: str) -> Run:
    """The run of seed 0, and of its prompts those for training, the hardest last."""
    made = programming()
    pool = for_training(made)
    found = hard_focus(
        made,
        _base(),
        plan(group, kept, stages),
        pool,
        nested="nested" in how,
        std="no std" not in how,
        every=EVERY,
        lr=FASTER,
    )
    order = pool.nonzero()[:, 0]
    order = order[found.p[0, 0, order].argsort(descending=True, stable=True)]
    return Run(found.theta, found.kept, found.p[:, 0, order], tuple(c[0, order] for c in found.chosen))


@cache
def _base() -> Run:
    made = programming()
    return begin(made, made.base([0]))


@cache
def _frame() -> tuple[Figure, Any]:
    return figure(2, height=3.6, width=9.4, widths=(1.5, 1))


def drive_figure(group: int = 64, kept: str = "18, 12, 6", how: str = HOW[0], stages: str = STAGES[0]) -> Figure:
    """Pass rates of 36 prompts through the phases, and what groups of 8 and of G see at a pass rate."""
    found, phases = _path(group, kept, how, stages), plan(group, kept, stages)
    made, _ = _frame()
    left, right = wipe(made)
    ends = np.cumsum([phase.steps for phase in phases]).tolist()
    draw_ladder(left, found.p.numpy(), ends, [c.numpy() for c in found.chosen])
    left.set(title="pass rates: white .001, dark 1", xlabel="steps", ylabel="prompts, the hardest below", xlim=(0, 60))
    left.grid(False)
    std = "none" if "no std" in how else "group"
    for g, look in ((8, CYCLE[1]), (group, CYCLE[0])):
        style = {"color": look.color, "linestyle": look.linestyle}
        right.plot(P, informative(P, g), label=f"G = {g}: group informative", **style)
        weight = group_weight(P, g, std=std, ddof=0)
        right.plot(P, weight, label=f"G = {g}: step h(p)", marker=look.marker, markevery=12, linewidth=0.9, **style)
    right.plot(found.p[0], [-0.04] * 36, "|", color="black", markersize=7, label="the prompts at the start")
    right.set(title="what a group sees", xlabel="pass rate p", xscale="log", xlim=(1e-4, 1), ylim=(-0.08, 1.75))
    right.set_yticks((0, 0.5, 1))
    right.legend(loc="upper left", fontsize=8)
    return made


def drive_words(group: int = 64, kept: str = "18, 12, 6", how: str = HOW[0], stages: str = STAGES[0]) -> str:
    """What `drive_figure` shows, in words."""
    found, phases = _path(group, kept, how, stages), plan(group, kept, stages)
    p = found.p[-1]
    rollouts = sum((phase.prompts or 36) * phase.group_size * phase.steps for phase in phases)
    rare = torch.tensor(0.005, dtype=torch.float64)
    return (
        f"After {rollouts:,} rollouts pass@1 is {float(p.mean()):.2f}, pass@64 "
        f"{float((1 - (1 - p) ** 64).mean()):.2f}; of the hardest twelve {float(p[-12:].mean()):.2f}, of the easiest "
        f"{float(p[:12].mean()):.2f}; {int((p < 0.01).sum())} of 36 are below 0.01. A problem that is solved once in "
        f"200 tries shows in {float(informative(rare, 8)):.1%} of groups of 8 and in "
        f"{float(informative(rare, group)):.1%} of groups of {group}."
    )


def drive_explorer(live: bool | None = None) -> Explorer:
    """The groups of stage 2, how many prompts its phases keep, how they are ranked and weighed, and its stages."""
    controls: dict[str, Any] = {
        "group": Slider.at((8, 16, 32, 64), default=64, label="G of stage 2"),
        "kept": Choice(tuple(SIZES), default="18, 12, 6", label="prompts kept"),
        "how": Choice(HOW, default=HOW[0], label="ranking, std"),
        "stages": Choice(STAGES, default=STAGES[0], label="stages"),
    }
    presets: dict[str, dict[str, Any]] = {
        "two stages": {},
        "stage 2 only": {"stages": STAGES[1]},
        "uniform": {"kept": "36, 36, 36"},
        "nested": {"how": "nested"},
        "no std": {"how": "all ranked, no std"},
    }
    return explore(drive_figure, controls, presets, drive_words, live)
