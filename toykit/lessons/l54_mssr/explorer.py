"""The explorer of lesson 54: the shaping of an advantage, and the value of one prompt as it is tried."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from toykit.lessons.l54_mssr.bandits import one_token
from toykit.objectives import EntropyShaping, Tracker
from toykit.plots import Slider, explore, figure, wipe
from toykit.plots.explorer import Explorer
from toykit.plots.style import CYCLE

TRIES, JUMP = 80, 40
BEFORE, AFTER = 0.3, 0.8  # the prompt's rate, until the policy improves
ADVANTAGES = torch.linspace(-2, 2, 161, dtype=torch.float64)


def shape(h: float, alpha: float, kappa: float) -> torch.Tensor:
    """Shaped advantages of `ADVANTAGES` where the entropy is h nats."""
    made = one_token(torch.zeros(1, len(ADVANTAGES), dtype=torch.float64))
    made = made.with_(extras={"token_entropy": torch.full_like(made.old_logp, h)})
    return EntropyShaping(alpha, kappa, "law")(ADVANTAGES[None, :, None], made)[0, :, 0]


@cache
def tries(rho: float) -> tuple[list[float], list[float]]:
    """The outcomes of one prompt, and its value before each of them."""
    draw = np.random.default_rng(0)
    outcomes = [float(draw.random() < (BEFORE if i < JUMP else AFTER)) for i in range(TRIES)]
    tracker, values = Tracker("fixed", rho=rho), []
    for outcome in outcomes:
        values.append(float(tracker.values(torch.tensor(0))))
        tracker.see([0], [outcome], rho)
    return outcomes, values


@cache
def _frame() -> tuple[Figure, Any]:
    return figure(2, height=3.2, width=9.6, widths=(1, 1.5))


def tracker_figure(h: float = 1.0, alpha: float = 0.4, kappa: float = 2.0, rho: float = 0.9) -> Figure:
    """The shaped advantage against the advantage, and outcomes, value and its stationary spread of one prompt."""
    made = _frame()[0]
    left, right = wipe(made)
    left.plot(ADVANTAGES, ADVANTAGES, color="#888888", linewidth=0.9, linestyle="--", label="A")
    left.plot(ADVANTAGES, shape(h, alpha, kappa), color=CYCLE[0].color, label="A + ψ")
    left.axhline(0, color="#cccccc", linewidth=0.8)
    left.set(title="shaping", xlabel="advantage A", xlim=(-2, 2), ylim=(-2.5, 3.5))
    left.legend(loc="upper left")
    outcomes, values = tries(rho)
    steps = np.arange(TRIES)
    rate = np.where(steps < JUMP, BEFORE, AFTER)
    spread = np.sqrt(rate * (1 - rate) * (1 - rho) / (1 + rho))
    right.fill_between(
        steps, rate - spread, rate + spread, color=CYCLE[2].color, alpha=0.25, linewidth=0, label="p ± sd"
    )
    right.plot(steps, outcomes, "o", color="#666666", markersize=3, label="outcome")
    right.plot(steps, values, color=CYCLE[0].color, label="value v")
    right.set(title="one prompt", xlabel="tries of it", xlim=(-1, TRIES), ylim=(-0.08, 1.08))
    right.legend(loc="lower right", bbox_to_anchor=(1, 0.12), fontsize=8)
    return made


def tracker_words(h: float = 1.0, alpha: float = 0.4, kappa: float = 2.0, rho: float = 0.9) -> str:
    """What `tracker_figure` shows, in words."""
    new, edge = shape(h, alpha, kappa), alpha * h * kappa
    values = tries(rho)[1]
    far = {a: float(new[int((ADVANTAGES - a).abs().argmin())]) for a in (-1.0, 1.0)}
    return (
        f"Entropy {h:g}, α {alpha:g}, κ {kappa:g}: an advantage of 1 becomes {far[1.0]:.2f} and one of -1 "
        f"{far[-1.0]:.2f}; the cap |A| / κ is the smaller where |A| is below {edge:.2f}. The prompt's rate jumps from "
        f"{BEFORE:g} to {AFTER:g} after {JUMP} tries; with ρ {rho:g} its value is {values[JUMP]:.2f} then, "
        f"{values[JUMP + 10]:.2f} ten tries later and {values[-1]:.2f} before the last, and would keep a spread of "
        f"{math.sqrt(AFTER * (1 - AFTER) * (1 - rho) / (1 + rho)):.2f}."
    )


def tracker_explorer(live: bool | None = None) -> Explorer:
    """The shaping's three settings, and how much the tracker remembers."""
    controls: dict[str, Any] = {
        "h": Slider(0.0, 2.5, default=1.0, step=0.05, label="entropy H"),
        "alpha": Slider(0.1, 1.0, default=0.4, step=0.1, label="α"),
        "kappa": Slider(0.5, 4.0, default=2.0, step=0.5, label="κ"),
        "rho": Slider(0.8, 0.99, default=0.9, step=0.01, label="ρ"),
    }
    presets: dict[str, dict[str, Any]] = {
        "the paper's H": {},
        "the code's H, at most": {"h": 0.35},
        "signs change": {"kappa": 0.5, "h": 2.5},
        "a long memory": {"rho": 0.97},
        "a short memory": {"rho": 0.8},
    }
    return explore(tracker_figure, controls, presets, tracker_words, live)
