"""Lesson 14 on the gpt rung, rooms: SQIRL with a network, PPO and DQN on grids of which the lookahead is known."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from toykit._checks import one_of
from toykit.control import MLP, TabularMDP, expected_return, lookahead
from toykit.control.online import of_network, pooled_sqirl
from toykit.control.online.baselines import learn
from toykit.control.worlds import GRID_DESIGNS, grid_world
from toykit.lessons.base import Results
from toykit.lessons.sharing import remembered

DESIGNS = tuple(name for name in GRID_DESIGNS if name not in ("shaped_centre", "key_toll_centre"))
ENOUGH = 0.95  # of the best return: solved
STEPS = 60_000
EVERY = 2_000  # steps between two evaluations of PPO's and DQN's greedy policy
LARGER = {"ppo": {"batch_size": 256}, "dqn": {"copies": 16, "gradient_steps": 2}}  # a third of the time of the defaults
KS, SIZES = (1, 2, 3), tuple(2**i for i in range(2, 11))  # of which the last solves, or would take more than STEPS
HIDDEN = (64, 64)
UPDATES, LR = 15, 3e-3  # of a fit, which goes on from the one before
LEARNERS = (*(f"SQIRL, k = {k}" for k in KS), "ppo", "dqn")


def by_sqirl(mdp: TabularMDP, k: int, seed: int, best: float) -> Results:
    """Practical SQIRL with more and more episodes a step, until it solves the room or takes too many steps.

    {"steps", "share": of the best return} of each size that was tried; every size begins anew.
    """
    inputs, steps, shares = torch.eye(mdp.n_states), list[int](), list[float]()
    for m in SIZES:
        networks = (MLP(mdp.n_states, mdp.n_actions, HIDDEN, seed=len(KS) * seed + head) for head in range(k))
        heads = [of_network(network, inputs, UPDATES, LR) for network in networks]
        found = pooled_sqirl(mdp, m, heads, seed)
        if found.steps > STEPS:
            break
        steps.append(found.steps)
        shares.append(expected_return(mdp, found.policy) / best)
        if shares[-1] >= ENOUGH:
            break
    return {"steps": steps, "share": shares}


def by_library(mdp: TabularMDP, algorithm: str, seed: int, best: float) -> Results:
    """PPO or DQN until it solves the room, as `by_sqirl` gives it."""
    settings: dict[str, Any] = LARGER[algorithm]
    found = learn(mdp, algorithm, STEPS, seed, EVERY, ENOUGH * best, **settings)
    return {"steps": found.steps.tolist(), "share": (found.values / best).tolist()}


def room(name: str, learner: str, seeds: Sequence[int], best: float) -> list[Results]:
    """How a learner fares in a room, one a seed."""
    mdp = grid_world(name)
    if learner in ("ppo", "dqn"):
        return [by_library(mdp, learner, seed, best) for seed in seeds]
    return [by_sqirl(mdp, KS[LEARNERS.index(learner)], seed, best) for seed in seeds]


def experiment(
    seeds: Sequence[int],
    designs: Sequence[str] = DESIGNS,
    learners: Sequence[str] = LEARNERS,
    folder: Path | None = None,
    progress: bool = False,
) -> Results:
    """{"near": {design: the k that is enough}, "runs": {learner: {design: [what `room` gives]}}}.

    Raises ValueError for a learner or a design that is not there.
    """
    for learner in learners:
        one_of("learners", learner, LEARNERS)
    exact = {name: lookahead(grid_world(name)) for name in designs}
    makes = {
        f"{name}, {learner}": partial(room, name, learner, seeds, exact[name].optimum)
        for name in designs
        for learner in learners
    }
    found = remembered(makes, folder, progress, "run")
    runs = {learner: {name: found[f"{name}, {learner}"] for name in designs} for learner in learners}
    near = {name: values.near(1 - ENOUGH) for name, values in exact.items()}
    return {"near": near, "enough": ENOUGH, "budget": STEPS, "runs": runs}
