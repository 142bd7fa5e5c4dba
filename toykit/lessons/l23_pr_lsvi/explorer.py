"""The explorer of lesson 23: what queries buy, what is known at an episode, and which pairs were asked."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from torch import Tensor

from toykit.control.online import PRLSVI, Learning, disagreement, fit_logistic, pr_lsvi
from toykit.lessons.l23_pr_lsvi.exact import ACTIONS, EPISODES, SCALE, SIZE, STATES, world
from toykit.lessons.l23_pr_lsvi.figures import LOOKS
from toykit.plots import Slider, explore, figure, wipe
from toykit.plots.explorer import Explorer

EPS = (0.0, 0.25, 0.5, 1.0, 1.5)
PASSIVE = (0.05, 0.1, 0.3)
SIGMA = (0.0, 0.5, 1.0, 2.0)  # 0: no noise at all, and no optimistic default
SEEDS = tuple(range(6))
AT = (0, 1, 2, 3, 5, 7, 10, 20, 40, 80, 160, 399)
SHOWN = (9, 10)  # features: step 2, state 1, actions 0 and 1
RED, GREY = "#D55E00", "#6E6E6E"


def arms(sigma: float) -> list[PRLSVI]:
    """Active ones by eps, then passive ones by probability."""
    plain = PRLSVI(sigma_r=sigma) if sigma else PRLSVI(randomise=False, truncate=False)
    return [replace(plain, eps=eps) for eps in EPS] + [replace(plain, passive=p) for p in PASSIVE]


@cache
def learned() -> Learning:
    """All arms of all sigma over the seeds, in one batch: some seconds, once."""
    mdp, features = world()
    return pr_lsvi(mdp, features, [arm for sigma in SIGMA for arm in arms(sigma)], SEEDS, EPISODES, SCALE)


@cache
def ends() -> tuple[Tensor, Tensor]:
    """Queries and regret [sigma, arms, seeds] after all episodes."""
    size = (len(SIGMA), len(EPS) + len(PASSIVE))
    return learned().queries.double().unflatten(0, size), learned().regret.sum(-1).unflatten(0, size)


def row(eps: float, sigma: float) -> int:
    return SIGMA.index(sigma) * (len(EPS) + len(PASSIVE)) + EPS.index(eps)


@cache
def known(eps: float, sigma: float, episode: int, seed: int) -> tuple[Tensor, Tensor]:
    """The fitted weights and the covariance of the draws of the two features that are shown, before an episode."""
    found, at = learned(), (row(eps, sigma), seed)
    asked = found.asked[at][:episode]
    x, answers = (part[at][:episode][asked] for part in (found.differences, found.answers))
    weights = fit_logistic(x, answers).weights
    covariance = sigma**2 * torch.linalg.inv(torch.eye(SIZE) + x.mT @ x)
    two = list(SHOWN)
    return weights[two], covariance[two][:, two]


def truth() -> Tensor:
    """The true rewards of the two features, less the mean of their step, which no comparison tells."""
    mdp, _ = world()
    step = mdp.R[STATES : 2 * STATES].flatten()
    return (step - step.mean())[[i - STATES * ACTIONS for i in SHOWN]]


@cache
def _frame() -> tuple[Figure, Any]:
    made, axes = figure(3, height=3.3, width=10.0)
    left, middle, right = axes
    left.set(xscale="log", yscale="log", xlim=(1.5, 400), ylim=(20, 3000), xlabel="queries", title="400 episodes")
    left.set(ylabel="regret")
    middle.set(xlim=(-6, 6), ylim=(-6, 6), xlabel="reward of action 0", ylabel="reward of action 1")
    middle.set(title="what is known in state 1, step 2")
    right.set(xlim=(-5, EPISODES), ylim=(0, 4.7), xlabel="episode", ylabel="disagreement", title="pairs: ask this one?")
    return made, axes


def asking_figure(eps: float = 0.5, sigma_r: float = 1.0, episode: int = 2, seed: int = 0) -> Figure:
    """Regret against queries at one sigma_r, the draws of two rewards before an episode, and all pairs of one run."""
    made, _ = _frame()
    left, middle, right = wipe(made)
    _draw_plane(left, eps, sigma_r, seed)
    found, at = learned(), (row(eps, sigma_r), seed)
    (x, y), covariance = known(eps, sigma_r, episode, seed)
    spread, turn = np.linalg.eigh(covariance.numpy())
    width, height = 4 * np.sqrt(spread.clip(0))  # two deviations to each side
    angle = np.degrees(np.arctan2(turn[1, 0], turn[0, 0]))
    how = LOOKS["active"]
    middle.add_patch(Ellipse((x, y), width, height, angle=angle, facecolor=how.color, alpha=0.25, edgecolor=how.color))
    middle.plot([x], [y], "o", color=how.color)
    middle.plot(*truth()[:, None], "*", color="#ffd34d", markeredgecolor="black", markersize=14)
    asked, pair = bool(found.asked[at][episode]), found.differences[at][episode][list(SHOWN)]
    if bool(pair.any()):
        style = {"arrowstyle": "-|>" if asked else "->", "linestyle": "-" if asked else ":"}
        arrow = style | {"color": RED if asked else GREY, "linewidth": 1.8}
        middle.annotate("", (x + 2 * pair[0], y + 2 * pair[1]), (x, y), arrowprops=arrow)
    doubt, was = disagreement(found.norms[at], sigma_r or 1.0), found.asked[at]
    time = torch.arange(EPISODES)
    right.plot(time[~was], doubt[~was], "o", color=GREY, markersize=2.5, alpha=0.5)
    right.plot(time[was], doubt[was], "X", color=RED, markersize=6)
    right.axhline(eps, color="black", linestyle="--", linewidth=1)
    right.axvline(episode, color="black", linestyle=":", linewidth=1)
    return made


def _draw_plane(ax: Any, eps: float, sigma: float, seed: int) -> None:
    queries, regret = (part[SIGMA.index(sigma)].clamp(min=1.6) for part in ends())
    i, n = EPS.index(eps), len(EPS)
    ax.plot(queries[i], regret[i], "o", color=LOOKS["active"].color, alpha=0.4)
    ax.plot(queries[i, seed], regret[i, seed], "o", color="none", markeredgecolor="black", markersize=9)
    for part, name in ((slice(0, n), "active"), (slice(n, None), "passive")):
        how = LOOKS[name]
        middle = [values[part].quantile(0.5, dim=-1) for values in (queries, regret)]
        ax.plot(*middle, how.marker, linestyle=how.linestyle, color=how.color, label=f"{name} (median)")
    ax.legend(loc="upper right", fontsize=8)


def asking_words(eps: float = 0.5, sigma_r: float = 1.0, episode: int = 2, seed: int = 0) -> str:
    """What `asking_figure` shows, in words."""
    found, at = learned(), (row(eps, sigma_r), seed)
    queries, regret = (part[SIGMA.index(sigma_r), EPS.index(eps)] for part in ends())
    by_chance = [part[SIGMA.index(sigma_r), len(EPS) + 1].quantile(0.5) for part in ends()]
    doubt = float(disagreement(found.norms[at][episode], sigma_r or 1.0))
    weights, covariance = known(eps, sigma_r, episode, seed)
    return (
        f"sigma_r {sigma_r:g}{' (no noise)' if not sigma_r else ''}, eps {eps:g}, six seeds: median "
        f"{queries.quantile(0.5):.3g} queries and regret {regret.quantile(0.5):.0f} (worst {regret.max():.0f}); one "
        f"pair in ten at random: {by_chance[0]:.3g} and {by_chance[1]:.0f}. Seed {seed} (ringed), before {episode}: "
        f"actions 0 and 1 are put at {weights[0]:.2f} and {weights[1]:.2f} (star, the truth: {truth()[0]:.2f} and "
        f"{truth()[1]:.2f}), ellipse: two deviations of the draws, {2 * covariance[0, 0] ** 0.5:.2f} and "
        f"{2 * covariance[1, 1] ** 0.5:.2f}. Its pair is doubted by {doubt:.2f} and "
        f"{'asked (red cross)' if found.asked[at][episode] else 'not asked'}; {int(found.asked[at].sum())} are in all."
    )


def asking_explorer(live: bool | None = None) -> Explorer:
    """The threshold, the noise, the episode that is looked at, and the seed."""
    learned()
    controls: dict[str, Any] = {
        "eps": Slider.at(EPS, 0.5, label="threshold eps"),
        "sigma_r": Slider.at(SIGMA, 1.0, label="noise sigma_r"),
        "episode": Slider.at(AT, 2),
        "seed": Slider(0, len(SEEDS) - 1, default=0),
    }
    presets: dict[str, dict[str, Any]] = {
        "asking when in doubt": {},
        "asking always": {"eps": 0.0},
        "asking hardly": {"eps": 1.5},
        "no noise": {"sigma_r": 0.0},
        "twice the noise": {"sigma_r": 2.0},
    }
    return explore(asking_figure, controls, presets, asking_words, live)
