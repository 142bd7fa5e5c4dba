"""The explorer of lesson 10: a base, the laws that are best under either KL, and their pass@k."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from toykit.diagnostics import exact_pass_at_k
from toykit.exact import forward_kl_optimum, reverse_kl_optimum
from toykit.lessons.l10_rapo.exact import REWARDS, reference, tempered
from toykit.lessons.l10_rapo.figures import LOOKS
from toykit.plots import Slider, bars, explore, figure, wipe
from toykit.plots.explorer import Explorer

EPS = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
BONUS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
PHI = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
KS = torch.tensor([4.0**i for i in range(9)], dtype=torch.float64)
NAMES = {"reverse": "reverse KL", "forward": "forward KL"}
ANSWERS = (*"ABCDEFG", "right")


@cache
def _laws(alpha: float, eps: float, bonus: float, phi: float) -> dict[str, Tensor]:
    """Probabilities [8] of the base, and of both optima with the base to the power phi as their reference."""
    log_base = reference(eps)
    log_ref = tempered(log_base, phi)
    return {
        "base": log_base.exp(),
        "reverse": reverse_kl_optimum(log_ref, REWARDS, alpha, bonus).exp(),
        "forward": forward_kl_optimum(log_ref, REWARDS, alpha, bonus).exp(),
    }


@cache
def _frame() -> tuple[Figure, Any]:
    return figure(2, height=3.2, width=9.4, widths=(1.7, 1))


def optima_figure(alpha: float = 0.2, eps: float = 1e-4, beta: float = 0.0, phi: float = 1.0) -> Figure:
    """The base and both optima over eight answers, and pass@k of the three."""
    laws = _laws(alpha, eps, beta, phi)
    made, _ = _frame()
    left, right = wipe(made)
    _draw_bars(left, laws)
    for name, p in laws.items():
        how, y = LOOKS[name], exact_pass_at_k(p[-1].clamp(max=1.0), KS)
        right.plot(range(len(KS)), y, color=how.color, linestyle=how.linestyle, marker=how.marker)
    right.set(title="their pass@k", xlabel="k", ylim=(-0.03, 1.04))
    right.set_xticks(range(0, len(KS), 2), [f"{int(k):,}" for k in KS[::2]])
    return made


def _draw_bars(ax: Axes, laws: dict[str, Tensor]) -> None:
    names = {name: NAMES.get(name, name) for name in laws}
    roles = {names[name]: LOOKS[name] for name in laws}
    bars(ax, {names[name]: p for name, p in laws.items()}, ANSWERS, "plain", roles)
    ax.set(title="the best policies", xlabel="answer", ylabel="probability", ylim=(0, 1.04))
    ax.legend(loc="upper left", bbox_to_anchor=(0.18, 1.0))


def optima_words(alpha: float = 0.2, eps: float = 1e-4, beta: float = 0.0, phi: float = 1.0) -> str:
    """What `optima_figure` shows, in words."""
    laws = _laws(alpha, eps, beta, phi)
    at = {name: float(p[-1]) for name, p in laws.items()}
    far = {name: float(exact_pass_at_k(p[-1].clamp(max=1.0), 256)) for name, p in laws.items()}
    return (
        f"α = {alpha:g}, entropy bonus {beta:g}, reference = base^{phi:g}: the right answer has {at['base']:.2g} in "
        f"the base, {at['reverse']:.3g} at the reverse KL's optimum and {at['forward']:.3g} at the forward KL's; "
        f"pass@256 is {far['base']:.3f}, {far['reverse']:.3f} and {far['forward']:.3f}."
    )


def optima_explorer(live: bool | None = None) -> Explorer:
    """The weight of the KL, what the base gives the right answer, the entropy bonus and the reference's tempering."""
    controls: dict[str, Any] = {
        "alpha": Slider(0.02, 1.0, default=0.2, log=18, label="α"),
        "eps": Slider.at(EPS, default=1e-4, label="ε"),
        "beta": Slider.at(BONUS, label="entropy bonus β"),
        "phi": Slider.at(PHI, default=1.0, label="reference to the power φ"),
    }
    presets: dict[str, dict[str, Any]] = {
        "known": {"eps": 0.1},
        "rare": {"eps": 1e-4},
        "never said": {"eps": 0.0},
        "flattened": {"eps": 1e-4, "phi": 0.0},
    }
    return explore(optima_figure, controls, presets, optima_words, live)
