"""Small MDPs to try things on."""

from __future__ import annotations

import numpy as np
import torch

from toykit._checks import at_least
from toykit.control.mdp import TabularMDP


def river_swim(n_states: int = 6, discount: float = 0.95, horizon: int | None = None) -> TabularMDP:
    """A swimmer against the stream: reward 0.005 at the left end, and 1 at the right one, which is hard to reach.

    Action 0 drifts left with certainty; action 1 swims right and succeeds with probability 0.35 (0.6 in state 0), stays
    with 0.6 (0.4 in state 0) and falls back with 0.05 (0.4 in the last state). Episodes start in state 0.
    Source: Strehl and Littman (2008); the numbers of Osband, Russo and Van Roy (2013).
    """
    at_least("n_states", n_states, 2)
    P = torch.zeros(n_states, 2, n_states, dtype=torch.float64)
    last = n_states - 1
    for s in range(n_states):
        P[s, 0, max(s - 1, 0)] = 1.0
        if 0 < s < last:
            P[s, 1, s - 1 : s + 2] = torch.tensor([0.05, 0.6, 0.35], dtype=torch.float64)
    P[0, 1, :2] = torch.tensor([0.4, 0.6], dtype=torch.float64)
    P[last, 1, last - 1 :] = torch.tensor([0.4, 0.6], dtype=torch.float64)
    R = torch.zeros(n_states, 2, dtype=torch.float64)
    R[0, 0], R[last, 1] = 0.005, 1.0
    return TabularMDP(P, R, discount, horizon, start=0)


def garnet(
    n_states: int = 20, n_actions: int = 4, branching: int = 3, discount: float = 0.95, seed: int = 0
) -> TabularMDP:
    """A random MDP as successor lists: `branching` distinct next states for each state and action.

    Their probabilities are the gaps between sorted uniform draws, rewards are standard normal, the start is uniform.
    Source: Archibald, McKinnon and Thomas (1995); Bhatnagar et al. (2009).
    """
    if not 1 <= branching <= n_states:
        raise ValueError(f"branching must be from 1 to {n_states}, got {branching}")
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.uniform(size=(n_states, n_actions, branching - 1)))
    ends = np.zeros((n_states, n_actions, 1)), np.ones((n_states, n_actions, 1))
    P = np.diff(np.concatenate([ends[0], cuts, ends[1]], -1))
    successors = [[rng.choice(n_states, branching, replace=False) for _ in range(n_actions)] for _ in range(n_states)]
    return TabularMDP(P, rng.normal(size=(n_states, n_actions)), discount, successors=np.array(successors))


def dice_tree() -> TabularMDP:
    """Two first tokens: of the first a coin leads to a state where every token succeeds, or to the end without success;
    the second leads to a state where one token of four succeeds.

    The uniform policy's values of the two are 1/2 and 1/4, the best policy's 1/2 and 1: greedy in the first is wrong.
    """
    P, R = torch.zeros(4, 4, 4, dtype=torch.float64), torch.zeros(4, 4, dtype=torch.float64)
    lucky, narrow, end = 1, 2, 3
    P[0, 0, lucky] = P[0, 0, end] = 0.5
    P[0, 1, narrow] = 1.0
    P[[lucky, narrow], :, end] = 1.0
    R[lucky], R[narrow, 0] = 1.0, 1.0
    allowed = torch.ones(4, 4, dtype=torch.bool)
    allowed[0, 2:] = False
    return TabularMDP(P, R, start=0, terminal=[end], allowed=allowed)
