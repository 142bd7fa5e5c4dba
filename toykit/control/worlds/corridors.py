"""Corridors: MDPs whose answers are known in closed form."""

from __future__ import annotations

import torch

from toykit._checks import at_least
from toykit.control.mdp import TabularMDP
from toykit.control.worlds.noise import slippery


def decoy_corridor(length: int, decoy: float, n_actions: int = 3, slip: float = 0.0) -> TabularMDP:
    """A corridor that pays 1 at its end, and a decoy that pays at once; an episode has `length` steps.

    States 0 to length - 1 are the corridor, `length` the goal and `length` + 1 the dead end, both terminal; episodes
    start in state 0. Action 0 moves on, any other leads to the dead end; the last step on pays 1, any other action in
    state 0 pays `decoy`. With probability `slip` a uniform action is taken instead. Without slip, k - 1 sweeps of
    Q-value iteration from the uniform policy's value say n_actions^-(length - k) for moving on in state 0: looking k
    steps ahead is enough as soon as that is above the decoy.

    Raises ValueError for a length below 1, fewer than 2 actions and a slip outside [0, 1].
    Source: an example for the effective horizon (arXiv 2312.08369).
    """
    at_least("length", length, 1)
    at_least("n_actions", n_actions, 2)
    goal, dead = length, length + 1
    P = torch.zeros(length + 2, n_actions, length + 2, dtype=torch.float64)
    P[:, 1:, dead] = 1.0
    P[torch.arange(length), 0, torch.arange(1, length + 1)] = 1.0
    P[goal:, 0, dead] = 1.0  # not read
    R = torch.zeros(length + 2, n_actions, dtype=torch.float64)
    R[0, 1:] = decoy
    R[length - 1, 0] = 1.0
    return slippery(TabularMDP(P, R, horizon=length, start=0, terminal=[goal, dead]), slip)


def linear_q(u: int) -> TabularMDP:
    """A deterministic MDP whose optimal values are one hinge of the state, and whose rewards need `u` of them.

    States 0 to 3u + 2, two actions, start 0, horizon 3u + 3 without discount. The optimal values of any step from
    which the last state is still reached are Q(s, 0) = 2 max(0, 2u + 1 - s) and Q(s, 1) = max(0, 3u + 1.5 - s), so the
    best policy takes action 0 up to state u and action 1 after it, for a return of 4u + 2. The rewards zigzag with the
    parity of s: no small network holds both the optimal values and their Bellman backup of 0.

    Raises ValueError for u below 1. Source: MBRCSL (arXiv 2310.19308), the environment LinearQ.
    """
    at_least("u", u, 1)
    last = 3 * u + 2
    s = torch.arange(last + 1)
    aside = torch.where(s % 2 == 0, last, last - 1)
    on = (s + 1).clamp(max=last)
    after = torch.stack(
        [
            torch.where(s <= u, on, torch.where(s <= 2 * u, aside, last)),
            torch.where(s == last, last, torch.where(s <= u, aside, on)),
        ],
        -1,
    )
    position = s.double()
    best = torch.stack([2 * (2 * u + 1 - position).clamp(min=0), (3 * u + 1.5 - position).clamp(min=0)], -1)
    R = best - best.amax(-1)[after]
    P = torch.ones(*R.shape, 1, dtype=torch.float64)
    return TabularMDP(P, R, horizon=last + 1, start=0, successors=after[..., None]).to_dense()
