"""The explorer of lesson 38: how hard a token is pushed, and the tokens of a solution as it is learned."""

from __future__ import annotations

import math
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from toykit.exact import ascend
from toykit.lessons.l38_rl_plus.exact import EXTERNAL, Coefficient, beside, gap, mis
from toykit.lessons.l38_rl_plus.figures import LOOKS
from toykit.plots import Choice, Slider, explore, figure, wipe
from toykit.plots.explorer import Explorer

UNIFORM = {"1": 1.0, "1/8": 1 / 8, "1/152,000": 1 / 152_000}
TOKENS = (0.6, 0.02, 0.3, 0.005)  # of the solution at first, eight tokens in the vocabulary
KEPT = (0, 2, 5, 10, 20, 40, 80, 120, 160, 200, 300, 400)
FINE = torch.logspace(-4, -0.001, 80, dtype=torch.float64)


@cache
def _learned(u: str, gamma: float) -> Tensor:
    """Probabilities [len(KEPT), T] of the solution's tokens on the way, by exact steps."""
    start = gap(torch.tensor(TOKENS, dtype=torch.float64))

    def gradient(z: Tensor) -> Tensor:
        p = _token(z)
        own, external = beside(p.prod())
        return (own + external * _weight(u, gamma)(p)) * (1 - p) * 8 / 7

    return _token(ascend(gradient, start, 1.0, KEPT))


def _token(z: Tensor) -> Tensor:
    return torch.sigmoid(z - math.log(7))


def _weight(u: str, gamma: float) -> Coefficient:
    return partial(mis, u=UNIFORM[u], gamma=gamma)


@cache
def _frame() -> tuple[Figure, Any]:
    return figure(2, height=3.4, width=9.4, widths=(1.25, 1))


def push_figure(u: str = "1", gamma: float = 0.5, steps: int = 0) -> Figure:
    """The push of a token against its probability by method, and those of a solution's four tokens on the way.

    That of the policy's own rows is for four such tokens, on the solution's scale: 7 p / (1 - p) of the path.
    """
    made, _ = _frame()
    left, right = wipe(made)
    x = FINE.log10()
    curves = {name: EXTERNAL[name](FINE) for name in ("SFT", "LUFFY", "off-policy")}
    curves |= {"RL-PLUS": _weight(u, gamma)(FINE), "own rows": 7 * FINE**4 / (1 - FINE**4)}
    for name, curve in curves.items():
        how = LOOKS["GRPO" if name == "own rows" else name]
        left.plot(x, curve.clamp(min=1e-12).log10(), color=how.color, linestyle=how.linestyle, label=name)
    left.set(title="push of a token, before A", xlabel="its probability p", ylim=(-9, 1.2), xlim=(-4, 0))
    left.set_xticks(range(-4, 1), ["1e-4", "1e-3", "0.01", "0.1", "1"])
    left.set_yticks(range(-6, 2, 2), ["1e-6", "1e-4", "0.01", "1"])
    left.legend(loc="lower left", fontsize=8)
    now = _learned(u, gamma)[KEPT.index(steps)]
    own, external = beside(now.prod())
    places = np.arange(len(TOKENS))
    plus, grpo = LOOKS["RL-PLUS"], LOOKS["GRPO"]
    from_solution = external * _weight(u, gamma)(now)
    right.bar(places, from_solution.numpy(), 0.6, color=plus.color, label="by the solution")
    right.bar(
        places,
        own.expand(len(TOKENS)).numpy(),
        0.6,
        from_solution.numpy(),
        color=grpo.color,
        hatch=grpo.hatch,
        label="by own rows",
    )
    right.set_xticks(places, [f"token {i + 1}\np = {p:.2g}" for i, p in enumerate(now.tolist())])
    right.set(title=f"after {steps} steps", ylabel="expected push", ylim=(0, 0.19 if float(own) < 0.01 else 1.05))
    right.grid(False, axis="x")
    right.legend(loc="upper right", fontsize=8)
    return made


def push_words(u: str = "1", gamma: float = 0.5, steps: int = 0) -> str:
    """What `push_figure` shows, in words."""
    now = _learned(u, gamma)[KEPT.index(steps)]
    own, external = beside(now.prod())
    pushes = (external * _weight(u, gamma)(now)).tolist()
    tokens = ", ".join(f"{p:.2g} (pushed by {c:.2g})" for p, c in zip(now.tolist(), pushes, strict=True))
    return (
        f"u = {u}, γ = {gamma:g}, after {steps} steps: the solution's tokens have probabilities {tokens}; the path "
        f"has {float(now.prod()):.2g}, and the policy's own rows push each token by {float(own):.2g}."
    )


def push_explorer(live: bool | None = None) -> Explorer:
    """What stands for the unknown law, how much likely tokens are held back, and how long it has been learned."""
    controls: dict[str, Any] = {
        "u": Choice(tuple(UNIFORM), default="1", label="u"),
        "gamma": Slider(0.0, 2.0, default=0.5, step=0.25, label="γ"),
        "steps": Slider.at(KEPT, default=0, label="steps"),
    }
    presets: dict[str, dict[str, Any]] = {
        "released code": {},
        "the text": {"u": "1/8"},
        "a real vocabulary": {"u": "1/152,000"},
        "no factor": {"gamma": 0.0},
        "found": {"steps": 400},
    }
    return explore(push_figure, controls, presets, push_words, live)
