"""The explorers of lesson 03: how hard each estimator pushes a prompt, and what a token of each length counts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from toykit.exact import group_weight, squared_group_weight
from toykit.objectives import token_weights
from toykit.plots import bars, explore, figure, wipe
from toykit.plots.controls import Slider
from toykit.plots.explorer import Explorer
from toykit.plots.style import CYCLE, GREY, Role

OTHERS = 7  # prompts of the batch beside the one that is looked at
RATES = tuple(round(0.02 * i, 2) for i in range(1, 50))
GROUP, NONE, LITE = CYCLE[1], CYCLE[2], CYCLE[0]
LOOKS = {"group std (GRPO)": GROUP, "no std (Dr. GRPO)": NONE, "batch std (Lite PPO)": LITE}
THIS, REST = "this prompt", "the seven others"


@dataclass(frozen=True)
class Weights:
    """What the panels show: the factor c(p) of each estimator at RATES and at p itself, the advantages of right and
    wrong answers by their number k = 1 .. G-1 of right ones, and the prompt's share of the squared update."""

    curves: dict[str, Tensor]
    here: dict[str, float]
    right: dict[str, Tensor]
    wrong: dict[str, Tensor]
    share: dict[str, float]


def batch_std(p: Tensor | float, others: float) -> Tensor:
    """The standard deviation of the rewards of a large batch of this prompt and the seven others."""
    mean = (torch.as_tensor(p, dtype=torch.float64) + OTHERS * others) / (1 + OTHERS)
    return (mean * (1 - mean)).sqrt()


def weights(p: float, group_size: int, others: float) -> Weights:
    """Everything at one setting of the explorer; the group's std is the sample's (ddof 1)."""
    rates = torch.tensor((*RATES, p), dtype=torch.float64)
    own, plain = (group_weight(rates, group_size, std=std) for std in ("group", "none"))
    factors = dict(zip(LOOKS, (own, plain, plain / batch_std(rates, others)), strict=True))
    m = torch.arange(1, group_size, dtype=torch.float64) / group_size
    spread = (m * (1 - m) * group_size / (group_size - 1)).sqrt()
    scales = dict(zip(LOOKS, (spread, torch.ones_like(m), batch_std(p, others).expand_as(m)), strict=True))
    both = torch.tensor([p, *[others] * OTHERS], dtype=torch.float64)
    squares = [squared_group_weight(both, group_size, std=std) for std in ("group", "none")]
    mine = [float(s[0] / s.sum()) for s in squares]
    return Weights(
        curves={name: c[:-1] for name, c in factors.items()},
        here={name: float(c[-1]) for name, c in factors.items()},
        right={name: (1 - m) / s for name, s in scales.items()},
        wrong={name: -m / s for name, s in scales.items()},
        share=dict(zip(LOOKS, (*mine, mine[1]), strict=True)),
    )


@cache
def _weights_frame() -> tuple[Figure, Any]:
    return figure(3, height=3.2, width=9.6, widths=(1.2, 1.2, 1))


def weights_figure(p: float = 0.5, group_size: int = 8, others: float = 0.98) -> Figure:
    """The factor against the success rate, the advantages in a group, and whose the update is."""
    now = weights(p, group_size, others)
    made, _ = _weights_frame()
    left, middle, right = wipe(made)
    for name, how in LOOKS.items():
        left.plot(RATES, now.curves[name], color=how.color, linestyle=how.linestyle, label=name)
        left.plot(p, now.here[name], how.marker, color=how.color, markersize=7)
    left.set(title="how hard a prompt is pushed", xlabel="its success rate p", ylabel="factor c(p)", ylim=(0, 1.3))
    left.legend(loc="upper left", fontsize=8)
    _draw_advantages(middle, now, group_size)
    shares = np.array(list(now.share.values()))
    parts = {THIS: shares, REST: 1 - shares}
    bars(right, parts, ["group\nstd", "no\nstd", "batch\nstd"], "stacked", {THIS: CYCLE[4], REST: Role("#BBBBBB")})
    right.set(title="share of the squared update", ylim=(0, 1.3))
    right.set_yticks([0, 0.5, 1])
    right.legend(loc="upper left", ncols=2, fontsize=8, handlelength=1.2, columnspacing=0.9)
    return made


def _draw_advantages(ax: Axes, now: Weights, group_size: int) -> None:
    """Upper lines: right answers, lower lines: wrong ones."""
    x = np.arange(1, group_size) / group_size
    small = group_size <= 16
    for name, how in LOOKS.items():
        for values in (now.right[name], now.wrong[name]):
            marker = how.marker if small else ""
            ax.plot(x, values, color=how.color, linestyle=how.linestyle, marker=marker, markersize=4)
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.text(0.98, 5.4, "right answers", ha="right", fontsize=8.5, color="#444444")
    ax.text(0.02, -5.9, "wrong answers", fontsize=8.5, color="#444444")
    ax.set(title="advantages in a group", xlabel="share of right answers", ylim=(-8.2, 8.2), xlim=(0, 1))


