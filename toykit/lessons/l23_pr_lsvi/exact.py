"""The exact rung of lesson 23: a small MDP whose values are known, learned from comparisons by many arms and seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from toykit.control import TabularMDP
from toykit.control.online import (
    PRLSVI,
    disagreement,
    layered,
    least_square,
    most_queries,
    norm_under,
    one_hot_features,
    pbts,
    pr_lsvi,
)
from toykit.lessons.base import Results

STATES, ACTIONS, STEPS = 2, 3, 2
SIZE = STATES * ACTIONS * STEPS
SCALE = 4.0  # of the rewards, so that answers say something
EPISODES = 400
ACTIVE = {f"eps {eps:g}": PRLSVI(eps=eps) for eps in (0, 0.25, 0.5, 1, 1.5)}
PASSIVE = {f"passive {p:g}": PRLSVI(passive=p) for p in (0.05, 0.1, 0.3)}
ARMS = (
    ACTIVE
    | PASSIVE
    | {
        "no noise": PRLSVI(randomise=False, truncate=False),
        "no noise, truncated": PRLSVI(randomise=False),
        "same policy": PRLSVI(partner="same"),
    }
)
THRESHOLDS = (0.0, 0.05, 0.2, 0.5, 1.0, 2.0)  # of PbTS
QUIET = (0.25, 0.5, 1.0, 1.5)  # thresholds at which pairs are offered until none is asked
HYPOTHESES, THOMPSON_SEEDS = 16, 60
SHOWN = tuple(range(0, EPISODES, 8))  # episodes of the curves that are drawn


@cache
def world() -> tuple[TabularMDP, Tensor]:
    """The card's MDP, and one feature for each step, state and action."""
    draw = np.random.default_rng(3)
    P = draw.dirichlet([0.4] * STATES, (STEPS, STATES, ACTIONS))
    return layered(P, tastes(draw, STEPS, STATES, ACTIONS)), one_hot_features(STATES, ACTIONS, STEPS)


def tastes(draw: np.random.Generator, *size: int) -> np.ndarray:
    """Rewards of the card: uniform below `SCALE`, and 0 with probability 0.4."""
    return draw.uniform(0, 1, size) * (draw.random(size) < 0.6) * SCALE


def run(seeds: tuple[int, ...] = tuple(range(20))) -> Results:
    """All arms over the seeds, Thompson sampling over its own, and what is true whatever is drawn."""
    mdp, features = world()
    learned = pr_lsvi(mdp, features, list(ARMS.values()), seeds, EPISODES, SCALE)
    regret = learned.regret
    runs = {
        name: {
            "regret": regret[i].sum(-1).tolist(),
            "late": regret[i, :, -100:].mean(-1).tolist(),
            "queries": learned.queries[i].tolist(),
            "curve": regret[i].cumsum(-1)[:, list(SHOWN)].tolist(),
        }
        for i, name in enumerate(ARMS)
    }
    return {
        "best": learned.best,
        "statistic": statistic(),
        "bounds": bounds(learned.queries),
        "silence": silence(),
        "two_arms": two_arms(),
        "runs": runs,
        "thompson": thompson(),
        "shown": list(SHOWN),
    }


def statistic(draws: int = 400_000, others: int = 10) -> Results:
    """The query statistic by its closed form and by two independent draws, on the card's pair and on random ones."""
    draw = torch.Generator().manual_seed(0)
    precision = torch.tensor([[2.0, 0.3], [0.3, 1.0]], dtype=torch.float64)
    x = torch.tensor([1.0, -0.5], dtype=torch.float64)
    errors, card = [], (0.0, 0.0)
    for i in range(others + 1):
        if i:
            root = torch.randn(4, 4, generator=draw, dtype=torch.float64)
            precision, x = root @ root.mT + torch.eye(4), torch.randn(4, generator=draw, dtype=torch.float64)
        noise = torch.randn(len(x), 2 * draws, generator=draw, dtype=torch.float64)
        said = x @ torch.linalg.solve_triangular(torch.linalg.cholesky(precision).mT, 0.7 * noise, upper=True)
        sampled = float((said[:draws] - said[draws:]).abs().mean())
        closed = float(disagreement(norm_under(x, precision), 0.7))
        card = (closed, sampled) if i == 0 else card
        errors.append(abs(sampled / closed - 1))
    return {"closed": card[0], "sampled": card[1], "largest error": max(errors)}


def bounds(queries: Tensor) -> Results:
    """For each eps: the most that can be asked, and the most that was, over the seeds."""
    found = {}
    for i, how in enumerate(ACTIVE.values()):
        if how.eps:
            most = most_queries(how.eps, how.sigma_r, SIZE, largest=4.0, ridge=how.prior)
            found[f"{how.eps:g}"] = {"bound": most, "asked": int(queries[i].max())}
    return found


