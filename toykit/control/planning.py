"""Dynamic programming without a horizon: value iteration, policy iteration and what lies between them.

They take any aggregator (see `toykit.control.backups`). Policy iteration is Newton's method for the fixed point
v = aggregator(q(v)): at a tangent of the aggregator, its policy and an offset, the equation is linear.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from toykit._checks import at_least
from toykit.control.backups import MAX, Aggregator, Max, Mean, backup
from toykit.control.evaluation import TOLERANCE, bounds, chain_value, check_tolerance, most_sweeps, unreachable
from toykit.control.mdp import TabularMDP
from toykit.control.policies import Chain, as_policy, under, under_actions
from toykit.control.termination import check_all_proper, longest_time, never_ends, proper_policy

MOST_POLICIES = 1000
ENOUGH = 0.01  # of the gap that a sweep over all actions leaves: a policy that is not the last needs no better value


@dataclass(frozen=True, eq=False)
class Solution:
    """The fixed point of a backup.

    v [S], the aggregator's at q but for rounding; q [S, A], R + discount E[v] within `error`, -inf where an action is
    not allowed; policy [S, A], the aggregator's at q; error, a bound on the largest error of v (nan where none is
    known); iterations that were made
    """

    v: Tensor
    q: Tensor
    policy: Tensor
    error: float
    iterations: int


def value_iteration(mdp: TabularMDP, aggregator: Aggregator = MAX, tol: float = TOLERANCE) -> Solution:
    """Sweeps of v = aggregator(R + discount E[v]) until the error of v is certainly below `tol`.

    `tol` is a share of the largest value (or of 1). The sweep's smallest and largest change bound the fixed point from
    both sides; their middle is returned. At discount 1 every policy must end with certainty (an episode tree, say).
    Raises ValueError for an MDP with a horizon, at discount 1 where some policy may go on for ever, with a state, and
    for a `tol` below rounding. Source: Puterman (1994), section 6.6.
    """
    return modified_policy_iteration(mdp, aggregator, sweeps=0, tol=tol)


@torch.no_grad()
def modified_policy_iteration(
    mdp: TabularMDP, aggregator: Aggregator = MAX, sweeps: int = 30, tol: float = TOLERANCE
) -> Solution:
    """Value iteration with up to `sweeps` cheap sweeps of the current policy after each one over all actions.

    They end before where they have closed the gap between the bounds to a hundredth. Arguments, result and errors
    as for `value_iteration`. Source: Puterman and Shin (1978).
    """
    at_least("sweeps", sweeps, 0)
    steps = _steps(mdp)
    check_tolerance(tol, steps)
    v, iterations, most = torch.zeros(mdp.n_states, dtype=torch.float64), 0, math.inf
    q = mdp.R.masked_fill(~mdp.allowed, -torch.inf)  # of no value to come
    while iterations < most:
        old, v, iterations = v, backup(mdp, aggregator, q), iterations + 1
        low, high = bounds(v - old, mdp.discount, steps)
        if (high - low) / 2 <= tol * max(1.0, v.abs().max().item()):
            v, q = (
                (x + (low + high) / 2).masked_fill(over, 0.0)
                for x, over in ((v, mdp.terminal), (q, mdp.terminal[:, None]))
            )
            return Solution(v, q, aggregator.policy(q), (high - low) / 2, iterations)
        most = min(most, iterations + 10 * most_sweeps(high - low, tol, steps))
        if sweeps:
            v = _nearer(_tangent(mdp, aggregator, q, v), v, sweeps, ENOUGH * (high - low), steps)
        q = mdp.q(v)
    raise unreachable(tol, (high - low) / 2)


@torch.no_grad()
def policy_iteration(mdp: TabularMDP, aggregator: Aggregator = MAX, tol: float = TOLERANCE) -> Solution:
    """Evaluates a policy, takes the aggregator's policy where that is better, and so on until v is a fixed point.

    Dense MDPs are evaluated exactly, sparse ones as exactly as `tol` asks. `tol` is as for `value_iteration`; the
    result's policy is the one that was evaluated last. At discount 1 the search for the maximum starts from a policy
    that ends with certainty, gives up an action only for one that is better by more than `tol`, and finds the best of
    the policies that end (`error` is nan); other aggregators ask there that all policies end. Raises ValueError for an
    MDP with a horizon; at discount 1 where no policy is sure to end, or where a loop of positive reward makes the value
    infinite, with a state; and where the policies do not settle.
    Source: Howard (1960); Bertsekas and Tsitsiklis (1991) for discount 1.
    """
    shortest_path = mdp.discount == 1 and mdp.horizon is None and isinstance(aggregator, Max)
    steps = math.nan if shortest_path else _steps(mdp)
    v = torch.zeros(mdp.n_states, dtype=torch.float64)
    q = mdp.q(v)
    policy = as_policy(mdp, proper_policy(mdp)) if shortest_path else aggregator.policy(q)
    offset = v if shortest_path else backup(mdp, aggregator, q) - Mean(policy)(q)
    inner = tol if shortest_path else check_tolerance(tol / 4, steps)
    for iteration in range(1, MOST_POLICIES + 1):
        chain = under(mdp, policy)
        chain = replace(chain, R=(chain.R + offset).masked_fill(mdp.terminal, 0.0))
        if shortest_path:
            _check_no_loop(chain)
        v = chain_value(chain, inner, v)
        q = mdp.q(v)
        best = backup(mdp, aggregator, q)
        change = (best - v).abs()
        within = tol * max(1.0, v.abs().max().item())
        noise = 2 * (chain.backup(v) - v).abs().max().item()
        better = change > (max(2 * within, noise) if shortest_path else noise)
        error = steps * change.max().item()
        if error <= within or not bool(better.any()):
            return Solution(v, q, policy, error, iteration)
        policy = torch.where(better[:, None], aggregator.policy(q), policy)
        offset = torch.where(better, best - Mean(policy)(q), offset)
    raise ValueError(f"aggregator must let policies settle, {aggregator} does not in {MOST_POLICIES} of them")


def _steps(mdp: TabularMDP) -> float:
    """The number of steps over which rewards add up; raises ValueError where values need not exist."""
    if mdp.horizon is not None:
        raise ValueError(f"horizon must be None here, got {mdp.horizon}: use backward_induction")
    if mdp.discount < 1:
        return 1 / (1 - mdp.discount)
    check_all_proper(mdp)
    return longest_time(lambda alive: mdp.expect(alive).masked_fill(~mdp.allowed, 0.0).amax(-1), mdp.terminal)


def _tangent(mdp: TabularMDP, aggregator: Aggregator, q: Tensor, v: Tensor) -> Chain:
    """The chain whose backup agrees with the aggregator's, `v`, at `q` and has its slope there."""
    if isinstance(aggregator, Max):
        return under_actions(mdp, q.argmax(-1))
    policy = aggregator.policy(q)
    chain = under(mdp, policy)
    return replace(chain, R=chain.R + (v - Mean(policy)(q)))


def _nearer(chain: Chain, v: Tensor, sweeps: int, gap: float, steps: float) -> Tensor:
    """`v` after at most so many sweeps of `chain`, fewer where its bounds on the chain's value are within `gap`."""
    for _ in range(sweeps):
        old, v = v, chain.backup(v)
        low, high = bounds(v - old, chain.discount, steps)
        if high - low <= gap:
            break
    return v


def _check_no_loop(chain: Chain) -> None:
    """Raises ValueError where an improved policy may never end: it then runs through a loop of positive reward."""
    stuck = never_ends(chain)
    if bool(stuck.any()):
        state = int(stuck.nonzero()[0, 0])
        raise ValueError(f"discount must be < 1, or horizon given: state {state} leads to a loop of positive reward")
