"""The explorer of lesson 27: a spurious winner, what one step does to it, and the factor of each wrong answer."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from toykit.lessons.l27_ace.exact import GRPO, path, rule, winner
from toykit.lessons.l27_ace.figures import LOOKS
from toykit.plots import Choice, Slider, bars, explore, figure, role, wipe
from toykit.plots.explorer import Explorer

MASSES = (0.0653, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # the first has the reference's proportions
KINDS = {"softplus": "ACE", "relu": "ReLU", "uniform": "uniform"}
ANSWERS = ("right", "spur.", *"CDEFGHIJ")
RATIOS = torch.linspace(-3, 3.5, 131, dtype=torch.float64)


@cache
def _step(alpha: float, mass: float, kind: str) -> dict[str, Tensor]:
    """Probabilities [10] before, of the reference, their change in a step under GRPO and the rule; c and the factor."""
    log_pi, log_ref = winner(mass)
    chosen = rule(alpha, kind)
    before, after = path([GRPO, chosen], [0, 1], mass=mass).exp()
    c = log_pi - log_ref
    found = {"policy": log_pi.exp(), "reference": log_ref.exp(), "c": c, "factor": chosen(c)}
    return found | dict(zip(("GRPO", "rule"), after - before, strict=True))


@cache
def _frame() -> tuple[Figure, Any]:
    return figure(3, height=3.1, width=9.8, widths=(1.25, 1.25, 1))


def step_figure(alpha: float = 2.0, mass: float = 0.8, kind: str = "softplus") -> Figure:
    """Policy and reference, the change of each answer in one exact step, and the factor against c."""
    found, made = _step(alpha, mass, kind), _frame()[0]
    laws, change, curve = wipe(made)
    how, name = LOOKS[KINDS[kind]], KINDS[kind]
    before = {"policy": found["policy"], "reference": found["reference"]}
    bars(laws, before, ANSWERS, "plain", {"policy": role("exact"), "reference": LOOKS["reference"]})
    laws.set(title="before the step", ylabel="probability", ylim=(0, 1))
    steps = {"GRPO": 1000 * found["GRPO"], name: 1000 * found["rule"]}
    bars(change, steps, ANSWERS, "plain", {"GRPO": LOOKS["GRPO"], name: how})
    change.axhline(0, color="#888888", linewidth=0.8)
    change.set(title="change in one step, × 1000", ylim=(-14, 4))
    for ax, place in ((laws, "upper right"), (change, "lower right")):
        ax.tick_params(axis="x", labelsize=8)
        ax.legend(loc=place)
    curve.plot(RATIOS, rule(alpha, kind)(RATIOS), color=how.color, linestyle=how.linestyle)
    for name, i, offset in (("spurious", 1, (-6, 5)), ("others", 2, (8, -10))):
        x, height = found["c"][i].item(), found["factor"][i].item()
        curve.plot([x], [height], marker="o", color=how.color, markersize=7)
        align = "right" if name == "spurious" else "left"
        curve.annotate(name, (x, height), offset, textcoords="offset points", ha=align, fontsize=8)
    curve.set(title="factor of wrong answers", xlabel="c, nats", ylim=(-0.4, 13), xlim=(-3, 3.5))
    return made


def step_words(alpha: float = 2.0, mass: float = 0.8, kind: str = "softplus") -> str:
    """What `step_figure` shows, in words."""
    found = _step(alpha, mass, kind)
    c, factor = found["c"].tolist(), found["factor"].tolist()
    change = {name: (1000 * found[name]).tolist() for name in ("GRPO", "rule")}
    return (
        f"α = {alpha:g}, {kind}, the spurious answer at {mass:g}: its c is {c[1]:.2f} and its factor {factor[1]:.2f}, "
        f"that of the other wrong answers {c[2]:.2f} and {factor[2]:.2f}. In one step, in thousandths, GRPO moves the "
        f"right answer by {change['GRPO'][0]:+.2f}, the spurious one by {change['GRPO'][1]:+.2f} and each other by "
        f"{change['GRPO'][2]:+.3f}; the rule by {change['rule'][0]:+.2f}, {change['rule'][1]:+.2f} and "
        f"{change['rule'][2]:+.3f}."
    )


def step_explorer(live: bool | None = None) -> Explorer:
    """How strong the rule is, how far the spurious answer has been raised, and which rule."""
    controls: dict[str, Any] = {
        "alpha": Slider(0.0, 4.0, default=2.0, step=0.25, label="α (u)"),
        "mass": Slider.at(MASSES, default=0.8, label="mass of the spurious answer"),
        "kind": Choice(tuple(KINDS), default="softplus", label="factor"),
    }
    presets: dict[str, dict[str, Any]] = {
        "spurious winner": {},
        "ReLU": {"kind": "relu"},
        "uniform": {"kind": "uniform"},
        "no winner": {"mass": MASSES[0]},
    }
    return explore(step_figure, controls, presets, step_words, live)
