"""The explorer of lesson 31: pieces from menus, the methods that they make, and the gradient on one batch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from toykit.objectives import GAE, KL, Advantage, Clip, GreedyBaseline, Method, PolicyGradient, RunningMean, ValueLoss
from toykit.objectives.catalogue import CATALOGUE
from toykit.plots import Choice, explore, figure, wipe
from toykit.plots.explorer import Explorer
from toykit.plots.style import BLACK, GREY
from toykit.rollouts import Rollouts

ADVANTAGES: dict[str, Any] = {
    "none": Advantage("none"),
    "leave one out": Advantage("leave_one_out"),
    "group mean": Advantage("group"),
    "group std": Advantage("group", "group"),
    "batch std": Advantage("group", "batch"),
    "batch mean and std": Advantage("batch", "batch"),
    "running mean": RunningMean(),
    "greedy": GreedyBaseline(),
    "GAE": GAE(whiten=False),
    "whitened GAE": GAE(),
}
RATIOS: dict[str, tuple[str, Clip | None]] = {
    "none": ("none", None),
    "token 0.2": ("token", Clip()),
    "token 0.2, 0.28": ("token", Clip(0.2, 0.28)),
    "completion 0.2": ("importance", Clip()),
    "geometric 0.0003": ("sequence", Clip(3e-4, 4e-4)),
    "geometric 0.002": ("sequence", Clip(2e-3, 2.5e-3)),
}
SUMS = {
    "sum": "token_sum",
    "token mean": "token_mean",
    "completion mean": "sequence_mean",
    "horizon": "constant_norm",
}
KLS: dict[str, KL | None] = {
    "none": None,
    "k1 in reward": KL(0.1, "k1", route="reward"),
    "k3 in loss": KL(0.1, "k3", route="autodiff"),
}
CONTROLS = {
    "advantage": Choice(tuple(ADVANTAGES), "leave one out", "advantage"),
    "ratio": Choice(tuple(RATIOS), "none", "ratio, clip"),
    "aggregate": Choice(tuple(SUMS), "sum", "aggregation"),
    "kl": Choice(tuple(KLS), "none", "KL"),
}
PRESETS: dict[str, dict[str, Any]] = {
    "RLOO": {},
    "GRPO": {
        "advantage": "group std",
        "ratio": "token 0.2",
        "aggregate": "completion mean",
        "kl": "k3 in loss",
    },
    "GRPO as in TRL": {
        "advantage": "group std",
        "ratio": "token 0.2",
        "aggregate": "token mean",
    },
}
LIT, NEAR = "#0072B2", "#BFDCEC"


@dataclass(frozen=True)
class Place:
    """Where a method stands: what each menu would show (None: nothing that it has), and what else it needs."""

    advantage: str | None
    ratio: str | None
    aggregate: str | None
    kl: str | None
    further: bool


def place(of: Method) -> Place:
    """A method in the menus. The weight of its KL does not count, nor what is added to a standard deviation."""
    o = of.pieces
    advantage = next((name for name, piece in ADVANTAGES.items() if _same(piece, o.advantage)), None)
    further = o.penalties or o.signal or of.shaping or of.selection or of.forward_kl or of.recomposition or of.data
    more = o.transforms or o.external or o.log_clip
    return Place(
        advantage,
        next((name for name, piece in RATIOS.items() if piece == (o.ratio, o.clip)), None),
        next((name for name, piece in SUMS.items() if piece == o.aggregate), None),
        next((name for name, piece in KLS.items() if _kind(piece) == _kind(o.kl)), None),
        bool(further or more) or advantage is None,
    )


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, Advantage) and isinstance(second, Advantage):
        return (first.mean, first.std) == (second.mean, second.std)
    return type(first) is type(second) and (not isinstance(first, GAE) or first.whiten == second.whiten)


def _kind(kl: KL | None) -> tuple[str, str] | None:
    return None if kl is None else (kl.estimator, kl.route)


@cache
def places() -> dict[str, Place]:
    made = {name: make() for name, make in CATALOGUE.items()}
    return {name: place(of) for name, of in made.items() if isinstance(of.objective, PolicyGradient)}


def apart(at: Place, menus: dict[str, str]) -> tuple[str, ...]:
    """The menus in which a method differs from what is chosen."""
    return tuple(name for name, value in menus.items() if getattr(at, name) != value)


@cache
def batch() -> tuple[Rollouts, Tensor]:
    """Two prompts with three completions each, of 1 to 4 tokens, and the log-probabilities of a policy that has moved
    since it made them; a reward of 1 once in the first group, twice in the second."""
    draw = np.random.default_rng(31)
    mask = torch.arange(4) < torch.tensor([[4, 2, 1], [3, 4, 2]])[..., None]

    def drawn(low: float, high: float) -> Tensor:
        return torch.from_numpy(draw.uniform(low, high, (2, 3, 4))) * mask

    old, drift, away, values = drawn(-2, -0.3), drawn(-0.4, 0.4), drawn(-0.5, 0.5), drawn(0.2, 0.6)
    zeros = torch.zeros(2, 3, 4, dtype=torch.int64)
    made = Rollouts(
        prompts=zeros[:, 0, :1],
        prompt_mask=mask[:, 0, :1],
        prompt_ids=torch.arange(2),
        completions=zeros,
        mask=mask,
        old_logp=old,
        rewards=torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]], dtype=torch.float64),
        weights=torch.full((2, 3), 1 / 3, dtype=torch.float64),
        ref_logp=old + away,
        horizon=4,
        extras={"values": values, "greedy_rewards": torch.tensor([[0.0] * 3, [1.0] * 3], dtype=torch.float64)},
    )
    return made, old + drift


def objective(advantage: str, ratio: str, aggregate: str, kl: str) -> PolicyGradient:
    """The combination of the menus; a running mean begins at 0."""
    name, clip = RATIOS[ratio]
    piece = RunningMean() if advantage == "running mean" else ADVANTAGES[advantage]
    value = ValueLoss() if isinstance(piece, GAE) else None
    return PolicyGradient(piece, ratio=name, clip=clip, aggregate=SUMS[aggregate], kl=KLS[kl], value=value)


def gradient(advantage: str, ratio: str, aggregate: str, kl: str) -> Tensor:
    """Minus the loss's gradient in each token's log-probability [2, 3, 4]: where a step pushes it."""
    rollouts, logp = batch()
    made, at = objective(advantage, ratio, aggregate, kl), logp.clone().requires_grad_()
    loss, _ = made.loss(at, made.prepare(rollouts), values=rollouts.extras["values"])
    return -torch.autograd.grad(loss, at)[0]


@cache
def _frame() -> tuple[Figure, Any]:
    return figure(2, 1, height=3.0, width=9.2, widths=(1.3, 1))


def method_figure(
    advantage: str = "leave one out", ratio: str = "none", aggregate: str = "sum", kl: str = "none"
) -> Figure:
    """The on-policy methods of the catalogue, lit where the menus make them, and the push on each token of a batch."""
    menus = {"advantage": advantage, "ratio": ratio, "aggregate": aggregate, "kl": kl}
    made, _ = _frame()
    left, right = wipe(made)
    _draw_methods(left, menus)
    _draw_push(right, gradient(**menus))
    return made


def _draw_methods(ax: Any, menus: dict[str, str]) -> None:
    columns = 4
    named = list(places())
    off = [apart(at, menus) for at in places().values()]
    x, y = np.arange(len(named)) % columns, -(np.arange(len(named)) // columns)
    fill = [(LIT, NEAR, "white")[min(len(o), 2)] for o in off]
    edge = [LIT if len(o) < 2 else "#CCCCCC" for o in off]
    ax.bar(x, 0.8, 0.94, y - 0.4, color=fill, edgecolor=edge)
    for i, name in enumerate(named):
        under = f"\n({off[i][0]})" if len(off[i]) == 1 else ""
        star = "*" if places()[name].further else ""
        ink = ("white", BLACK, GREY)[min(len(off[i]), 2)]
        ax.text(x[i], y[i], name + star + under, ha="center", va="center", fontsize=7, color=ink)
    ax.set(title="methods: these pieces, or one menu away", xlim=(-0.5, columns - 0.5), ylim=(y[-1] - 0.5, 0.5))
    ax.set_xlabel("dark: all four menus; light: all but one; * needs more")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)


def _draw_push(ax: Any, push: Tensor) -> None:
    rollouts, _ = batch()
    values = push.flatten(0, 1).numpy()
    shown = np.ma.masked_array(values, ~rollouts.mask.flatten(0, 1).numpy())
    most = float(np.abs(values).max()) or 1.0
    ax.imshow(shown, cmap="RdBu", vmin=-most, vmax=most, aspect="auto")
    for (i, t), value in np.ndenumerate(values):
        if rollouts.mask.flatten(0, 1)[i, t]:
            ink = "white" if abs(value) > 0.6 * most else BLACK
            ax.text(t, i, f"{value:+.3f}", ha="center", va="center", fontsize=8, color=ink)
    rewards = rollouts.rewards.flatten().tolist()
    ax.set_yticks(range(6), [f"{'ab'[i // 3]}{i % 3 + 1}: R = {r:.0f}" for i, r in enumerate(rewards)])
    ax.set_xticks(range(4), range(1, 5))
    ax.axhline(2.5, color=BLACK, linewidth=1)
    ax.set(title="push on each token's log-probability", xlabel="token")
    ax.grid(False)


def method_words(
    advantage: str = "leave one out", ratio: str = "none", aggregate: str = "sum", kl: str = "none"
) -> str:
    """What `method_figure` shows, in words."""
    menus = {"advantage": advantage, "ratio": ratio, "aggregate": aggregate, "kl": kl}
    off = {name: apart(at, menus) for name, at in places().items()}
    exact = [name for name, menus_off in off.items() if not menus_off]
    near = [f"{name} ({menus_off[0]})" for name, menus_off in off.items() if len(menus_off) == 1]
    push = gradient(**menus).sum(-1)
    told = ", ".join(f"{x:+.3f}" for x in push.flatten().tolist())
    return (
        f"Advantage: {advantage}; ratio: {ratio}; aggregation: {aggregate}; KL: {kl}. Made of these pieces: "
        f"{', '.join(exact) or 'no method of the catalogue'}. One menu away: {', '.join(near) or 'none'}. "
        f"Push on the six completions, summed over tokens: {told}."
    )


def method_explorer(live: bool | None = None) -> Explorer:
    """Advantage, ratio with its clip, aggregation and KL."""
    controls: dict[str, Any] = dict(CONTROLS)
    return explore(method_figure, controls, PRESETS, method_words, live)
