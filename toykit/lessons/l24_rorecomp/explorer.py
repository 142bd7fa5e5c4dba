"""The explorer of lesson 24: what of a group comes first, and how much of the rest keeps a useful length."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from toykit.exact import ascend
from toykit.lessons.l24_rorecomp.exact import FOUR, LR, choosing, pushes
from toykit.plots import Slider, explore, figure, role, wipe
from toykit.plots.explorer import Explorer
from toykit.plots.style import GREEN, VERMILION
from toykit.rollouts import Rollouts
from toykit.selection import Recomposition

GROUP = ((5, True), (12, False), (3, True), (6, False), (9, True), (2, False), (7, True), (14, True))
KEPT = tuple(range(0, 601, 25))


@cache
def first(alpha: float) -> tuple[bool, ...]:
    """Which of the group shown come first."""
    lengths, right = (torch.tensor(of)[None] for of in zip(*GROUP, strict=True))
    mask = torch.arange(int(lengths.max())) < lengths[..., None]
    tokens, one = torch.zeros(mask.shape, dtype=torch.int64), torch.zeros(1, 1, dtype=torch.int64)
    weights = torch.full(lengths.shape, 1 / len(GROUP), dtype=torch.float64)
    logp = torch.zeros(mask.shape, dtype=torch.float64)
    made = Rollouts(one, one.bool(), one[0], tokens, mask, logp, right.double(), weights)
    return tuple(bool(share) for share in Recomposition(alpha).share(made)[0])


@cache
def _path(alpha: float, p_comp: float, short: float, long: float) -> Tensor:
    """P(long) [len(KEPT)] on the way from 1/2, with groups of four."""
    start = torch.zeros((), dtype=torch.float64)
    return ascend(choosing(short, long, p_comp, pushes(FOUR, Recomposition(alpha))), start, LR, KEPT).sigmoid()


@cache
def _frame() -> tuple[Figure, Any]:
    return figure(2, height=3.2, width=9.4, widths=(1.2, 1))


def branch_figure(alpha: float = 0.5, p_comp: float = 0.0, short: float = 0.5, long: float = 0.7) -> Figure:
    """A group of eight with what comes first filled, and P(long) and success of the choice of two lengths."""
    made, _ = _frame()
    left, right = wipe(made)
    chosen = first(alpha)
    for i, ((length, good), now) in enumerate(zip(GROUP, chosen, strict=True)):
        color = GREEN if good else VERMILION
        left.bar(i, length, 0.75, facecolor=color if now else "white", edgecolor=color, linewidth=1.6)
        left.text(i, length + 0.3, ("+" if good else "-") + (" first" if now else " later"), ha="center", fontsize=9)
    left.set(title="a group: right +, wrong -", xlabel="completion", ylabel="tokens", ylim=(0, 17))
    path = _path(alpha, p_comp, short, long)
    how, other = role("policy"), role("exact")
    right.plot(KEPT, path, color=how.color, linestyle=how.linestyle, marker=how.marker, markevery=4, label="P(long)")
    success = short + (long - short) * path
    right.plot(KEPT, success, color=other.color, marker=other.marker, markevery=4, label="success")
    right.set(title="short or long?", xlabel="steps", ylim=(0, 1.02), xlim=(0, 600))
    right.legend(loc="lower right", bbox_to_anchor=(1, 0.2))
    return made


def branch_words(alpha: float = 0.5, p_comp: float = 0.0, short: float = 0.5, long: float = 0.7) -> str:
    """What `branch_figure` shows, in words."""
    taken = [f"{length}{'+' if good else '-'}" for (length, good), now in zip(GROUP, first(alpha), strict=True) if now]
    end = float(_path(alpha, p_comp, short, long)[-1])
    return (
        f"With alpha {alpha:g} {len(taken)} of 8 completions come first: {', '.join(taken)}. Weight {p_comp:g} on the "
        f"rest, short answers right with {short:g} and long ones with {long:g}: after 600 steps of groups of four "
        f"P(long) is {end:.3g} and success {short + (long - short) * end:.3g}, from {(short + long) / 2:.3g}."
    )


def branch_explorer(live: bool | None = None) -> Explorer:
    """How much comes first, how much of the rest is given back, and how often each branch is right."""
    controls: dict[str, Any] = {
        "alpha": Slider.at((0.25, 0.5, 0.75, 1.0), default=0.5),
        "p_comp": Slider(0.0, 1.0, default=0.0, step=0.05, label="weight on the rest"),
        "short": Slider(0.1, 0.9, default=0.5, step=0.1, label="success of the short answer"),
        "long": Slider(0.1, 0.9, default=0.7, step=0.1, label="success of the long answer"),
    }
    presets: dict[str, dict[str, Any]] = {
        "nothing given back": {},
        "half given back": {"p_comp": 0.5},
        "a small margin": {"p_comp": 0.5, "short": 0.6},
        "all come first": {"alpha": 0.75},
    }
    return explore(branch_figure, controls, presets, branch_words, live)