@cache
def pairs() -> Tensor:
    """[N, D]: the differences of features of all pairs of different trajectories that can happen."""
    mdp, features = world()
    start = int(mdp.start.argmax())
    made = [
        torch.cat([features[start, a], features[s, b]])
        for a in range(ACTIONS)
        for s in mdp.P[start, a].nonzero()[:, 0].tolist()
        for b in range(ACTIONS)
    ]
    every = torch.stack(made)
    first, second = torch.triu_indices(len(every), len(every), 1)
    return every[first] - every[second]


def silence(streams: int = 20, offered: int = 2000) -> Results:
    """Random pairs offered one by one: how many are asked before no pair is worth asking, and after.

    "greedy" offers the pair that is doubted most, until none is.
    """
    draw, every = torch.Generator().manual_seed(0), pairs()
    levels = [math.sqrt(least_square(eps, 1.0)) for eps in QUIET]
    level = torch.tensor(levels, dtype=torch.float64).repeat_interleave(streams)
    precision = torch.eye(SIZE, dtype=torch.float64).repeat(len(level), 1, 1)
    largest = norms(precision).amax(-1)
    before, after = torch.zeros(2, len(level), dtype=torch.int64)
    for _ in range(offered):
        x = every[torch.randint(len(every), (len(level),), generator=draw)]
        asked = norm_under(x, precision) > level
        after += asked & (largest <= level)
        before += asked & (largest > level)
        if bool(asked.any()):
            row = asked.nonzero()[:, 0]
            precision[row] += x[row, :, None] * x[row, None, :]
            largest[row] = norms(precision[row]).amax(-1)
    return {
        f"{eps:g}": {
            "before": before[i * streams : (i + 1) * streams].tolist(),
            "after": int(after[i * streams : (i + 1) * streams].sum()),
            "quiet": int((largest <= level)[i * streams : (i + 1) * streams].sum()),
            "greedy": greedy(levels[i]),
        }
        for i, eps in enumerate(QUIET)
    }


def norms(precision: Tensor) -> Tensor:
    """[R, N]: the norm of each pair under precisions [R, D, D]."""
    root = torch.linalg.cholesky(precision)
    return torch.linalg.solve_triangular(root, pairs().mT.expand(len(root), -1, -1), upper=False).norm(dim=-2)


def greedy(level: float) -> int:
    """How often the pair of the largest norm is asked until none is above the level."""
    precision, count = torch.eye(SIZE, dtype=torch.float64), 0
    while True:
        size, at = norms(precision[None])[0].max(0)
        if size <= level:
            return count
        x = pairs()[at]
        precision, count = precision + x[:, None] * x, count + 1


def two_arms(seeds: Sequence[int] = range(200), episodes: int = 200) -> Results:
    """One state, one step, two actions worth 0 and 1, and a learner that began with the first.

    "twice" has twice the noise and twice the threshold, so that the same pairs are asked. A seed is stuck where it lost
    2 in each of the last 50 episodes.
    """
    mdp = layered(torch.ones(1, 1, 2, 1, dtype=torch.float64), torch.tensor([[[0.0, 1.0]]], dtype=torch.float64))
    arms = {name: ARMS[name] for name in ("no noise", "eps 0.25")} | {"twice": PRLSVI(sigma_r=2.0, eps=0.5)}
    found = pr_lsvi(mdp, one_hot_features(1, 2, 1), list(arms.values()), seeds, episodes)
    return {
        name: {
            "regret": found.regret[i].sum(-1).tolist(),
            "queries": found.queries[i].tolist(),
            "stuck": int((found.regret[i, :, -50:] == 2).all(-1).sum()),
            "episodes": episodes,
        }
        for i, name in enumerate(arms)
    }


def thompson(seeds: Sequence[int] = range(THOMPSON_SEEDS)) -> Results:
    """PbTS on the same transitions, with rewards drawn anew for each seed."""
    mdp, _ = world()
    made = [tastes(np.random.default_rng(seed), HYPOTHESES, STEPS * STATES, ACTIONS) for seed in seeds]
    rewards = torch.nn.functional.pad(torch.tensor(np.stack(made)), (0, 0, 0, 1))  # nothing at the end
    found = pbts(mdp, rewards, THRESHOLDS, seeds, EPISODES)
    return {
        f"{eps:g}": {
            "regret": found.regret[i].sum(-1).tolist(),
            "queries": found.asked[i].sum(-1).tolist(),
            "mass": found.reward_mass[i].tolist(),
        }
        for i, eps in enumerate(THRESHOLDS)
    }
