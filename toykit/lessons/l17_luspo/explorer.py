"""The explorer of lesson 17: four answers under exact flow, and which way the mean length goes."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from toykit.exact import ascend
from toykit.lessons.l17_luspo.exact import BY_TOKENS, LR, RIGHT, at_success, growth, mean_length, velocity
from toykit.lessons.l17_luspo.figures import LOOKS
from toykit.plots import Slider, bars, explore, figure, role, wipe
from toykit.plots.explorer import Explorer

KEPT = (0, 1, 2, 5, 10, 20, 30, 40, 50, 75, 100)
RATES = torch.arange(1, 50, dtype=torch.float64) / 50
ROLES = LOOKS | {"start": role("prior")}


def lengths_of(long: int) -> Tensor:
    return torch.tensor([1.0, long, 1.0, long], dtype=torch.float64)


@cache
def _paths(p: float, long: int, clipped: float) -> Tensor:
    """Probabilities [len(KEPT), 2, 4] of the four answers on the way, under LUSPO and GSPO."""
    power = torch.tensor(list(BY_TOKENS.values()), dtype=torch.float64)[:, None]
    lengths, start = lengths_of(long), at_success(torch.tensor(p, dtype=torch.float64))
    path = ascend(lambda z: velocity(z, power, lengths, 1 - clipped), start.expand(2, -1), LR, KEPT)
    return path.softmax(-1)


def _speed(p: Tensor, long: int, clipped: float) -> Tensor:
    """d log E[L] / dt [...] under GSPO at success p [...], both lengths equally likely."""
    logits, lengths = at_success(p), lengths_of(long)
    return growth(logits, velocity(logits, 1.0, lengths, 1 - clipped), lengths) / ((1 + long) / 2)


@cache
def _frame() -> tuple[Figure, Any]:
    return figure(2, height=3.2, width=9.4, widths=(1.4, 1))


def flow_figure(steps: int = 50, p: float = 0.7, long: int = 4, clipped: float = 0.0) -> Figure:
    """The four answers at the start and after some steps, and the speed of the mean length against success."""
    path, at = _paths(p, long, clipped), KEPT.index(steps)
    made, _ = _frame()
    left, right = wipe(made)
    laws = {"start": path[0, 0]} | {name: path[at, i] for i, name in enumerate(BY_TOKENS)}
    bars(left, laws, ("short, right", "long, right", "short, wrong", "long, wrong"), roles=ROLES)
    left.set(title="four answers", ylabel="probability", ylim=(0, 1.0))
    left.legend(loc="upper right")
    curve, how = _speed(RATES, long, clipped), LOOKS["GSPO"]
    right.plot(RATES, curve, color=how.color, linestyle=how.linestyle)
    right.axhline(0.0, color=LOOKS["LUSPO"].color)
    right.plot([p], [float(_speed(torch.tensor(p, dtype=torch.float64), long, clipped))], how.marker, color=how.color)
    right.set(title="at the start", xlabel="success p", ylabel="d log E[L] / dt", xlim=(0, 1), ylim=(-0.035, 0.035))
    return made


def flow_words(steps: int = 50, p: float = 0.7, long: int = 4, clipped: float = 0.0) -> str:
    """What `flow_figure` shows, in words."""
    path, lengths = _paths(p, long, clipped), lengths_of(long)
    end = dict(zip(BY_TOKENS, path[KEPT.index(steps)], strict=True))
    mean = {name: float(mean_length(law, lengths=lengths)) for name, law in end.items()}
    kinds = {kind: among for kind, among in (("right", RIGHT), ("wrong", 1 - RIGHT))}
    by = {kind: float(mean_length(end["GSPO"], among, lengths)) for kind, among in kinds.items()}
    speed = float(_speed(torch.tensor(p, dtype=torch.float64), long, clipped))
    return (
        f"Success {p:g}, lengths 1 and {long}, {clipped:.0%} of the pushes on wrong answers clipped: the mean length "
        f"is {(1 + long) / 2:g} and {'grows' if speed > 1e-9 else 'falls' if speed < -1e-9 else 'stays'} under GSPO at "
        f"first; after {steps} steps it is {mean['GSPO']:.3g} under GSPO (right answers {by['right']:.3g}, wrong ones "
        f"{by['wrong']:.3g}) and {mean['LUSPO']:.3g} under LUSPO."
    )


def flow_explorer(live: bool | None = None) -> Explorer:
    """How long the flow goes, where it starts, how long the long answers are, and how many negatives are clipped."""
    controls: dict[str, Any] = {
        "steps": Slider.at(KEPT, default=50),
        "p": Slider(0.05, 0.95, default=0.7, step=0.05, label="success at the start"),
        "long": Slider(1, 20, default=4, label="length of the long answers"),
        "clipped": Slider(0.0, 1.0, default=0.0, step=0.1, label="share of negatives clipped"),
    }
    presets: dict[str, dict[str, Any]] = {
        "mostly right": {"p": 0.7},
        "mostly wrong": {"p": 0.3, "steps": 5},
        "negatives clipped": {"p": 0.3, "steps": 5, "clipped": 0.8},
        "one length": {"long": 1},
    }
    return explore(flow_figure, controls, presets, flow_words, live)
