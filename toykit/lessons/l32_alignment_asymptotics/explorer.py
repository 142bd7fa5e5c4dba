"""The explorer of lesson 32: reward against KL, a letter, of the tilt and of best-of-n, and the laws behind a point."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from toykit.exact import MarkovSource, best_of_n, kl, posterior, tilt_to_kl
from toykit.lessons.l32_alignment_asymptotics.exact import DELTA, P
from toykit.plots import explore, figure, role, wipe
from toykit.plots.controls import Slider
from toykit.plots.explorer import Explorer
from toykit.plots.style import GREY, Role

LENGTH = Slider.at((1, 2, 4, 8, 16, 32, 64, 128, 256), default=16, label="letters m")
BUDGET = Slider(0.05, 0.8, default=DELTA, step=0.05, label="δ, nats a letter")
RARITY = Slider(0.01, 0.25, default=0.05, step=0.01, label="probability of the best letter")
TOP = Slider(3, 6, default=4, step=1, label="reward of the best letter")
MOST_KL = 0.85  # of the left panel
ALPHAS = torch.cat([torch.linspace(0, 2, 41), torch.linspace(2.2, 6, 20)]).double()
LOOKS = {"base": role("prior"), "RL": role("posterior"), "best-of-n": role("policy")}
EDGE = Role(GREY, ":")


@dataclass(frozen=True)
class State:
    """Reward and KL a letter: of the tilt along ALPHAS [A, 2], of RL [2], and of best-of-n by length [M, 2].

    Then, over the rewards of strings of m letters [R], the laws of the base, of RL and of best-of-n; log n; and
    KL(best-of-n, RL) a letter.
    """

    curve: Tensor
    rl: Tensor
    bon: Tensor
    rewards: Tensor
    laws: dict[str, Tensor]
    log_n: float
    distance: float


def letters(best: float, top: int) -> tuple[Tensor, Tensor]:
    """(probabilities [4], rewards int64 [4]): the lesson's letters with another best one."""
    p = torch.cat([P[:3] / P[:3].sum() * (1 - best), torch.tensor([best], dtype=torch.float64)])
    return p, torch.tensor([0, 1, 2, top])


@cache
def _sums(best: float, top: int, m: int) -> tuple[Tensor, Tensor]:
    return MarkovSource.independent(*letters(best, top)).reward_law(m)


@cache
def state(m: int, delta: float, best: float, top: int) -> State:
    """Everything at one setting of the explorer."""
    p, whole = letters(best, top)
    r = whole.double()
    tilts = (p.log() + ALPHAS[:, None] * r).log_softmax(-1)
    tilt = tilt_to_kl(p.log(), r, delta)
    points = []
    for length in (x for x in LENGTH.values if x <= m):
        values, log_p = _sums(best, top, int(length))
        law = best_of_n(log_p, values, log_n=length * delta)
        points.append([law.kl.item() / length, (law.log_p.exp() @ values).item() / length])
    tilted = posterior(log_p, values, tilt.beta.item())
    return State(
        curve=torch.stack([kl(tilts, p.log().expand_as(tilts)), tilts.exp() @ r], 1),
        rl=torch.stack([kl(tilt.log_p, p.log()), tilt.log_p.exp() @ r]),
        bon=torch.tensor(points, dtype=torch.float64),
        rewards=values,
        laws={"base": log_p.exp(), "RL": tilted.exp(), "best-of-n": law.log_p.exp()},
        log_n=m * delta,
        distance=kl(law.log_p, tilted).item() / m,
    )


@cache
def _frame() -> tuple[Figure, Any]:
    return figure(2, height=3.3, width=9.0, widths=(1.25, 1))


def frontier_figure(m: int = 16, delta: float = DELTA, best: float = 0.05, top: int = 4) -> Figure:
    """Left: reward against KL, a letter. Right: the three laws of the reward a letter over strings of m letters."""
    now = state(m, delta, best, top)
    made, _ = _frame()
    left, right = wipe(made)
    how = LOOKS["RL"]
    left.plot(*now.curve.T, color=how.color, label="tilts of the base: the frontier")
    left.plot(*now.rl, how.marker, color=how.color, markersize=9, label="RL, KL = mδ")
    how = LOOKS["best-of-n"]
    left.plot(*now.bon.T, color=how.color, linestyle=":", linewidth=1.0)
    left.plot(*now.bon[:-1].T, how.marker, color=how.color, markersize=4, alpha=0.6)
    left.plot(*now.bon[-1], how.marker, color=how.color, markersize=9, label="best of exp(mδ), m letters; small: fewer")
    left.axvline(delta, color=EDGE.color, linestyle=EDGE.linestyle, linewidth=1.0)
    left.set(title="what a budget buys", xlabel="KL a letter, nats", ylabel="reward a letter")
    left.set(xlim=(0, MOST_KL), ylim=(0, _ceiling(now.curve)))
    left.legend(loc="upper left")
    _draw_laws(right, now, m, top)
    return made


def _ceiling(curve: Tensor) -> float:
    """A limit above the frontier that seldom moves, with room for the legend."""
    return math.ceil(1.25 * float(curve[curve[:, 0] < MOST_KL, 1].max()) * 2) / 2


def _draw_laws(ax: Axes, now: State, m: int, top: int) -> None:
    """Each law in units of its own peak: their heights differ by as much as their widths."""
    x = now.rewards / m
    for name, law in now.laws.items():
        how, height = LOOKS[name], law / law.max()
        seen = height > 1e-3
        ax.plot(
            x[seen],
            height[seen],
            color=how.color,
            linestyle=how.linestyle,
            marker=how.marker if int(seen.sum()) < 40 else "",
            markersize=3,
            label=name,
        )
    ax.set(title="law of the reward a letter", xlabel="reward a letter", ylabel="share of the law's peak")
    ax.set(xlim=(-0.1, top + 0.1), ylim=(0, 1.32))
    ax.set_yticks([0, 0.5, 1])
    ax.legend(loc="upper center", ncols=3, columnspacing=1.0, handlelength=2.0)


def frontier_words(m: int = 16, delta: float = DELTA, best: float = 0.05, top: int = 4) -> str:
    """What `frontier_figure` shows, in words."""
    now = state(m, delta, best, top)
    letters_read = f"{m} letter{'s' if m > 1 else ''}"
    return (
        f"{letters_read}, KL budget {delta:g} nats a letter, so best of n = {math.exp(now.log_n):.3g}. "
        f"Reward a letter: base {now.curve[0, 1]:.3f}, RL {now.rl[1]:.3f}, best-of-n {now.bon[-1, 1]:.3f}, a gap of "
        f"{now.rl[1] - now.bon[-1, 1]:.3f}. Best-of-n spends {now.bon[-1, 0]:.3f} nats a letter and is "
        f"{now.distance:.3f} nats a letter from RL's law."
    )


def frontier_explorer(live: bool | None = None) -> Explorer:
    """The length of the strings, the budget, and the best letter's probability and reward."""
    controls: dict[str, Any] = {"m": LENGTH, "delta": BUDGET, "best": RARITY, "top": TOP}
    presets: dict[str, dict[str, Any]] = {
        "one letter": {"m": 1},
        "16 letters": {"m": 16},
        "256 letters": {"m": 256},
        "a rare jackpot": {"m": 16, "best": 0.01, "top": 6},
    }
    return explore(frontier_figure, controls, presets, frontier_words, live)
