"""The explorer of lesson 02: who pushes whom, who wins, and what is left of the coverage."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from toykit.diagnostics import exact_pass_at_k
from toykit.exact import success_rate
from toykit.lessons.l02_reasoning_boundary.exact import KS, Setting, Worlds, train, worlds
from toykit.lessons.l02_reasoning_boundary.theorems import interference
from toykit.plots import explore, figure, role, wipe
from toykit.plots.controls import Choice, Slider
from toykit.plots.explorer import Explorer
from toykit.plots.style import CYCLE

SHARING = (0.0, 0.25, 0.5, 0.75, 1.0)
FORWARD = (0.0, 0.05, 0.2)
STEPS = (0, 10, 30, 100, 300, 1000)
FILTER = ("off", "on")
SCALE = 0.005  # of the heat map's colours, per step of size 1
WON, LOST = CYCLE[0], CYCLE[1]


@cache
def _paths() -> tuple[Worlds, Tensor, dict[tuple[float, float, str], int]]:
    """(worlds [S, n, ...], log-probabilities [steps, S, n, V], place of each setting in S), from seed 0."""
    settings = [Setting(0.0, b, f == "on", s) for s in SHARING for b in FORWARD for f in FILTER]
    world = worlds((0,))
    start = Worlds.stack([Worlds(*(x[0] for x in _parts(world.blend(s.sharing)))) for s in settings])
    places = {(s.sharing, s.forward, FILTER[s.filter]): i for i, s in enumerate(settings)}
    return start, train(start, settings, STEPS), places


def _parts(world: Worlds) -> tuple[Tensor, Tensor, Tensor]:
    return world.features, world.weights, world.correct


@cache
def _state(sharing: float, forward: float, filtered: str, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """(success before [n], success now [n], interference matrix [n, n]) with the likeliest prompts first."""
    start, log_pi, places = _paths()
    i = places[sharing, forward, filtered]
    now, correct = log_pi[STEPS.index(step), i], start.correct[i]
    before, p = success_rate(log_pi[0, i], correct), success_rate(now, correct)
    wrong = ~torch.take_along_dim(correct, now.argmax(-1, keepdim=True), -1)[..., 0]
    keep = wrong if filtered == "on" else torch.ones_like(wrong)
    order = before.argsort(descending=True)
    return before[order], p[order], interference(start.features[i], now, correct, keep)[order][:, order]


@cache
def _frame() -> tuple[Figure, Any]:
    return figure(3, 1, height=3.2, width=9.6, widths=(1, 1.25, 1.15))


def boundary_figure(sharing: float = 1.0, forward: float = 0.0, filter: str = "off", step: int = 0) -> Figure:
    """The interference matrix, each prompt's success, and pass@k beside that of the base and of GRPO."""
    before, p, matrix = _state(sharing, forward, filter, step)
    made, _ = _frame()
    left, middle, right = wipe(made)
    _draw_matrix(left, matrix)
    _draw_prompts(middle, before, p)
    curves = {"base": before, "GRPO": _state(sharing, 0.0, "off", step)[1]}
    if forward > 0 or filter == "on":
        curves[_name(forward, filter)] = p
    _draw_fan(right, curves)
    return made


def _name(forward: float, filtered: str) -> str:
    """What the setting is called."""
    if filtered == "on":
        return f"SELF, β = {forward:g}" if forward else "GRPO with the filter"
    return f"GRPO + forward KL {forward:g}" if forward else "GRPO"


def _draw_matrix(ax: Axes, matrix: Tensor) -> None:
    """Blue where a prompt's step raises another's log p, red where it lowers it; the likeliest prompts first."""
    ax.imshow(matrix.numpy(), cmap="RdBu", vmin=-SCALE, vmax=SCALE, interpolation="nearest", aspect="auto")
    ax.set(title="one step: row pushes column", xlabel="pushed (blue up, red down)", ylabel="pushing (likely on top)")
    ax.set(xticks=[], yticks=[])
    ax.grid(False)


