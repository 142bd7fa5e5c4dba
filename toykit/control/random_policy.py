"""Acting on the values of the uniform policy, greedily or by a softmax, and what that is worth on trees.

On a deterministic tree with one positive reward Q_u(s, a) is that reward times the share of random continuations that
succeed, positive exactly where success can be reached. Source: ROVER (arXiv 2509.24981), theorems 1 and 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from toykit._checks import positive
from toykit.control.backups import LogSumExp
from toykit.control.evaluation import action_values
from toykit.control.mdp import TabularMDP
from toykit.control.occupancy import visits
from toykit.control.planning import value_iteration
from toykit.control.policies import uniform_policy

NEAR = 1e-12  # values that differ by less are equal


@dataclass(frozen=True, eq=False)
class WorstOf:
    """The smallest value among the actions that `among` [S, A] allows: an aggregator. Its policy takes one of them."""

    among: Tensor

    def __call__(self, q: Tensor) -> Tensor:
        return q.masked_fill(~self.among, torch.inf).amin(-1)

    def policy(self, q: Tensor) -> Tensor:
        return F.one_hot(q.masked_fill(~self.among, torch.inf).argmin(-1), q.shape[-1]).to(q.dtype)


def uniform_values(mdp: TabularMDP) -> Tensor:
    """Q_u [S, A] of the uniform policy ([H, S, A] with a horizon); raises as `action_values` does."""
    return action_values(mdp, uniform_policy(mdp))


def greedy_actions(q: Tensor) -> Tensor:
    """bool [..., A]: the actions of the largest value in q [..., A], all of them where there are several."""
    return q >= q.amax(-1, keepdim=True) - NEAR


def worst_greedy_value(mdp: TabularMDP, q: Tensor) -> Tensor:
    """The value [S] of the worst policy that is greedy in q [S, A], however ties are broken.

    Raises ValueError as `value_iteration` does, for an MDP with a horizon for instance.
    """
    return value_iteration(mdp, WorstOf(greedy_actions(q) & mdp.allowed)).v


def softmax_policy(q: Tensor, rho: float) -> Tensor:
    """softmax(q / rho) [..., A], for rho > 0."""
    return LogSumExp(positive("rho", rho)).policy(q)


def softmax_bound(mdp: TabularMDP, q: Tensor, rho: float, reward: float = 1.0) -> float:
    """A lower bound of what softmax(q / rho) earns, for q = Q_u [S, A] of a tree whose ends give `reward` or 0.

    reward (1 - P(no success can be reached) - sum_{s in K} P(reach s) N(s) / (N(s) + exp(max_a q(s, a) / rho))), K the
    states with N(s) >= 1 actions of value 0 beside a positive one: an episode that fails has taken such an action,
    and its probability is at most the fraction. It tends to what the best policy earns as rho -> 0.
    """
    best, dead = q.amax(-1), ((q <= NEAR) & mdp.allowed).sum(-1)
    lost = ((best <= NEAR) * mdp.start).sum()
    reach = visits(mdp, softmax_policy(q, rho)).sum(-1)
    fraction = torch.where(best > NEAR, dead / (dead + (best / rho).exp()), 0.0)
    return float(reward * (1 - lost - (reach * fraction).sum()))
