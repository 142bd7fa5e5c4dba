"""The explorer of lesson 26: a batch of right and wrong verdicts, a band, and what is left of the gradient."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from toykit.lessons.l26_stable_reinforce.exact import LEVELS, standardised, verdicts
from toykit.lessons.l26_stable_reinforce.figures import LOOKS
from toykit.objectives import SigmaFilter
from toykit.plots import Choice, Slider, explore, figure, wipe
from toykit.plots.explorer import Explorer

SIZES = (8, 10, 11, 16, 32, 64, 128, 256)
BANDS = {"0 ± 3 (paper)": "zero", "mean ± 3 (released code)": "mean"}
PAPER, CODE = BANDS
RATES = torch.arange(1, 256)


def _successes(n: int, share: float) -> int:
    """At least one verdict of each kind."""
    return min(max(round(share * n), 1), n - 1)


def _left(z: Tensor, kept: Tensor) -> Tensor:
    """What is left [...] of the gap between right and wrong advantages [..., n], and so of the expected gradient."""
    return (kept[..., 0] - kept[..., -1]) / (z[..., 0] - z[..., -1])


@cache
def _curve(about: str) -> Tensor:
    """The factor [255] in batches of 256 with 1 to 255 right verdicts."""
    rewards = verdicts(256, RATES)
    return _left(standardised(rewards), standardised(rewards, SigmaFilter(about=about)))


@cache
def _frame() -> tuple[Figure, Any]:
    return figure(2, height=3.2, width=9.4, widths=(1.4, 1))


def batch_figure(n: int = 256, share: float = 0.99, band: str = PAPER) -> Figure:
    """The two classes of a batch at their z with the band that is kept, and the gradient's factor against success."""
    made, _ = _frame()
    left, right = wipe(made)
    k = _successes(n, share)
    z, centre = _batch(n, k, band)
    low, high = centre - 3, centre + 3
    left.axvspan(low, high, color="#dddddd", zorder=0, label="kept")
    for name, at, count, look in (("wrong", z[1], n - k, "Reinforce++"), ("right", z[0], k, "StableReinforce")):
        how = LOOKS[look]
        left.bar(at, count, 0.5, color=how.color, hatch=how.hatch, edgecolor="white", label=f"{name}: {count}")
    left.set(title=f"a batch of {n}", xlabel="advantage z", ylabel="verdicts", yscale="log", xlim=(-17, 17))
    left.set_ylim(0.5, 900)
    left.minorticks_off()
    left.legend(loc="upper center", ncols=3, fontsize=8)
    for name, about in BANDS.items():
        how = LOOKS["StableReinforce" if about == "zero" else "+ filter"]
        right.plot(RATES / 256, _curve(about), color=how.color, linestyle=how.linestyle, label=name)
    right.plot([k / n], [_factor(n, k, band)], "o", color="#222222", mfc="white", markersize=8, clip_on=False)
    right.set(title="left of the expected gradient", xlabel="share of right verdicts", xlim=(0, 1), ylim=(-0.03, 1.38))
    right.legend(loc="upper center", fontsize=8)
    return made


def _batch(n: int, k: int, band: str) -> tuple[tuple[float, float], float]:
    """(z of a right and of a wrong verdict, the centre of the band)."""
    z = standardised(verdicts(n, torch.tensor(k)))
    mean = LEVELS[0] + (LEVELS[1] - LEVELS[0]) * k / n
    return (float(z[0]), float(z[-1])), mean if BANDS[band] == "mean" else 0.0


def _factor(n: int, k: int, band: str) -> float:
    rewards = verdicts(n, torch.tensor(k))
    return float(_left(standardised(rewards), standardised(rewards, SigmaFilter(about=BANDS[band]))))


def batch_words(n: int = 256, share: float = 0.99, band: str = PAPER) -> str:
    """What `batch_figure` shows, in words."""
    k = _successes(n, share)
    (right, wrong), centre = _batch(n, k, band)
    gone = [name for name, z in (("right", right), ("wrong", wrong)) if abs(z - centre) > 3 + 1e-9]
    said = f"the {gone[0]} ones are removed" if gone else "nothing is removed"
    return (
        f"{k} of {n} verdicts right: z = {right:.4g} of right and {wrong:.4g} of wrong ones, band from "
        f"{centre - 3:.3g} to {centre + 3:.3g}: {said}, and {_factor(n, k, band):.3g} of the expected gradient is left."
    )


def batch_explorer(live: bool | None = None) -> Explorer:
    """The batch's size, the share of right verdicts, and what the band is about."""
    controls: dict[str, Any] = {
        "n": Slider.at(SIZES, default=256, label="batch size n"),
        "share": Slider(0.01, 0.99, default=0.99, step=0.01, label="share of right verdicts"),
        "band": Choice(tuple(BANDS), label="band"),
    }
    presets: dict[str, dict[str, Any]] = {
        "three wrong": {},
        "a tenth wrong": {"share": 0.9},
        "ten verdicts": {"n": 10, "share": 0.9},
        "rarely right": {"n": 128, "share": 0.09},
        "the released code": {"share": 0.7, "band": CODE},
    }
    return explore(batch_figure, controls, presets, batch_words, live)
