"""The explorer of lesson 13: one draw's mass balance, and what more draws do."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from toykit.exact import MassBalance, mass_balance, probability_change, subset_law, subsets, surrogate_step
from toykit.lessons.l13_brorl.exact import NEVER, PARTS, RIGHT, position
from toykit.plots import bars, explore, figure, wipe
from toykit.plots.controls import Slider
from toykit.plots.explorer import Explorer
from toykit.plots.style import BLACK, CYCLE, DASH_DOT, GREY, VERMILION, Role

N = Slider.at((1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512), default=1, label="draws N")
WRONG = Slider(-1.0, 0.0, default=-1.0, step=0.25, label="reward of a wrong token")
SPREAD = Slider(0.0, 1.5, default=1.0, step=0.1, label="spread of the correct logits")
DRAW = Slider(0, 19, default=1, step=1, label="draw number")
TERMS = {"sampled correct": CYCLE[0], "sampled wrong": CYCLE[2], "unsampled": CYCLE[4]}
HARM, WEAK = Role(BLACK), Role(VERMILION, DASH_DOT)
NAMES = ("A", "B", "C", "x", "y", "z")


@dataclass(frozen=True)
class State:
    """What the panels show: a draw's set [6], the tokens' first-order changes [6] and the terms of their sum, and
    two chances [512] by N: that Q_pos falls, and that token C does."""

    p: Tensor
    drawn: Tensor
    change: Tensor
    terms: MassBalance
    harm: Tensor
    weak: Tensor


@cache
def _laws() -> Tensor:
    """[512 + 1, spreads, 64]: the law of the drawn set."""
    return subset_law(torch.stack([position(spread) for spread in SPREAD.values]), int(N.high))


@cache
def _tokens(spread: float, draw: int) -> Tensor:
    """512 tokens drawn in a row; a larger N sees more of them."""
    p = position(spread).exp().numpy()
    u = np.random.default_rng(draw).random(int(N.high))
    return torch.from_numpy(p.cumsum().searchsorted(u).clip(max=5))


def state(n: int, reward_wrong: float, spread: float, draw: int) -> State:
    """Everything at one setting of the explorer."""
    log_p, sets, law = position(spread), subsets(6), _laws()[:, SPREAD.values.index(spread)]
    every = mass_balance(log_p, RIGHT, sets, reward_wrong=reward_wrong)
    changes = probability_change(log_p, surrogate_step(log_p, RIGHT, sets, reward_wrong=reward_wrong))
    drawn = torch.zeros(6, dtype=torch.bool)
    drawn[_tokens(spread, draw)[:n]] = True
    mine = int((drawn * 2 ** torch.arange(6)).sum())
    terms = MassBalance(*(getattr(every, name)[mine] for name in PARTS))
    harm, weak = (law[1:, x < -NEVER].sum(1) for x in (every.total, changes[:, 2]))
    return State(log_p.exp(), drawn, changes[mine], terms, harm, weak)


@cache
def _frame() -> tuple[Figure, Any]:
    return figure(3, 1, height=3.1, width=9.2, widths=(1, 1.4, 1.4))


def balance_figure(n: int = 1, reward_wrong: float = -1.0, spread: float = 1.0, draw: int = 1) -> Figure:
    """The terms of dQ_pos, each token's change in this draw, and two chances against N."""
    now = state(n, reward_wrong, spread, draw)
    made, _ = _frame()
    left, middle, right = wipe(made)
    _draw_terms(left, now)
    _draw_tokens(middle, now)
    _draw_chances(right, now, n)
    return made


def _draw_terms(ax: Any, now: State) -> None:
    """To the scale of the pile: its size falls to a thousandth where unlikely tokens are drawn."""
    parts = np.array([float(getattr(now.terms, name)) for name in ("sampled_correct", "sampled_wrong", "unsampled")])
    scale = max(parts.clip(min=0).sum(), -parts.clip(max=0).sum()) or 1.0  # all 0 where nothing was rewarded
    bars(ax, {name: [part] for name, part in zip(TERMS, parts / scale, strict=True)}, [""], "stacked", TERMS)
    ax.axhline(parts.sum() / scale, color=BLACK, linewidth=1.2, linestyle="--")
    ax.plot(0.55, parts.sum() / scale, "D", color=BLACK, markersize=7, label="sum: dQ")
    ax.set(title="correct mass, this draw", ylim=(-1.1, 2.2), xlim=(-0.7, 0.8))
    ax.set_yticks([0], ["0"])
    ax.legend(loc="upper left", fontsize=8)


