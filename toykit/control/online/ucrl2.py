"""UCRL2, and what it does where the MDP changes: a window, restarts on a schedule, restarts on detected changes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from toykit._checks import at_least, inside, one_of
from toykit.control.counts import Counts
from toykit.control.online.change_points import ChangePoints, LogPrior, prior_of
from toykit.control.online.optimism import confidence, extended_value_iteration

SCOPES = ("global", "local")
Step = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # states, actions, rewards and next states of B runs


@dataclass(frozen=True)
class UCRL2:
    """The settings of UCRL2; rewards are from 0 to 1 and are learned.

    delta        how often the confidence sets may miss
    scale        factor of their widths; 1 is the theorem's
    window       only the last so many steps count, transitions and rewards alike; None: all since the restart
    restarts     numbers of steps after which everything is forgotten: a schedule, or the true changes (an oracle)
    prior        of change points (see `ChangePoints`): a detector for each state and action reads its next states
                 (R-BOCPD-UCRL2); None: no detectors
    scope        what a detected change makes it forget: "global", everything, or "local", that state and action
    skip_first_loss, most   as in `ChangePoints`

    Raises ValueError for what is out of range. Source: Jaksch, Ortner and Auer (2010); Gajane, Ortner and Auer (2018)
    for the window; Alami, Mahfoud and Moulines (arXiv 2304.00232), whose scope of a restart is not confirmed.
    """

    delta: float = 0.05
    scale: float = 1.0
    window: int | None = None
    restarts: Collection[int] = ()
    prior: float | str | LogPrior | None = None
    scope: str = "global"
    skip_first_loss: bool = False
    most: int | None = None

    def __post_init__(self) -> None:
        inside("delta", self.delta)
        at_least("scale", self.scale, 0)
        if self.window is not None:
            at_least("window", self.window, 1)
        one_of("scope", self.scope, SCOPES)
        if self.prior is not None:
            prior_of(self.prior)
        object.__setattr__(self, "restarts", frozenset(self.restarts))
        if self.window is not None and (self.restarts or self.prior is not None):
            raise ValueError("window must be None where there are restarts, which forget what it would take back")

    def start(self, n_states: int, n_actions: int, seeds: Iterable[int]) -> UCRL2Runs:
        """Runs that have seen nothing, one for each seed. The algorithm draws no random numbers."""
        return UCRL2Runs(self, n_states, n_actions, len(tuple(seeds)))


class UCRL2Runs:
    """B runs of UCRL2 side by side; `act` and `learn` take turns. `restarted` bool [B]: by the last step, by whatever
    cause."""

    def __init__(self, how: UCRL2, n_states: int, n_actions: int, runs: int) -> None:
        self.how = how
        self.counts = Counts.empty(n_states, n_actions, runs)
        self.policy = np.zeros((runs, n_states), dtype=np.int64)
        self.clock = np.zeros(runs)  # steps since the restart
        self.over = np.ones(runs, dtype=bool)  # whether a new episode is due
        self.left = np.zeros((runs, n_states, n_actions))  # visits until the episode ends
        self.restarted = np.zeros(runs, dtype=bool)
        self.every = np.arange(runs)
        self.done = 0
        # The tables of the counts, in numpy: one step of each run is too little for torch.
        self._tables = tuple(t.numpy() for t in (self.counts.transitions, self.counts.rewards, self.counts.visits))
        self._kept: list[Step] = []  # the window's steps, from place done % window
        self.detectors: ChangePoints | None = None
        if how.prior is not None:
            streams = runs * n_states * n_actions
            self.detectors = ChangePoints(n_states, streams, how.prior, how.skip_first_loss, how.most)

    def act(self, states: np.ndarray) -> np.ndarray:
        """Actions [B] in states [B]; runs whose episode is over plan anew."""
        if self.over.any():
            self._plan(np.flatnonzero(self.over))
        return self.policy[self.every, states]

    def learn(self, states: np.ndarray, actions: np.ndarray, rewards: np.ndarray, next_states: np.ndarray) -> None:
        """Takes in one step of each run, all [B]."""
        step = states, actions, rewards, next_states
        self._count(step, 1.0)
        if self.how.window is not None:
            self._slide(step, self.how.window)
        self.done += 1
        self.clock += 1
        at = self.every, states, actions
        self.left[at] -= 1
        self.over |= self.left[at] <= 0
        scheduled = self.done in self.how.restarts
        self.restarted = np.full(len(self.every), scheduled)
        if self.detectors is not None:
            self.restarted |= self._detect(self.detectors, states, actions, next_states)
        if self.restarted.any():
            self._forget(self.restarted, states, actions, scheduled or self.how.scope == "global")

    def _plan(self, rows: np.ndarray) -> None:
        at = torch.from_numpy(rows)
        seen = Counts(self.counts.transitions[at], self.counts.rewards[at], self.counts.visits[at])
        clock = torch.from_numpy(self.clock[rows]).clamp(min=1)
        width, more = confidence(seen, clock, self.how.delta, self.how.scale)
        optimistic = (seen.mean_rewards() + more).clamp(max=1.0)
        self.policy[rows] = extended_value_iteration(seen.law(), optimistic, width, 1 / clock.sqrt())[0].numpy()
        self.left[rows] = seen.visits.clamp(min=1).numpy()
        self.over[rows] = False

    def _count(self, step: Step, times: float) -> None:
        """`Counts.add` of one step of each run: no pair comes twice, so that plain indexing adds."""
        states, actions, rewards, next_states = step
        transitions, sums, visits = self._tables
        transitions[self.every, states, actions, next_states] += times
        sums[self.every, states, actions] += times * rewards
        visits[self.every, states, actions] += times

    def _slide(self, step: Step, window: int) -> None:
        """Takes back the step that leaves the window."""
        if len(self._kept) < window:
            self._kept.append(step)
            return
        place = self.done % window
        self._count(self._kept[place], -1.0)
        self._kept[place] = step

    def _detect(
        self, detectors: ChangePoints, states: np.ndarray, actions: np.ndarray, next_states: np.ndarray
    ) -> np.ndarray:
        n_states, n_actions = self.left.shape[1:]
        return detectors.update(next_states, (self.every * n_states + states) * n_actions + actions)

    def _forget(self, rows: np.ndarray, states: np.ndarray, actions: np.ndarray, everything: bool) -> None:
        """Forgets all that some runs saw, or what they saw of this state and action alone; an episode begins."""
        if everything:
            self.counts.clear(torch.from_numpy(rows))
            self.clock[rows] = 0
            if self.detectors is not None:
                self.detectors.restart(rows.repeat(self.left[0].size))
        else:
            pairs = np.zeros(self.left.shape, dtype=bool)
            pairs[self.every[rows], states[rows], actions[rows]] = True
            self.counts.clear(torch.from_numpy(pairs))
        self.over |= rows