def _draw_prompts(ax: Axes, before: Tensor, p: Tensor) -> None:
    """Success of each prompt now, its base as a tick, and an arrow down to it where it has fallen."""
    x, fell = np.arange(len(p)), (p < before).numpy()
    ax.vlines(x, 0, p, linewidth=6.5, color=[LOST.color if f else WON.color for f in fell], alpha=0.75)
    ax.vlines(x[fell], p[fell], before[fell], linewidth=1.4, color=LOST.color)
    ax.plot(x, before, "_", color="black", markersize=8, markeredgewidth=1.6, label="base")
    ax.plot([], [], "s", color=WON.color, alpha=0.75, markersize=7, label="risen")
    ax.plot(x[fell], p[fell] + 0.02, "v", color=LOST.color, markersize=6, label="fallen")
    ax.set(title="success of each prompt", xlabel="prompts, likely → rare", ylim=(0, 1.24), xlim=(-0.8, len(p) - 0.2))
    ax.set(xticks=[], yticks=[0, 0.5, 1])
    ax.legend(loc="upper right", ncols=3, handlelength=1.2, columnspacing=0.9, fontsize=8)


def _draw_fan(ax: Axes, curves: dict[str, Tensor]) -> None:
    """pass@k against k, averaged over the prompts."""
    looks = [role("prior"), LOST, WON]
    ks = torch.tensor(KS, dtype=torch.float64)
    for how, (name, p) in zip(looks, curves.items(), strict=False):
        y = exact_pass_at_k(p[:, None], ks).mean(0).numpy()
        ax.plot(
            range(len(KS)), y, color=how.color, linestyle=how.linestyle, marker=how.marker, markersize=3.5, label=name
        )
    ax.set(title="pass@k, mean of all prompts", xlabel="k", ylim=(0.2, 1.03), xlim=(-0.3, len(KS) - 0.7))
    ax.set_xticks([0, 2, 4, 6, 8, 10], ["1", "4", "16", "64", "256", "1024"])
    ax.legend(loc="lower right")


def boundary_words(sharing: float = 1.0, forward: float = 0.0, filter: str = "off", step: int = 0) -> str:
    """What `boundary_figure` shows, in words."""
    before, p, matrix = _state(sharing, forward, filter, step)
    lost = int((p < before / 2).sum())
    off = matrix.clone().fill_diagonal_(0.0)
    ks = torch.tensor([1.0, 256.0], dtype=torch.float64)
    base, now = (exact_pass_at_k(x[:, None], ks).mean(0).tolist() for x in (before, p))
    harm = float(off.clamp(max=0).abs().sum() / matrix.abs().sum().clamp(min=1e-30))
    return (
        f"{_name(forward, filter)}, sharing {sharing:g}, step {step}: pass@1 is {now[0]:.3f} (base {base[0]:.3f}), "
        f"pass@256 {now[1]:.3f} (base {base[1]:.3f}). {lost} of {len(p)} prompts have lost half of their "
        f"success or more. Of all influence in the next step {harm:.0%} pushes another prompt's answer down."
    )


def boundary_explorer(live: bool | None = None) -> Explorer:
    """How much the prompts share, the forward KL, the filter, and the training step."""
    controls: dict[str, Any] = {
        "sharing": Slider.at(SHARING, default=1.0, label="sharing"),
        "forward": Slider.at(FORWARD, label="forward KL β"),
        "filter": Choice(FILTER, label="only greedy failures"),
        "step": Slider.at(STEPS, label="training steps"),
    }
    presets: dict[str, dict[str, Any]] = {
        "base": {"step": 0},
        "winner takes all": {"step": 1000},
        "nothing shared": {"step": 1000, "sharing": 0.0},
        "SELF": {"step": 1000, "forward": 0.2, "filter": "on"},
    }
    return explore(boundary_figure, controls, presets, boundary_words, live)
