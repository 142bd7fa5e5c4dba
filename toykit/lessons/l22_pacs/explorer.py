"""The explorer of lesson 22: answers on the curve of their classifier, and the right ones' shares."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from toykit.exact import ascend_until, entropy
from toykit.lessons.base import Results
from toykit.lessons.l22_pacs.exact import INNER
from toykit.lessons.l22_pacs.figures import LOOKS
from toykit.lessons.l22_pacs.flow import LR, REFERENCE, RIGHT, Settings, Step, accuracy, among_right
from toykit.plots import Choice, Slider, explore, figure, wipe
from toykit.plots.explorer import Explorer

LEVELS = (0.55, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97)  # accuracies; the first is the start's
BETAS = (0.25, 0.5, 1.0, 2.0)
GROUPS = ("3", "large")
ANSWERS = ("A", "B", "C", "D", "E")
CURVE = np.linspace(-6, 6, 121)


def _step(settings: Settings, group: str) -> Step:
    return settings.in_groups if group == "3" else settings.in_large_groups


def _reached(logits: Tensor, level: float) -> Tensor:
    return accuracy(logits) >= level - 1e-12  # the start is at the first level but for rounding


@cache
def _ways(reference: str, group: str) -> tuple[Settings, list[tuple[Tensor, Tensor]]]:
    """All betas together, and (rounds, logits) [4] and [4, 5] where each accuracy is first reached."""
    settings = Settings.of(BETAS, ("question",) * len(BETAS), reference, INNER)
    gradient = settings.round(_step(settings, group))
    logits, done, found = settings.start, torch.zeros(len(BETAS), dtype=torch.int64), []
    for level in LEVELS:
        steps, logits = ascend_until(gradient, logits, LR, partial(_reached, level=level))
        done = done + steps
        found.append((done, logits))
    return settings, found


def _state(level: float, beta: float, reference: str, group: str) -> Results:
    """What is drawn: psi [5], the mean over groups, as a round begins and ends; the law; rounds so far."""
    settings, found = _ways(reference, group)
    at = BETAS.index(beta)
    done, logits = found[LEVELS.index(level)]
    old = logits.log_softmax(-1)
    base = REFERENCE.expand_as(old) if reference == "fixed" else old
    after = logits + LR * settings.round(_step(settings, group))(logits)
    begin, end = (settings.residuals(law, old, base)[0][at] for law in (old, after.log_softmax(-1)))
    return {
        "psi": begin.numpy(),
        "after": end.numpy(),
        "law": old[at].exp().numpy(),
        "rounds": int(done[at]),
        "entropy": float(entropy(among_right(old[at]))),
    }


@cache
def _frame() -> tuple[Figure, Any]:
    return figure(2, height=3.2, width=9.4, widths=(1.5, 1))


def label_figure(accuracy: float = 0.9, reference: str = "fixed", beta: float = 1.0, group: str = "3") -> Figure:
    """Each answer at its logit and label, with an arrow to what is predicted; and the right answers' shares."""
    now = _state(accuracy, beta, reference, group)
    made, _ = _frame()
    left, right = wipe(made)
    _draw_points(left, now)
    start, law = REFERENCE.exp().numpy()[:3], now["law"][:3]
    how = LOOKS["fixed, 1" if reference == "fixed" else "behaviour"]
    for i, (look, share) in enumerate(((LOOKS["start"], start / start.sum()), (how, law / law.sum()))):
        edges = np.stack([np.arange(3) + (i - 1) * 0.4, np.arange(3) + i * 0.4], 1).flatten()
        values = np.stack([share, np.zeros(3)], 1).flatten()[:-1]
        label = "now" if i else "start"
        right.stairs(values, edges, fill=True, facecolor=look.color, edgecolor="white", hatch=look.hatch, label=label)
    right.set_xticks(range(3), ANSWERS[:3])
    right.set(title="among right answers", ylabel="share", ylim=(0, 1.04), xlim=(-0.6, 2.6))
    right.grid(False, axis="x")
    right.legend(loc="upper right")
    return made


def _draw_points(ax: Axes, now: Results) -> None:
    """Filled where a round begins, hollow where its inner steps have brought it."""
    ax.plot(CURVE, 1 / (1 + np.exp(-CURVE)), color="#888888", linewidth=1.2)
    psi, after, label = (np.clip(x, -5.8, 5.8) for x in (now["psi"], now["after"], RIGHT.numpy()))
    predicted = 1 / (1 + np.exp(-now["psi"]))
    for kind, marker, look in ((1.0, "o", "fixed, 1"), (0.0, "X", "behaviour")):
        of, color = label == kind, LOOKS[look].color
        ax.vlines(psi[of], label[of], predicted[of], color=color, linewidth=1.4)
        ax.plot(psi[of], predicted[of], "v" if kind else "^", color=color, markersize=5, linestyle="none")
        ax.plot(after[of], label[of], marker, color=color, markersize=8, linestyle="none", fillstyle="none")
        name = "right" if kind else "wrong"
        ax.plot(psi[of], label[of], marker, color=color, markersize=7, linestyle="none", label=name)
    ax.set(title="label and prediction", xlabel="logit ψ", ylabel="R and σ(ψ)", xlim=(-6, 6), ylim=(-0.12, 1.12))
    ax.legend(loc="center left")


def label_words(accuracy: float = 0.9, reference: str = "fixed", beta: float = 1.0, group: str = "3") -> str:
    """What `label_figure` shows, in words."""
    now = _state(accuracy, beta, reference, group)
    left = np.abs(RIGHT.numpy() - 1 / (1 + np.exp(-now["psi"])))
    shares = ", ".join(f"{x:.2f}" for x in now["law"][:3] / now["law"][:3].sum())
    size = "of 3" if group == "3" else "that are large"
    return (
        f"{reference} reference, β = {beta:g}, groups {size}: an accuracy of {accuracy:g} after "
        f"{now['rounds']} rounds; residuals at the start of the next round {', '.join(f'{x:.2f}' for x in left)}; "
        f"the right answers' shares are {shares} (at the start 0.73, 0.18, 0.09), their entropy {now['entropy']:.3f}."
    )


def label_explorer(live: bool | None = None) -> Explorer:
    """The accuracy at which to look, the reference, beta, and the size of groups; four inner steps a round."""
    controls: dict[str, Any] = {
        "accuracy": Slider.at(LEVELS, default=0.9),
        "reference": Choice(("fixed", "behaviour")),
        "beta": Slider.at(BETAS, default=1.0, label="β"),
        "group": Choice(GROUPS, label="group size"),
    }
    presets: dict[str, dict[str, Any]] = {
        "fixed, on the way": {"accuracy": 0.8},
        "fixed, later": {"accuracy": 0.97},
        "fixed, large groups": {"accuracy": 0.97, "group": "large"},
        "behaviour": {"accuracy": 0.97, "reference": "behaviour"},
    }
    return explore(label_figure, controls, presets, label_words, live)
