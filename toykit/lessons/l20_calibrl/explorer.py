"""The explorer of lesson 20: the force on each answer beside the expert's level, and where it leads."""

from __future__ import annotations

import math
from functools import cache, partial
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from toykit.exact import ascend_until, entropy
from toykit.lessons.l20_calibrl.exact import RIGHT, SIGN, START, Arm, among_right, columns, velocity
from toykit.lessons.l20_calibrl.tree import factor
from toykit.plots import Role, Slider, bars, explore, figure, role, wipe
from toykit.plots.explorer import Explorer
from toykit.plots.style import CYCLE

LR = 0.1
EXPERTS = (0.12, 0.16, 0.18, 0.22)  # the right answers by probability, each of which may be the expert's
WEIGHTS = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)
ROLES: dict[str, str | Role] = {"start": role("prior"), "GRPO": CYCLE[0], "CalibRL": CYCLE[1]}
SIDES = {"right": (1.0, CYCLE[2]), "wrong": (-1.0, CYCLE[3])}


def place(expert: float) -> int:
    """Which answer has this probability at first."""
    return int((START - expert).abs().argmin())


@cache
def _ends(slope: float, weight: float, expert: float, accuracy: float) -> Tensor:
    """Logits [2, 6] under GRPO and CalibRL at the first policy with this accuracy."""

    def arrived(logits: Tensor) -> Tensor:
        return (logits.softmax(-1) * RIGHT).sum(-1) >= accuracy

    step = partial(velocity, arms=columns([Arm(), Arm(weight, slope)]), expert=place(expert))
    return ascend_until(step, START.log().expand(2, -1), LR, arrived)[1]


@cache
def _frame() -> tuple[Figure, Any]:
    return figure(2, height=3.3, width=9.6, widths=(1.1, 1.4))


def gate_figure(slope: float = 0.3, weight: float = 1.0, expert: float = 0.18, accuracy: float = 0.95) -> Figure:
    """The force on right and wrong answers by their log-probability beside the expert's, and the laws it leads to."""
    made, _ = _frame()
    left, right = wipe(made)
    p = float(START @ RIGHT)
    for kind, (sign, how) in SIDES.items():
        size = 1 - p if sign > 0 else -p
        for gap in (torch.tensor([-1.6, -1e-9]), torch.tensor([1e-9, 1.6])):
            force = size * (1 + weight * factor(gap, torch.tensor(sign), slope))
            left.plot(gap, force, color=how.color, linestyle=how.linestyle, label=kind if gap[0] < 0 else None)
        gaps = (START.log() - math.log(START[place(expert)]))[sign == SIGN]
        left.plot(gaps, size * (1 + weight * factor(gaps, torch.tensor(sign), slope)), how.marker, color=how.color)
    left.axhline(0.0, color="#888888", linewidth=0.8)
    left.axvline(0.0, color="#888888", linewidth=0.8)
    left.set(title="push on log π, at the start", xlabel="log π(y) - log π(expert)", xlim=(-1.7, 1.7), ylim=(-4.4, 2.4))
    left.legend(loc="upper right")
    grpo, gated = _ends(slope, weight, expert, accuracy).softmax(-1)
    laws = {"start": START, "GRPO": grpo, "CalibRL": gated}
    names = [f"{'right' if r else 'wrong'}\n{i + 1}" for i, r in enumerate(RIGHT)]
    names[place(expert)] = f"expert\n{place(expert) + 1}"
    bars(right, laws, names, roles=ROLES)
    right.set(title=f"at accuracy {accuracy:g}", ylabel="probability", ylim=(0, 0.62))
    right.legend(loc="upper right")
    return made


def gate_words(slope: float = 0.3, weight: float = 1.0, expert: float = 0.18, accuracy: float = 0.95) -> str:
    """What `gate_figure` shows, in words."""
    grpo, gated = entropy(among_right(_ends(slope, weight, expert, accuracy))).tolist()
    start, p = float(entropy(among_right(START.log()))), float(START @ RIGHT)
    below, past = ((1 - p) * (1 + weight * g) for g in (1.0, slope))
    return (
        f"Expert's answer at {expert:g}, λ = {weight:g}, α = {slope:g}: right answers are pushed by {below:.3g} below "
        f"the expert's level and by {past:.3g} past it. The right answers' entropy is {start:.4g} at first; at "
        f"accuracy {accuracy:g} it is {grpo:.4g} under GRPO and {gated:.4g} under CalibRL."
    )


def gate_explorer(live: bool | None = None) -> Explorer:
    """The slope, the weight, whose answer is the expert's, and the accuracy at which both methods are compared."""
    controls: dict[str, Any] = {
        "slope": Slider(0.0, 1.0, default=0.3, step=0.1, label="α"),
        "weight": Slider.at(WEIGHTS, default=1.0, label="λ"),
        "expert": Slider.at(EXPERTS, default=0.18, label="the expert's answer had"),
        "accuracy": Slider.at((0.7, 0.8, 0.9, 0.95), default=0.95, label="compared at accuracy"),
    }
    presets: dict[str, dict[str, Any]] = {
        "a gate": {},
        "no gate": {"slope": 1.0},
        "a strong gate": {"weight": 5.0, "slope": 0.0},
        "a rare expert": {"expert": 0.12},
        "as released": {"weight": 0.1, "slope": 0.5},
    }
    return explore(gate_figure, controls, presets, gate_words, live)
