"""Where a policy spends its time: occupancy measures, and the policy of a measure."""

from __future__ import annotations

import math

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from toykit._checks import shape
from toykit.control.evaluation import TOLERANCE, check_tolerance, most_sweeps, solve, unreachable
from toykit.control.mdp import TabularMDP
from toykit.control.policies import Chain, as_policy, under, uniform_policy
from toykit.control.termination import check_proper, longest_time


def occupancy(mdp: TabularMDP, policy: ArrayLike | Tensor, tol: float = TOLERANCE) -> Tensor:
    """The normalised occupancy measure of a policy: d(s, a) = (1 - discount) sum_t discount^t P(s_t = s, a_t = a).

    [S, A], sums to 1; with a horizon [H, S, A], the law of each step. Terminal states count: an episode that is over
    stays there. Dense: a linear solve; sparse: sweeps until the sum of all errors is certainly below `tol`.
    Raises ValueError at discount 1 without a horizon (see `visits`), and as `as_policy` does.
    """
    p = as_policy(mdp, policy)
    if mdp.horizon is not None:
        return _by_step(mdp, p)
    if mdp.discount == 1:
        raise ValueError("discount must be < 1, or horizon given, for a normalised occupancy, got 1 (see visits)")
    states = _mass(under(mdp, p), mdp.start, torch.ones_like(mdp.terminal), tol)
    return (1 - mdp.discount) * states[:, None] * p


def visits(mdp: TabularMDP, policy: ArrayLike | Tensor, tol: float = TOLERANCE) -> Tensor:
    """Expected discounted visits [S, A] of a policy before the episode is over; 0 in terminal states.

    `(visits * R).sum()` is the expected return, whatever the discount and the horizon. `tol` (sparse) is a share of
    all visits. Raises ValueError at discount 1 without a horizon for a policy that may never end, with a state, and as
    `as_policy` does.
    """
    p = as_policy(mdp, policy)
    if mdp.horizon is not None:
        weight = mdp.discount ** torch.arange(mdp.horizon, dtype=torch.float64)
        return torch.einsum("h,hsa->sa", weight, _by_step(mdp, p)).masked_fill(mdp.terminal[:, None], 0.0)
    chain = under(mdp, p)
    if mdp.discount == 1:
        check_proper(chain)
    return _mass(chain, mdp.start, ~mdp.terminal, tol)[:, None] * p


def flow_residual(mdp: TabularMDP, occupancy: Tensor) -> Tensor:
    """What leaves each state minus what enters it [S] ([H, S] with a horizon), under an `occupancy` [S, A] ([H, S, A]).

    sum_a d(s, a) - (1 - discount) start(s) - discount sum d(s', a') P(s | s', a'); with a horizon the law of a step
    minus what the step before makes of it. It is 0 exactly for the occupancy measures of policies.
    Source: Puterman (1994), section 6.9.
    """
    if mdp.horizon is None:
        shape("occupancy", occupancy, (mdp.n_states, mdp.n_actions))
        return occupancy.sum(-1) - (1 - mdp.discount) * mdp.start - mdp.discount * mdp.push(occupancy)
    shape("occupancy", occupancy, (mdp.horizon, mdp.n_states, mdp.n_actions))
    before = [mdp.start, *(mdp.push(step) for step in occupancy[:-1])]
    return occupancy.sum(-1) - torch.stack(before)


def policy_of(mdp: TabularMDP, occupancy: Tensor) -> Tensor:
    """The policy [S, A] ([H, S, A] with a horizon) of an occupancy measure: d(s, a) / sum_a d(s, a).

    Uniform over the allowed actions in states of measure 0. Source: Syed, Bowling and Schapire (2008), theorem 2.
    """
    total = occupancy.sum(-1, keepdim=True)
    return torch.where(total > 0, occupancy / torch.where(total > 0, total, 1.0), uniform_policy(mdp))


def _by_step(mdp: TabularMDP, policy: Tensor) -> Tensor:
    """The law of states and actions at each step [H, S, A]."""
    steps, states = [], mdp.start
    for p in policy.expand(mdp.horizon or 0, mdp.n_states, mdp.n_actions):
        steps.append(states[:, None] * p)
        states = mdp.push(steps[-1])
    return torch.stack(steps)


def _mass(chain: Chain, start: Tensor, counted: Tensor, tol: float) -> Tensor:
    """sum_t discount^t P(s_t = s) [S] over the states that are `counted` bool [S]; what leaves them is gone."""
    first = start * counted
    if chain.successors is not None:
        return _flow(chain, first, counted, tol)
    kept = counted.nonzero()[:, 0]
    mass = torch.zeros_like(start)
    matrix = torch.eye(len(kept), dtype=start.dtype) - chain.discount * chain.P[kept][:, kept].mT
    mass[kept] = solve(matrix, first[kept], chain.discount)
    return mass


@torch.no_grad()
def _flow(chain: Chain, first: Tensor, counted: Tensor, tol: float) -> Tensor:
    """The mass that has come from `first` [S], by sweeps."""
    steps = 1 / (1 - chain.discount) if chain.discount < 1 else longest_time(chain.expect, chain.terminal)
    check_tolerance(tol, steps)
    # A first guess with the whole mass: what is left to do then only moves mass about, which ends sooner.
    mass = first * steps if bool(counted.all()) else first
    done, most = 0, math.inf
    while done < most:
        old, mass, done = mass, first + chain.discount * chain.push(mass) * counted, done + 1
        gap = steps * (mass - old).abs().sum().item()
        if gap <= tol * max(1.0, mass.sum().item()):
            return mass
        most = min(most, done + most_sweeps(gap, tol, steps))
    raise unreachable(tol, gap)
