"""The explorer of lesson 30: the weight of the KL, what it is balanced against, and a group's advantages."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from toykit.lessons.l30_apo.exact import cost, gain, root
from toykit.lessons.l30_apo.figures import LOOKS
from toykit.objectives import DADS, STCR, Advantage
from toykit.plots import Slider, bars, explore, figure, wipe
from toykit.plots.explorer import Explorer

GROUPS = (4, 8, 16)
LNBS = (1e-5, 1e-3, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0)
CURVES = {"KL": None, "DADS": DADS()}
P = torch.linspace(0, 1, 101, dtype=torch.float64)


@cache
def _frame() -> tuple[Figure, Any]:
    return figure(3, height=3.1, width=9.8, widths=(1, 1.1, 1.5))


def _group(p0: float, lnb: float, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Lengths, which are right, advantages before and after of a group of `size` whose share p0 is right."""
    lengths = torch.linspace(8, 40, size, dtype=torch.float64).round()
    n_right = min(max(round(p0 * size), 1), size - 1)
    right = torch.zeros(size, dtype=torch.bool)
    right[((torch.arange(n_right) + 0.5) * size / n_right).long()] = True
    share = torch.full((1, size), 1 / size, dtype=torch.float64)
    before = Advantage("group", "group", eps=1e-9)(right.double()[None], share)[0]
    longer = torch.where(right, 0.0, lengths - lengths[right].mean())
    return lengths, right, before, before * STCR(lnb).of(longer)


def _roots(beta: float, p0: float) -> dict[str, float]:
    return {name: float(root(torch.tensor(p0, dtype=torch.float64), beta, curve)) for name, curve in CURVES.items()}


def apo_figure(beta: float = 1.0, p0: float = 0.05, lnb: float = 0.1, size: int = 8) -> Figure:
    """Omega over a group's accuracy; the reward's push and both KLs' pull over p; a group's advantages by length."""
    made, _ = _frame()
    left, middle, right = wipe(made)
    _draw_weight(left, size)
    _draw_balance(middle, beta, p0)
    lengths, correct, before, after = _group(p0, lnb, size)
    names = [f"{int(n)}\n{'✓' if ok else ''}" for n, ok in zip(lengths, correct, strict=True)]
    looks = {"before": LOOKS["KL"], "after STCR": LOOKS["APO"]}
    bars(right, {"before": before, "after STCR": after}, names, "plain", looks)
    right.tick_params(axis="x", labelsize=7 if size > 8 else 9)
    right.set(title="advantages, ✓ right", xlabel="tokens of the completion", ylim=(-4.6, 4.4))
    right.legend(loc="lower left")
    return made


def _draw_weight(ax: Axes, size: int) -> None:
    for how, curve, label in (("DADS", DADS(), "run"), ("commented out", DADS("exponential"), "commented out")):
        look = LOOKS[how]
        ax.plot(P[1:-1], curve.of(P[1:-1]), color=look.color, linestyle=look.linestyle, label=label)
    k = torch.arange(1, size) / size
    ax.plot(k, DADS().of(k), "o", color=LOOKS["DADS"].color, markersize=4)
    ax.plot([0, 1], [1, 1], "o", color=LOOKS["DADS"].color, markersize=6)
    ax.plot([0, 1], [float(DADS().of(P[i])) for i in (0, -1)], "o", color=LOOKS["DADS"].color, mfc="white")
    ax.set(title="ω of right answers", xlabel="accuracy of the group", ylim=(-0.05, 1.45))
    ax.legend(loc="upper center", ncols=2, fontsize=8, handlelength=2.2, columnspacing=1.2)


def _draw_balance(ax: Axes, beta: float, p0: float) -> None:
    look = LOOKS["no KL"]
    ax.plot(P, gain(P), color=look.color, linestyle=look.linestyle, label="reward")
    start = torch.tensor(p0, dtype=torch.float64)
    for name, at in _roots(beta, p0).items():
        how, above = LOOKS[name], P[start <= P]
        ax.plot(above, cost(above, start, beta, CURVES[name]), color=how.color, linestyle=how.linestyle, label=name)
        ax.plot([at], [float(gain(torch.tensor(at)))], how.marker, color=how.color, markersize=7)
    ax.set(title="push and pull of “right”", xlabel="success rate p", xlim=(0, 1), ylim=(0, 0.62))
    ax.legend(loc="lower center")


def apo_words(beta: float = 1.0, p0: float = 0.05, lnb: float = 0.1, size: int = 8) -> str:
    """What `apo_figure` shows, in words."""
    roots = _roots(beta, p0)
    _, correct, before, after = _group(p0, lnb, size)
    times = float((after / before)[~correct][-1])
    return (
        f"β = {beta:g}, p0 = {p0:g}: training comes to rest at p = {roots['KL']:.3f} under the KL and at "
        f"{roots['DADS']:.3f} under DADS. In a group of {size} with {int(correct.sum())} right, ln b = {lnb:g} makes "
        f"the advantage of the longest wrong answer {times:.3g} times as large, and "
        f"the advantages' sum {float(after.sum()):.3g}."
    )


def apo_explorer(live: bool | None = None) -> Explorer:
    """The KL's weight, the base's success, the base of STCR's power, and the group's size."""
    controls: dict[str, Any] = {
        "beta": Slider.at((0.25, 0.5, 1.0, 2.0, 4.0), default=1.0, label="β"),
        "p0": Slider.at((0.02, 0.05, 0.1, 0.25, 0.5, 0.8), default=0.05, label="p0, what the base gets right"),
        "lnb": Slider.at(LNBS, default=0.1, label="ln b"),
        "size": Slider.at(GROUPS, default=8, label="G"),
    }
    presets: dict[str, dict[str, Any]] = {
        "hard": {"beta": 2.0},
        "easy": {"beta": 2.0, "p0": 0.8},
        "released b": {"lnb": 1e-5},
    }
    return explore(apo_figure, controls, presets, apo_words, live)
