"""LinearQ: optimal values of one hinge, rewards of many, and what fitted Q-iteration makes of a class of hinges."""

from __future__ import annotations

import torch
from torch import Tensor

from toykit.control import backward_induction, expected_return, occupancy, uniform_policy
from toykit.control.offline import ReturnConditioned, by_action, fitted_q_iteration
from toykit.control.offline.fitted_q import projection
from toykit.control.simulation import enumerate_episodes
from toykit.control.worlds import linear_q
from toykit.lessons.base import Results

SIZES = (2, 4, 8, 16, 32)
TIMES = (1, 10, 100)  # sweeps of fitted Q-iteration, in horizons
SLIPS = (0.1, 0.05, 0.0005)  # how often the policy whose occupancy weights the fit takes the other action


def run() -> Results:
    """Everything about LinearQ: its tables by size, and fitted Q-iteration by class, weights and end."""
    return {"sizes": list(SIZES), "tables": {str(u): table(u) for u in SIZES}, "fqi": fits()}


def hinges(u: int) -> Tensor:
    """Q* [S, 2] in closed form: 2 max(0, 2u + 1 - s) and max(0, 3u + 1.5 - s)."""
    s = torch.arange(3 * u + 3, dtype=torch.float64)
    return torch.stack([2 * (2 * u + 1 - s).relu(), (3 * u + 1.5 - s).relu()], -1)


def kinks(values: Tensor) -> list[int]:
    """The places i where values [n] at i, i + 1 and i + 2 do not lie on a line."""
    return (values.diff().diff() != 0).nonzero()[:, 0].tolist()


def breakpoints(values: Tensor) -> int:
    """The least number of breakpoints of a continuous, piecewise linear function through values [n] at 0, 1, ...

    It counts triples of neighbours that lie on no line and share at most an end: each needs a breakpoint of its own.
    """
    found = free = 0
    for i in kinks(values):
        if i >= free:
            found, free = found + 1, i + 2
    return found


def table(u: int) -> Results:
    """C1 to C3 at one size: kinks of Q* and of T0 = r, the width that r needs, and the policy of returns."""
    mdp = linear_q(u)
    solved = backward_induction(mdp)
    best, live = solved.q[0], mdp.n_states - 1
    data, chances = enumerate_episodes(mdp, uniform_policy(mdp))
    policy = ReturnConditioned.fit(data, 2, chances)
    laws = torch.stack([policy.law(s, solved.v[0, s].item()) for s in range(live)])
    return {
        "error": (best - hinges(u)).abs().max().item(),
        "start": solved.v[0, 0].item(),
        "kinks of Q*": [len(kinks(column)) for column in best.T],
        "kinks of T0": [len(kinks(column)) for column in mdp.R.T],
        "breakpoints of T0": [breakpoints(column) for column in mdp.R.T],
        "actions": laws.argmax(-1).tolist(),
        "certain": laws.max(-1).values.min().item(),
        "target": policy.target,
        "return": policy.expected_return(mdp),
    }


def features(u: int, line: bool = False) -> Tensor:
    """[S, 2, d] that span {1, the two hinges of Q*} for each action by itself, with `line` the state itself too."""
    s = torch.arange(3 * u + 3, dtype=torch.float64)
    columns = [torch.ones_like(s), (2 * u + 1 - s).relu(), (3 * u + 1.5 - s).relu()] + [s] * line
    return by_action(torch.stack(columns, -1), 2)


def nearly_best(u: int, slip: float) -> Tensor:
    """The expected visits [S, 2] over an episode of the policy that takes the other action with probability `slip`."""
    mdp = linear_q(u)
    best = (torch.arange(mdp.n_states) > u).long()
    other = torch.full(mdp.R.shape, slip, dtype=torch.float64)
    return occupancy(mdp, other.scatter(1, best[:, None], 1 - slip)).sum(0)


def fitted(u: int, phi: Tensor, ends: str = "fitted", weights: Tensor | None = None) -> Results:
    """The largest error of Q, and what its greedy policy earns, after as many sweeps as 1, 10 and 100 horizons."""
    mdp = linear_q(u)
    goes_on = mdp.with_(horizon=None)
    sweeps = tuple(mdp.n_states * times for times in TIMES)
    found = fitted_q_iteration(goes_on, phi, weights, ends=ends, keep=sweeps)
    return {
        "sweeps": list(sweeps),
        "error": (found - hinges(u)).abs().amax((-1, -2)).tolist(),
        "return": [expected_return(mdp, q.argmax(-1)) for q in found],
    }


def by_slip(ends: str) -> Results:
    """The hinges at u = 4, weighted by the visits of nearly best policies."""
    return {f"{slip:g}": fitted(4, features(4), ends, nearly_best(4, slip)) for slip in SLIPS}


def residual(u: int) -> list[float]:
    """The largest error, by action, of the least-squares fit of T0 = r by the hinges and the state."""
    mdp = linear_q(u)
    fit = projection(features(u, line=True), torch.ones_like(mdp.R))
    return ((fit @ mdp.R.flatten()).view_as(mdp.R) - mdp.R).abs().amax(0).tolist()


def fits() -> Results:
    """Card 06, B. The weights of a fit are uniform unless they are said."""
    return {
        "hinges": {str(u): fitted(u, features(u)) for u in (4, 8)},
        "hinges, known end": {str(u): fitted(u, features(u), ends="zero") for u in (4, 8)},
        "hinges and line": {str(u): fitted(u, features(u, line=True)) for u in (4, 16)},
        "nearly best": by_slip("fitted"),
        "nearly best, known end": by_slip("zero"),
        "table": fitted(4, by_action(torch.eye(15, dtype=torch.float64), 2)),
        "residual": {str(u): residual(u) for u in (4, 8, 16)},
    }
