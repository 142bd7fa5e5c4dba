"""The explorer of lesson 35: pass@k of the base, of RL and of a distilled policy, and which problems are lost."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from torch import Tensor

from toykit.diagnostics import accuracy_histogram, solved, support_table
from toykit.exact import even_push
from toykit.lessons.l35_limit_of_rlvr.exact import GRPO, KS, SAMPLES, UNSEEN, World, missed, world
from toykit.plots import Choice, Slider, explore, figure, role, wipe
from toykit.plots.explorer import Explorer
from toykit.plots.style import CYCLE

LOOKS = {"base": role("prior"), "RL": role("policy"), "distilled": CYCLE[2]}
STEPS = (0, 10, 50, 200, 800)
ALONE = "none"
OVERLAPS = {"little": 0.0, "some": 1.0, "much": 2.0, "very much": 4.0}
TEMPERATURE = Slider(0.25, 8.0, default=1.0, log=11, label="temperature of RL")
PARTS = ("0", "≤.2", "≤.4", "≤.6", "≤.8", "≤1")


@cache
def _worlds(alone: bool) -> tuple[World, Tensor, Tensor]:
    """(settings, RL's weights, distilled weights), the weights [steps, settings, ...]."""
    made = world([0], orthogonal=True) if alone else world([0], tuple(OVERLAPS.values()))
    return made, made.train(GRPO, STEPS), made.train(even_push, STEPS)


def _state(step: int, sharing: str, temperature: float) -> dict[str, Tensor]:
    """Success rates [24] of the three policies."""
    made, trained, taught = _worlds(sharing == ALONE)
    at, i = STEPS.index(step), 0 if sharing == ALONE else list(OVERLAPS).index(sharing)
    weights = {"base": made.base, "RL": trained[at] / temperature, "distilled": taught[at]}
    return {name: made.rates(w)[i] for name, w in weights.items()}


@cache
def _frame() -> tuple[Figure, Any]:
    return figure(3, height=3.2, width=9.4, widths=(2.1, 1.1, 1.6))


def coverage_figure(step: int = 800, sharing: str = "much", temperature: float = 1.0) -> Figure:
    """pass@k of three policies, the table of problems that base and RL can solve, and how accuracies spread."""
    rates = _state(step, sharing, temperature)
    made, _ = _frame()
    left, middle, right = wipe(made)
    for name, p in rates.items():
        how = LOOKS[name]
        left.plot(KS, 1 - missed(p), color=how.color, linestyle=how.linestyle, marker=how.marker, label=name)
    left.set(title="problems solved within k tries", xlabel="tries k", ylabel="pass@k", ylim=(0, 1.04))
    left.set_xscale("log", base=2)
    left.set_xticks(KS[::2], [f"{k:,}" for k in KS[::2]])
    left.set_xlim(0.85, 1200)
    left.legend(loc="lower right")
    _draw_table(middle, _cells(rates))
    _draw_parts(right, {name: _parts(p) for name, p in rates.items()})
    return made


def _parts(p: Tensor) -> Tensor:
    """Problems [6] that 1,024 tries leave unsolved, and those with an accuracy in each fifth of 0 to 1."""
    found = len(p) * accuracy_histogram(p, bins=5, edge=UNSEEN)
    return torch.cat([found[:5], found[5:].sum(0, keepdim=True)])


def _cells(rates: dict[str, Tensor]) -> tuple[int, int, int, int]:
    """(both, only base, only RL, none)."""
    table = support_table(solved(rates["base"], SAMPLES), solved(rates["RL"], SAMPLES))
    both, only_base, only_rl, none = (int(c) for c in (table.preserved, table.lost, table.gained, table.out))
    return both, only_base, only_rl, none


def _draw_parts(ax: Axes, parts: dict[str, Tensor]) -> None:
    """Bars side by side, those of one policy as one shape, which draws faster."""
    width, n = 0.8 / len(parts), len(PARTS)
    for i, (name, counts) in enumerate(parts.items()):
        start = torch.arange(n) + (i - len(parts) / 2) * width
        edges = torch.stack([start, start + width], 1).flatten()
        steps = torch.stack([counts, torch.zeros(n)], 1).flatten()[:-1]
        how = LOOKS[name]
        ax.stairs(steps, edges, fill=True, facecolor=how.color, edgecolor="white", hatch=how.hatch, alpha=0.85)
    ax.set_xticks(range(n), PARTS)
    ax.set(title="accuracy, problem by problem", xlabel="share of right answers", ylabel="problems", ylim=(0, 25))
    ax.set_xlim(-0.5, n - 0.5)
    ax.grid(False, axis="x")


def _draw_table(ax: Axes, cells: tuple[int, int, int, int]) -> None:
    """Four squares with their counts; lost ones in RL's colour, new ones in that of the distilled policy."""
    named = zip(("kept", "lost", "new", "neither"), cells, strict=True)
    colors = ("#D9D9D9", LOOKS["RL"].color, LOOKS["distilled"].color, "#FFFFFF")
    shades = [(*to_rgb(color), 0.75 if count else 0.12) for color, count in zip(colors, cells, strict=True)]
    ax.imshow(np.array(shades).reshape(2, 2, 4), extent=(0, 2, 0, 2), interpolation="nearest")
    for i, (name, count) in enumerate(named):
        ax.text(i % 2 + 0.5, 1.56 - i // 2, str(count), ha="center", va="center", fontsize=17)
        ax.text(i % 2 + 0.5, 1.17 - i // 2, name, ha="center", va="center", fontsize=8)
    for line in (ax.axhline, ax.axvline):
        for place in (0, 1, 2):
            line(place, color="#444444", linewidth=0.8)
    ax.set(title="solvable in 1,024 tries", xlim=(-0.02, 2.02), ylim=(-0.02, 2.02), aspect="equal")
    ax.set_xticks([0.5, 1.5], ["yes", "no"])
    ax.set_yticks([0.5, 1.5], ["no", "yes"])
    ax.set(xlabel="by RL", ylabel="by the base")
    ax.grid(False)


def coverage_words(step: int = 800, sharing: str = "much", temperature: float = 1.0) -> str:
    """What `coverage_figure` shows, in words."""
    rates = _state(step, sharing, temperature)
    curves = {name: 1 - missed(p) for name, p in rates.items()}
    at = KS.index(256)
    said = "; ".join(f"{name} {c[0]:.2f} and {c[at]:.3f}" for name, c in curves.items())
    both, gone, new, none = _cells(rates)
    return (
        f"Step {step}, shared features: {sharing}, RL sampled at temperature {temperature:g}. "
        f"pass@1 and pass@256: {said}. Of 24 problems {both} are solvable by both, {gone} by the base only, "
        f"{new} by RL only, {none} by neither."
    )


def coverage_explorer(live: bool | None = None) -> Explorer:
    """Training step, how much the prompts share, and RL's temperature: what RL wins at small k and loses at large."""
    controls: dict[str, Any] = {
        "step": Slider.at(STEPS, default=800, label="training steps"),
        "sharing": Choice((ALONE, *OVERLAPS), default="much", label="shared features"),
        "temperature": TEMPERATURE,
    }
    presets: dict[str, dict[str, Any]] = {
        "before": {"step": 0},
        "sharpened": {"step": 800},
        "heated": {"step": 800, "temperature": 4.0},
        "nothing shared": {"step": 800, "sharing": ALONE},
    }
    return explore(coverage_figure, controls, presets, coverage_words, live)
