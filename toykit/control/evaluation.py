"""The value of a policy: a linear system where the MDP is dense, sweeps to a stated tolerance where it is sparse.

With a horizon H, results have a leading step axis.
"""

from __future__ import annotations

import math

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from toykit._checks import positive
from toykit.control.backups import Mean
from toykit.control.horizon import backward_induction
from toykit.control.mdp import TabularMDP
from toykit.control.policies import Chain, as_policy, under
from toykit.control.termination import check_proper, longest_time

TOLERANCE = 1e-10
EPS = torch.finfo(torch.float64).eps


def evaluate(mdp: TabularMDP, policy: ArrayLike | Tensor, tol: float = TOLERANCE) -> Tensor:
    """The value [S] of a policy from every state ([H + 1, S] with a horizon, 0 at the end).

    policy  as `as_policy` takes it: actions or probabilities, [S, ...] or by step [H, S, ...]
    tol     sparse MDPs only: the largest error allowed, as a share of the largest value (or of 1)

    Dense, or with a horizon: exact, and differentiable in the policy. Sparse: sweeps until the error is certainly below
    `tol`, without a gradient. Raises ValueError at discount 1
    without a horizon for a policy that may never end, with a state from which it does not; for a `tol` that is below
    rounding; and as `as_policy` does.
    """
    p = as_policy(mdp, policy)
    if mdp.horizon is None:
        return chain_value(under(mdp, p), tol)
    every = p.expand(mdp.horizon, mdp.n_states, mdp.n_actions)
    return backward_induction(mdp, [Mean(step) for step in every]).v


def action_values(mdp: TabularMDP, policy: ArrayLike | Tensor, tol: float = TOLERANCE) -> Tensor:
    """Q [S, A] of a policy ([H, S, A] with a horizon), -inf where an action is not allowed; raises as `evaluate`."""
    v = evaluate(mdp, policy, tol)
    return mdp.q(v if mdp.horizon is None else v[1:])


def advantages(mdp: TabularMDP, policy: ArrayLike | Tensor, tol: float = TOLERANCE) -> Tensor:
    """Q - V [S, A] of a policy ([H, S, A] with a horizon), -inf where an action is not allowed; raises as `evaluate`.

    Under the policy their mean is 0 in every state.
    """
    v = evaluate(mdp, policy, tol)
    if mdp.horizon is None:
        return mdp.q(v) - v[:, None]
    return mdp.q(v[1:]) - v[:-1, :, None]


def expected_return(mdp: TabularMDP, policy: ArrayLike | Tensor, tol: float = TOLERANCE) -> float:
    """J: the policy's value averaged over `mdp.start`; raises as `evaluate`."""
    v = evaluate(mdp, policy, tol)
    return (mdp.start @ (v if mdp.horizon is None else v[0])).item()


def chain_value(chain: Chain, tol: float = TOLERANCE, v: Tensor | None = None) -> Tensor:
    """The value [S] of a Markov reward process; sparse ones start their sweeps at `v`. Raises as `evaluate`."""
    if chain.discount == 1:
        check_proper(chain)
    return _solve(chain) if chain.successors is None else _sweep(chain, tol, v)


def check_tolerance(tol: float, steps: float) -> float:
    """Returns `tol`; raises ValueError where float64 cannot reach it for rewards that add up over `steps` steps."""
    positive("tol", tol)
    if tol < (least := 16 * EPS * steps):
        raise ValueError(f"tol must be >= {least:.1e} where values add up over {steps:.3g} steps, got {tol:.1e}")
    return tol


def bounds(change: Tensor, discount: float, steps: float) -> tuple[float, float]:
    """How far the fixed point lies from the new values of a sweep that changed them by `change` [S], from below and
    from above.

    At discount g < 1 these are g / (1 - g) times the least and the largest change, over all states (a terminal state's
    is 0); at discount 1 the largest absolute change times `steps`, a bound on the expected length of an episode.
    Source: MacQueen (1966); Puterman, Markov Decision Processes (1994), section 6.6.
    """
    if discount < 1:
        scale = discount / (1 - discount)
        return scale * change.min().item(), scale * change.max().item()
    most = steps * change.abs().max().item()
    return -most, most


def most_sweeps(gap: float, tol: float, steps: float) -> int:
    """How many sweeps bring an error of `gap` below `tol` at the latest, but for rounding."""
    return 10 + math.ceil(2 * steps * math.log(max(gap, tol) * steps / tol))


def unreachable(tol: float, gap: float) -> ValueError:
    """The error for a tolerance that sweeps do not reach."""
    return ValueError(f"tol must be larger: the error stays near {gap:.1e} for any number of sweeps, got {tol:.1e}")


def solve(matrix: Tensor, right: Tensor, discount: float) -> Tensor:
    """matrix^-1 right; raises ValueError where episodes end so rarely that the matrix is singular in float64."""
    found, trouble = torch.linalg.solve_ex(matrix, right)
    if bool(trouble) or not bool(found.isfinite().all()):
        raise ValueError(f"discount must be < 1 where episodes hardly ever end, got {discount}")
    return found


def _solve(chain: Chain) -> Tensor:
    """(I - discount P)^-1 R over the states that are not terminal."""
    live = (~chain.terminal).nonzero()[:, 0]
    v = torch.zeros_like(chain.R)
    matrix = torch.eye(len(live), dtype=v.dtype) - chain.discount * chain.P[live][:, live]
    v[live] = solve(matrix, chain.R[live], chain.discount)
    return v


@torch.no_grad()  # the sweeps stop before their derivative would have settled
def _sweep(chain: Chain, tol: float, v: Tensor | None) -> Tensor:
    steps = 1 / (1 - chain.discount) if chain.discount < 1 else longest_time(chain.expect, chain.terminal)
    check_tolerance(tol, steps)
    v = torch.zeros_like(chain.R) if v is None else v
    done, most = 0, math.inf
    while done < most:
        old, v, done = v, chain.backup(v), done + 1
        low, high = bounds(v - old, chain.discount, steps)
        if (high - low) / 2 <= tol * max(1.0, v.abs().max().item()):
            return (v + (low + high) / 2).masked_fill(chain.terminal, 0.0)
        most = min(most, done + most_sweeps(high - low, tol, steps))
    raise unreachable(tol, (high - low) / 2)