def _draw_tokens(ax: Any, now: State) -> None:
    place = np.arange(6) + (np.arange(6) > 2) * 0.5
    growth = now.change / now.p  # beside its own size, or the loss of an unlikely token would not be seen
    heights = (growth / growth.abs().max().clamp(min=NEVER)).tolist()
    for i, (x, height, drawn) in enumerate(zip(place, heights, now.drawn.tolist(), strict=True)):
        color = TERMS["sampled correct" if i < 3 else "sampled wrong"].color
        how = {"facecolor": color} if drawn else {"facecolor": "white", "hatch": "////"}
        ax.bar(x, height, 0.8, edgecolor=color, **how)
    ax.axhline(0, color="#444444", linewidth=0.8)
    for x, words in ((1, "correct"), (4.5, "wrong")):
        ax.text(x, 1.2, words, ha="center")
    for x, p in zip(place, now.p.tolist(), strict=True):
        ax.text(x, -1.32, f"{p:.2f}", ha="center", fontsize=8, color=GREY)
    ax.set_xticks(place, NAMES)
    ax.set(title="growth of each token, this draw", ylim=(-1.4, 1.4), xlabel="filled: sampled, hatched: not")
    ax.set_yticks([0], ["0"])
    ax.grid(False, axis="x")


def _draw_chances(ax: Any, now: State, n: int) -> None:
    x = np.arange(1, len(now.harm) + 1)
    for how, values, label in ((HARM, now.harm, "correct mass Q falls"), (WEAK, now.weak, "weakest correct, C, falls")):
        ax.plot(x, values.numpy(), color=how.color, linestyle=how.linestyle, label=label)
        ax.plot(n, float(values[n - 1]), "o", color=how.color, markersize=7, clip_on=False)
    ax.set(title="chance, over all draws", xlabel="draws N", xscale="log", ylim=(0, 1.02), xlim=(1, 512))
    ax.set_xticks([1, 4, 16, 64, 256], ["1", "4", "16", "64", "256"])
    ax.legend(loc="center right")


def balance_words(n: int = 1, reward_wrong: float = -1.0, spread: float = 1.0, draw: int = 1) -> str:
    """What `balance_figure` shows, in words."""
    now = state(n, reward_wrong, spread, draw)
    drawn = ", ".join(name for name, hit in zip(NAMES, now.drawn.tolist(), strict=True) if hit)
    terms = now.terms
    return (
        f"{n} draw{'s' if n > 1 else ''}, sampled {drawn}. The correct mass: {terms.sampled_correct:+.4f} by sampled "
        f"correct, {terms.sampled_wrong:+.4f} by sampled wrong, {terms.unsampled:+.4f} by unsampled tokens, sum "
        f"{terms.total:+.4f}. Token C changes by {100 * now.change[2] / now.p[2]:+.1f} %. Over all draws of N, the "
        f"correct mass falls with probability {_chance(now.harm[n - 1])}, token C with {_chance(now.weak[n - 1])}."
    )


def _chance(p: Tensor) -> str:
    return f"{p:.2f}" if p > 0.005 else "less than 0.005"


def balance_explorer(live: bool | None = None) -> Explorer:
    """N, the reward of a wrong token, the spread of the correct logits and the number of the draw."""
    controls: dict[str, Any] = {"n": N, "reward_wrong": WRONG, "spread": SPREAD, "draw": DRAW}
    presets: dict[str, dict[str, Any]] = {
        "an unlucky draw": {"n": 1, "draw": 1},
        "many draws": {"n": 64},
        "many draws, equal tokens": {"n": 64, "spread": 0.0},
    }
    return explore(balance_figure, controls, presets, balance_words, live)
