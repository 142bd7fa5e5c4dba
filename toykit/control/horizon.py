"""Finite horizons: values and policies of each step, backwards from the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from toykit.control.backups import MAX, Aggregator, backup
from toykit.control.mdp import TabularMDP


@dataclass(frozen=True, eq=False)
class HorizonSolution:
    """Values for each step of an episode of H steps.

    v [H + 1, S] with v[H] = 0; q [H, S, A], -inf where an action is not allowed; policy [H, S, A], the aggregators'.
    """

    v: Tensor
    q: Tensor
    policy: Tensor


def steps_of(mdp: TabularMDP) -> int:
    """The horizon; raises ValueError where there is none."""
    if mdp.horizon is None:
        raise ValueError("horizon must be a number of steps for values by step, got None")
    return mdp.horizon


def backward_induction(mdp: TabularMDP, aggregator: Aggregator | Sequence[Aggregator] = MAX) -> HorizonSolution:
    """Values of an MDP with a horizon H, exact: v[h] = aggregator(R + discount E[v[h + 1]]).

    `aggregator` is one for all steps (the maximum if not given), or a sequence of H of them. Raises ValueError for an
    MDP without a horizon, and for a sequence of another length. Source: Bellman (1957).
    """
    n_steps = steps_of(mdp)
    each = list(aggregator) if isinstance(aggregator, Sequence) else [aggregator] * n_steps
    if len(each) != n_steps:
        raise ValueError(f"aggregator must be one, or one for each of {n_steps} steps, got {len(each)}")
    v = torch.zeros(n_steps + 1, mdp.n_states, dtype=torch.float64)
    q = torch.zeros(n_steps, mdp.n_states, mdp.n_actions, dtype=torch.float64)
    policy = torch.zeros_like(q)
    for h in reversed(range(n_steps)):
        q[h] = mdp.q(v[h + 1])
        v[h] = backup(mdp, each[h], q[h])
        policy[h] = each[h].policy(q[h])
    return HorizonSolution(v, q, policy)
