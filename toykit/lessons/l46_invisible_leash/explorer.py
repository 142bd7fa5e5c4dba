"""The explorer of lesson 46: every right answer before and after training, and how many k samples can show."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from toykit.exact import even_push
from toykit.lessons.l35_limit_of_rlvr.exact import GRPO, world
from toykit.lessons.l46_invisible_leash.figures import LOOKS, draw_support, finish_net
from toykit.lessons.l46_invisible_leash.tree import KS, by_answers, tilted
from toykit.plots import Choice, Slider, explore, figure, wipe
from toykit.plots.explorer import Explorer

STEPS = (0, 10, 50, 200, 800, 2000)
WAYS = ("RL", "SFT", "tilt")


@cache
def _paths() -> dict[str, Tensor]:
    """Log-probabilities [steps, 24, 2] of the right answers of lesson 35's first tree, by way of training."""
    made = world([0])
    laws = {
        name: torch.stack([made.paths.log_probs(w)[0] for w in made.train(push, STEPS)])
        for name, push in (("RL", GRPO), ("SFT", even_push))
    }
    return laws | {"tilt": tilted(laws["RL"][:1], laws["RL"])}


@cache
def _net(way: str, step: int) -> list[float]:
    """The net change of support at every k."""
    path = _paths()[way]
    return [float(by_answers(path[0], path[STEPS.index(step)], k).net_change.nan_to_num(0.0)) for k in KS]


@cache
def _frame() -> tuple[Figure, Any]:
    return figure(2, height=3.5, width=9.2)


def support_figure(way: str = "RL", step: int = 800, k: int = 1024) -> Figure:
    """The right answers' probabilities before and after, with the cross of k, and the net change by k."""
    path = _paths()[way]
    made, _ = _frame()
    left, right = wipe(made)
    draw_support(left, path[0].flatten().tolist(), path[STEPS.index(step)].flatten().tolist(), k)
    left.set(title="48 right answers to 24 prompts")
    left.legend(fontsize=8, loc="upper left", ncols=2, columnspacing=0.8, handletextpad=0.2)
    for name in WAYS:
        how, chosen = LOOKS[name], name == way
        right.plot(
            KS,
            _net(name, step),
            color=how.color,
            linestyle=how.linestyle,
            marker=how.marker,
            linewidth=2.2 if chosen else 1.0,
            markersize=4,
            label=name,
        )
    right.axvline(k, color="#444444", linewidth=0.8)
    finish_net(right)
    right.legend(fontsize=8, loc="lower left")
    return made


def support_words(way: str = "RL", step: int = 800, k: int = 1024) -> str:
    """What `support_figure` shows, in words."""
    path = _paths()[way]
    log_pi = path[STEPS.index(step)]
    table = by_answers(path[0], log_pi, k)
    kept, new, gone, out = (int(x) for x in (table.preserved, table.gained, table.lost, table.out))
    before, after = (float(p.exp().sum(-1).mean()) for p in (path[0], log_pi))
    return (
        f"{way}, step {step}: success went from {before:.3f} to {after:.3f}. With {k:,} samples, of 48 right answers "
        f"{kept} are kept, {new} new, {gone} lost and {out} shown by neither: NSCR {_net(way, step)[KS.index(k)]:.2f}."
    )


def support_explorer(live: bool | None = None) -> Explorer:
    """The way of training, how long, and the samples that decide what counts as found."""
    controls: dict[str, Any] = {
        "way": Choice(WAYS, default="RL", label="training"),
        "step": Slider.at(STEPS, default=800, label="steps"),
        "k": Slider.at(KS, default=1024, label="samples k"),
    }
    presets: dict[str, dict[str, Any]] = {
        "lost": {"k": 1024},
        "gained": {"k": 32},
        "tilt": {"way": "tilt", "k": 1024},
        "taught": {"way": "SFT", "k": 1024},
    }
    return explore(support_figure, controls, presets, support_words, live)
