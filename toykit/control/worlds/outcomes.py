"""What each action may lead to, one by one: the table that environments step by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import gymnasium
import numpy as np
from numpy.typing import NDArray

from toykit.control.mdp import TabularMDP

Table = dict[int, dict[int, list[tuple[float, int, float, bool]]]]
"""Transitions (probability, next state, reward, terminated) by state and action, as gymnasium's toy_text has them."""

SURE = 1e-12  # how near a share is to 0 or 1 to be taken for it


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The K outcomes of each action in each state, those of probability 0 included.

    P [S, A, K], all 0 for an action that is not allowed; successors int64, rewards and ends (bool) of that shape;
    start [S]
    """

    P: NDArray[np.float64]
    successors: NDArray[np.int64]
    rewards: NDArray[np.float64]
    ends: NDArray[np.bool_]
    start: NDArray[np.float64]

    @classmethod
    def of_env(cls, env: gymnasium.Env[Any, Any]) -> Self:
        """Those of an environment that shows its transition table.

        Raises ValueError for an environment without a table (`P` and `initial_state_distrib`), for Taxi's fickle
        passenger, whom the table does not describe, and for one that drifts, whose table changes.
        """
        world: Any = env.unwrapped
        table, start = getattr(world, "P", None), getattr(world, "initial_state_distrib", None)
        if table is None or start is None:
            raise ValueError(f"env must have a transition table P and initial_state_distrib, {world} has not")
        if getattr(world, "fickle_passenger", False):
            raise ValueError("env must follow its transition table, a Taxi with fickle_passenger=True does not")
        if getattr(world, "drifts", False):
            raise ValueError("env must follow one transition table, one that drifts has its phases in `env.world`")
        P, successors, rewards, ends = _arrays(table, int(world.action_space.n))
        return cls(P, successors, rewards, ends, start)

    @classmethod
    def of_mdp(cls, mdp: TabularMDP) -> Self:
        """Those of an MDP: rewards are the expected ones, and an episode ends where a terminal state is entered."""
        sparse = mdp.to_sparse()
        assert sparse.successors is not None
        P, successors, terminal = sparse.P.numpy(), sparse.successors.numpy(), mdp.terminal.numpy()
        P = np.where(mdp.allowed.numpy()[..., None], P, 0.0)
        rewards = np.broadcast_to(mdp.R.numpy()[..., None], P.shape)
        return cls(P, successors, rewards, terminal[successors] & (P > 0), mdp.start.numpy())


def _arrays(table: Table, n_actions: int) -> tuple[NDArray[Any], ...]:
    """Probabilities, next states, rewards and ends [S, A, K] of a table; places without a transition are 0."""
    n_states = len(table)
    width = max(len(row) for actions in table.values() for row in actions.values())
    P, rewards = np.zeros((2, n_states, n_actions, width))
    successors, ends = np.zeros_like(P, dtype=np.int64), np.zeros_like(P, dtype=bool)
    for s, actions in table.items():
        for a, row in actions.items():
            for k, outcome in enumerate(row):
                P[s, a, k], successors[s, a, k], rewards[s, a, k], ends[s, a, k] = outcome
    return P, successors, rewards, ends & (P > 0)


def alias_table(P: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Distributions [N, K] as K equally probable places of two outcomes each: (own, share of own, other), all [N, K].

    Drawing takes a place, and in it the own outcome with probability `share`, else the other. Places that need no other
    have share 1, so that with equal probabilities no second draw is needed. Source: Walker (1977), Vose (1991).
    """
    n, width = P.shape
    order = P.argsort(-1)
    left = np.take_along_axis(P, order, -1) * width  # what of each outcome has no place yet, in places
    share, other = np.ones_like(left), np.tile(np.arange(width), (n, 1))
    rows, small, large = np.arange(n), np.zeros(n, dtype=np.int64), np.full(n, width - 1)
    for _ in range(width - 1):
        spent = left[rows, large] < 1
        done = np.where(spent, large, small)
        donor = np.where(spent, large - 1, large)
        share[rows, done] = left[rows, done]
        other[rows, done] = donor
        left[rows, donor] -= 1 - left[rows, done]
        small, large = small + ~spent, large - spent
    own = np.where(share < SURE, other, np.arange(width))
    share = np.where((share < SURE) | (share > 1 - SURE), 1.0, share)
    return np.take_along_axis(order, own, -1), share, np.take_along_axis(order, other, -1)
