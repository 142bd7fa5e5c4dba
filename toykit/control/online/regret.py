"""Regret while learning, in an MDP that may change: many runs of one algorithm side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from toykit._checks import at_least
from toykit.control.average import optimal_average
from toykit.control.online.draws import Draws
from toykit.control.worlds.drifting import Drifting, draw


class Runs(Protocol):
    """B runs of an algorithm: `act` on states [B], then `learn` what came of it; `restarted` bool [B] by that step."""

    restarted: np.ndarray

    def act(self, states: np.ndarray) -> np.ndarray: ...

    def learn(self, states: np.ndarray, actions: np.ndarray, rewards: np.ndarray, next_states: np.ndarray) -> None: ...


class Algorithm(Protocol):
    """Settings that start runs, one for each seed."""

    def start(self, n_states: int, n_actions: int, seeds: Iterable[int]) -> Runs: ...


@dataclass(frozen=True, eq=False)
class Regret:
    """regret float64 [B, T], after each step in all; gains, the best of each phase; restarts, for each run the numbers
    of steps after which it restarted."""

    regret: Tensor
    gains: tuple[float, ...]
    restarts: tuple[tuple[int, ...], ...]


def regret_curves(algorithm: Algorithm, world: Drifting, seeds: Sequence[int], steps: int) -> Regret:
    """Regret against the best gain of the phase, which is exact: sum over steps of gain - r, one run for each seed.

    A run draws one number a step, from numpy's `default_rng(seed)`, and takes the next state by inversion, so that it
    is the same whatever runs beside it; its first state is drawn so too where there are several. Rewards are the
    expected ones of state and action. Raises ValueError for no steps or seeds, and for a phase whose best gain depends
    on the start.
    """
    at_least("steps", steps, 1)
    at_least("the number of seeds", len(seeds), 1)
    first = world.at(0)
    gains = tuple(optimal_average(mdp).gain for mdp in world.phases)
    upto, rewards_of = world.cumulative(), np.stack([mdp.R.numpy() for mdp in world.phases])
    runs, draws = algorithm.start(first.n_states, first.n_actions, seeds), Draws(seeds)
    states = np.full(len(seeds), int(first.start.argmax()))
    if float(first.start.max()) < 1:
        states = draw(first.start.cumsum(-1).numpy(), draws.next())
    curve = np.empty((steps, len(seeds)))
    restarted = np.zeros((steps, len(seeds)), dtype=bool)
    for t in range(steps):
        phase = world.phase(t)
        actions = runs.act(states)
        at = states, actions
        after, rewards = draw(upto[phase][at], draws.next()), rewards_of[phase][at]
        runs.learn(*at, rewards, after)
        states = after
        curve[t] = gains[phase] - rewards
        restarted[t] = runs.restarted
    marks = tuple(tuple((np.flatnonzero(column) + 1).tolist()) for column in restarted.T)
    return Regret(torch.from_numpy(np.ascontiguousarray(curve.cumsum(0).T)), gains, marks)