def weights_words(p: float = 0.5, group_size: int = 8, others: float = 0.98) -> str:
    """What `weights_figure` shows, in words."""
    now = weights(p, group_size, others)
    factor = ", ".join(f"{c:.3f} with {name}" for name, c in now.here.items())
    group, plain = now.share["group std (GRPO)"], now.share["no std (Dr. GRPO)"]
    last = {name: float(a[-1]) for name, a in now.wrong.items()}
    alone = ", ".join(f"{a:.3f} with {name}" for name, a in last.items())
    return (
        f"A prompt with success rate {p:g} in groups of {group_size}, beside {OTHERS} of {others:g}. Its factor c is "
        f"{factor}. The one wrong answer of a group has advantage {alone}. Of the squared update this prompt has "
        f"{group:.1%} with the group's std and {plain:.1%} without one or with the batch's."
    )


def weights_explorer(live: bool | None = None) -> Explorer:
    """The success rate, the group's size, and the success rate of the seven other prompts."""
    controls: dict[str, Any] = {
        "p": Slider.at(RATES, default=0.5, label="success rate p"),
        "group_size": Slider.at((2, 4, 8, 16, 32, 64), default=8, label="group size G"),
        "others": Slider.at(RATES, default=0.98, label="p of the seven others"),
    }
    presets: dict[str, dict[str, Any]] = {
        "open among solved": {},
        "nearly solved": {"p": 0.98, "others": 0.5},
        "large groups": {"p": 0.98, "others": 0.5, "group_size": 64},
    }
    return explore(weights_figure, controls, presets, weights_words, live)


KINDS = {"sequence mean": "sequence_mean", "token mean": "token_mean", "fixed length": "constant_norm"}
HORIZON = 12
ROWS = {"A": CYCLE[0], "B": CYCLE[1], "C": CYCLE[2]}


def shares(a: int, b: int, c: int) -> dict[str, Tensor]:
    """What each token of completions of these lengths counts in the loss, [3, HORIZON] by aggregation."""
    mask = torch.arange(HORIZON) < torch.tensor([a, b, c])[:, None]
    even = torch.full((1, 3), 1 / 3, dtype=torch.float64)
    return {name: token_weights(kind, even, mask[None], HORIZON)[0] for name, kind in KINDS.items()}


@cache
def _lengths_frame() -> tuple[Figure, Any]:
    return figure(3, height=2.6, width=9.6)


def lengths_figure(a: int = 2, b: int = 5, c: int = 12) -> Figure:
    """Three completions as rows of tokens: a token's height is its weight, a row's area the completion's."""
    made, _ = _lengths_frame()
    found = shares(a, b, c)
    tallest = max(float(weight.max()) for weight in found.values())
    for ax, (name, weight) in zip(wipe(made), found.items(), strict=True):
        for row, (label, length) in enumerate(zip(ROWS, (a, b, c), strict=True)):
            heights = 0.85 * weight[row, :length].numpy() / tallest
            ax.bar(np.arange(length) + 0.5, heights, 0.86, 2 - row, color=ROWS[label].color, alpha=0.8)
            ax.axhline(2 - row, color=GREY, linewidth=0.8)
        ax.set(title=name, xlabel="token", xlim=(0, HORIZON + 0.2), ylim=(0, 3))
        ax.set_yticks([0.4, 1.4, 2.4], ["C", "B", "A"])
        ax.set_xticks([0, 4, 8, 12])
        ax.grid(False)
    return made


def lengths_words(a: int = 2, b: int = 5, c: int = 12) -> str:
    """What `lengths_figure` shows, in words."""
    parts = []
    for name, weight in shares(a, b, c).items():
        each = ", ".join(f"{label} {w[0]:.4f}" for label, w in zip(ROWS, weight, strict=True))
        whole = ", ".join(f"{label} {w.sum() / weight.sum():.0%}" for label, w in zip(ROWS, weight, strict=True))
        parts.append(f"{name}: a token counts {each}; of the loss {whole}")
    return f"Lengths A {a}, B {b}, C {c}. {'. '.join(part[0].upper() + part[1:] for part in parts)}."


def lengths_explorer(live: bool | None = None) -> Explorer:
    """The lengths of three completions."""
    controls: dict[str, Any] = {
        name: Slider(1, HORIZON, default=length, label=f"length of {name.upper()}")
        for name, length in (("a", 2), ("b", 5), ("c", 12))
    }
    presets: dict[str, dict[str, Any]] = {
        "three lengths": {},
        "one long among short": {"b": 2},
        "equal": {"a": 5, "c": 5},
    }
    return explore(lengths_figure, controls, presets, lengths_words, live)
