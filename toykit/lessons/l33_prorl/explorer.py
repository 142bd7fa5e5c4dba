"""The explorer of lesson 33: a staircase of resets, groups that are kept, and skills that compose."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from toykit.diagnostics import exact_pass_at_k
from toykit.exact import informative
from toykit.lessons.l33_prorl.exact import P0, SKILLS, skills_path, successes
from toykit.plots import Choice, Slider, explore, figure, wipe
from toykit.plots.explorer import Explorer
from toykit.plots.style import CYCLE

STEPS = 200
RATE = 0.1  # of a natural step, small beside 1 / beta
RATES = torch.linspace(0.001, 0.999, 200, dtype=torch.float64)
KS = 2 ** torch.arange(11)
RESETS = ("20", "40", "80", "never")


def climb(beta: float, every: int | None) -> Tensor:
    """Log-odds [STEPS + 1] under natural steps: each closes a share RATE beta of what is left up to the cap, which is
    1 / beta above the reference."""
    odds = [float(torch.logit(P0[0]))]
    ref = odds[0]
    for step in range(1, STEPS + 1):
        odds.append(odds[-1] + RATE * (1 - beta * (odds[-1] - ref)))
        if every is not None and step % every == 0:
            ref = odds[-1]
    return torch.tensor(odds, dtype=torch.float64)


@cache
def _composite(skills: int) -> tuple[float, float]:
    """The success on the composite of six skills: of the base, and after training on so many of them alone."""
    weights = torch.zeros(22, dtype=torch.float64)
    weights[:skills] = 1 / max(skills, 1)
    path = successes(skills_path(weights, (0, 500)))[..., -1]
    return float(path[0]), float(path[1])


@cache
def _frame() -> tuple[Figure, Any]:
    return figure(3, height=3.2, width=9.8)


def prorl_figure(beta: float = 1.0, reset: str = "40", group: int = 16, skills: int = SKILLS) -> Figure:
    """Log-odds against steps with and without resets, the share of groups that is kept, and pass@k of a composite."""
    every = None if reset == "never" else int(reset)
    made, _ = _frame()
    first, second, third = wipe(made)
    ours, never, start = climb(beta, every), climb(beta, None), float(torch.logit(P0[0]))
    first.plot(never, color=CYCLE[1].color, linestyle=CYCLE[1].linestyle, label="never reset")
    if every is not None:
        first.plot(ours, color=CYCLE[0].color, label=f"reset every {reset}")
    for k in range(1, STEPS // (every or STEPS) + 1):
        first.axhline(start + k / beta, color="#888888", linewidth=0.6, linestyle=":")
    first.set(title="log-odds of success", xlabel="natural steps", ylim=(-5, 14))
    first.legend(loc="upper left", fontsize=8)
    second.plot(RATES, informative(RATES, group), color=CYCLE[0].color)
    second.plot([0.01], [float(informative(P0[0], group))], CYCLE[2].marker, color=CYCLE[2].color, label="p = 0.01")
    second.set(title=f"groups kept, G = {group}", xlabel="success p", ylim=(0, 1.05))
    second.legend(loc="lower center", fontsize=8)
    for p, how, label in zip(_composite(skills), (CYCLE[1], CYCLE[0]), ("base", "trained"), strict=True):
        curve = exact_pass_at_k(torch.tensor(p), KS)
        third.plot(KS, curve, color=how.color, linestyle=how.linestyle, marker=how.marker, label=label)
    third.set(title=f"pass@k of six, {skills} trained", xlabel="k", xscale="log", ylim=(-0.03, 1.28))
    third.legend(loc="upper left", fontsize=8, ncols=2)
    return made


def prorl_words(beta: float = 1.0, reset: str = "40", group: int = 16, skills: int = SKILLS) -> str:
    """What `prorl_figure` shows, in words."""
    every = None if reset == "never" else int(reset)
    ours, never = (float(climb(beta, e)[-1].sigmoid()) for e in (every, None))
    cap = float((torch.logit(P0[0]) + 1 / beta).sigmoid())
    base, after = _composite(skills)
    told = "" if every is None else f"; with resets every {reset} it is {ours:.3g}"
    return (
        f"β = {beta:g}: without a reset success cannot pass {cap:.3g}, and after {STEPS} steps is {never:.3g}{told}. "
        f"A group of {group} at p = 0.01 is kept with probability "
        f"{float(informative(P0[0], group)):.3g}. Six skills at once: {base:.2g} in the base, {after:.2g} after "
        f"training on {skills} of them one at a time."
    )


def prorl_explorer(live: bool | None = None) -> Explorer:
    """How strong the penalty is, how often it is reset, the size of groups, and how many skills are trained."""
    controls: dict[str, Any] = {
        "beta": Slider(0.2, 2.0, default=1.0, step=0.1, label="β"),
        "reset": Choice(RESETS, default="40", label="reset every"),
        "group": Slider(2, 64, default=16, label="G"),
        "skills": Slider(1, SKILLS, default=SKILLS, label="skills trained"),
    }
    presets: dict[str, dict[str, Any]] = {
        "staircase": {},
        "never reset": {"reset": "never"},
        "reset before the cap": {"beta": 0.2, "reset": "20"},
        "narrow training": {"skills": 3, "group": 8},
    }
    return explore(prorl_figure, controls, presets, prorl_words, live)
