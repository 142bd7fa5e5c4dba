"""Average reward: the gain of a policy and of the best one, bias, and how far apart the states of an MDP are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from toykit._checks import positive
from toykit.control.backups import MAX, Aggregator
from toykit.control.evaluation import EPS
from toykit.control.mdp import TabularMDP
from toykit.control.planning import policy_iteration
from toykit.control.policies import as_policy, under

PATIENCE = 1000  # sweeps in which the bounds must come nearer
LAZY = 0.5  # the share of every step that stays where it is: it makes a chain aperiodic and leaves the gain as it is


@dataclass(frozen=True, eq=False)
class Average:
    """gain, the reward per step in the long run; bias [S], what starting in a state adds in total, 0 in state 0;
    policy [S, A]; error, a bound on the gain's."""

    gain: float
    bias: Tensor
    policy: Tensor
    error: float


def average_reward(mdp: TabularMDP, policy: ArrayLike | Tensor) -> Average:
    """Gain and bias of a policy, exact; discount and horizon are not read, terminal states earn 0 for ever.

    Raises ValueError where the policy has more than one recurrent class, so that the gain depends on the start, and as
    `as_policy` does. Source: Puterman (1994), section 8.2.
    """
    p = as_policy(mdp, policy)
    chain = under(mdp, p)
    n = mdp.n_states
    # g + h(s) - sum P h = R, with the unknown h(0) = 0 replaced by g.
    matrix = torch.eye(n, dtype=torch.float64) - chain.matrix()
    matrix[:, 0] = 1.0
    found, trouble = torch.linalg.solve_ex(matrix, chain.R)
    if bool(trouble) or torch.linalg.cond(matrix).item() > 1 / (1e3 * EPS):
        raise ValueError("policy must have one recurrent class for a single gain, this one has several")
    bias = torch.cat([torch.zeros(1, dtype=torch.float64), found[1:]])
    return Average(found[0].item(), bias, p, 0.0)


@torch.no_grad()
def optimal_average(mdp: TabularMDP, aggregator: Aggregator = MAX, tol: float = 1e-10) -> Average:
    """The best gain by relative value iteration, certain to `tol`; discount and horizon are not read.

    Each sweep is half of a step, which makes every chain aperiodic. The least and the largest change of a sweep bound
    the gain from both sides. Raises ValueError for a `tol` that is not positive, and where they do not meet: the best
    gain then depends on the start. Source: White (1963); Puterman (1994), sections 8.5.3 and 8.5.4.
    """
    positive("tol", tol)
    endless = mdp.with_(discount=1.0, horizon=None)
    v = torch.zeros(mdp.n_states, dtype=torch.float64)
    before, sweeps = math.inf, 0
    while True:
        q = endless.q(v)
        change = aggregator(q) - v
        low, high = change.min().item(), change.max().item()
        if high - low <= 2 * tol:
            return Average((low + high) / 2, v - v[0], aggregator.policy(q), (high - low) / 2)
        if sweeps % PATIENCE == 0:
            if high - low > before * (1 - 1e-6):
                raise ValueError(f"mdp must have one best gain from every state, got from {low:g} to {high:g}")
            before = high - low
        v, sweeps = v + LAZY * (change - change[0]), sweeps + 1


def diameter(mdp: TabularMDP) -> float:
    """The largest expected time, over pairs of states, of the fastest way from one to the other; inf if there is none.

    Discount and horizon are not read. Source: Jaksch, Ortner and Auer (2010), definition 1.
    """
    worst = 0.0
    for goal in range(mdp.n_states):
        target = torch.arange(mdp.n_states) == goal
        towards = mdp.with_(R=-torch.ones_like(mdp.R), discount=1.0, horizon=None, terminal=target)
        if not _reached(towards):
            return math.inf
        worst = max(worst, -policy_iteration(towards).v.min().item())
    return worst


def _reached(mdp: TabularMDP) -> bool:
    """Whether some policy may come from every state to a terminal one."""
    reached = mdp.terminal
    while True:
        more = reached | (mdp.allowed & (mdp.expect(reached.double()) > 0)).any(-1)
        if bool((more == reached).all()):
            return bool(reached.all())
        reached = more
