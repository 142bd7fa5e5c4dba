"""How many steps of lookahead beyond random exploration an MDP needs: its effective horizon."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from toykit._checks import at_least, positive
from toykit.control.evaluation import action_values
from toykit.control.horizon import backward_induction, steps_of
from toykit.control.mdp import TabularMDP
from toykit.control.policies import uniform_policy

TIE = 1e-9  # how far apart values may be that count as equal


@dataclass(frozen=True, eq=False)
class Lookahead:
    """What acting greedily on Q^1, ..., Q^K gives, where Q^k is k - 1 sweeps of value iteration from a first Q.

    returns    [K] J_k: the return of the worst greedy policy of Q^k, whatever way it breaks ties
    solvable   bool [K]: whether every greedy policy of Q^k is optimal wherever it can come to
    gaps       [K] Delta_k: the least distance of the best value of a state at a step from the next one; inf if all tie
    horizons   [K] k + log_A(1 / Delta_k^2) where solvable, else inf
    optimum    the best return there is
    """

    returns: Tensor
    solvable: Tensor
    gaps: Tensor
    horizons: Tensor
    optimum: float

    @property
    def least(self) -> int | None:
        """min_k: the first k that is solvable, None if there is none. A later one may fail again."""
        found = self.solvable.nonzero()
        return int(found[0, 0]) + 1 if len(found) else None

    @property
    def effective_horizon(self) -> float:
        """The least of the horizons: H-bar."""
        return self.horizons.min().item()

    def near(self, share: float = 0.01) -> int | None:
        """The first k whose return lacks at most `share` of the best one's size; None if there is none.

        Raises ValueError for a `share` that is not positive.
        """
        found = (self.returns >= self.optimum - positive("share", share) * abs(self.optimum)).nonzero()
        return int(found[0, 0]) + 1 if len(found) else None


def lookahead(mdp: TabularMDP, most: int | None = None, first: Tensor | None = None, tie: float = TIE) -> Lookahead:
    """The lookahead of an MDP with a horizon T, exact.

    most   K, the largest k (None: T, which is always solvable)
    first  Q^1 [T, S, A]; None: that of the uniform policy over the allowed actions
    tie    values this near to each other count as equal

    Raises ValueError for an MDP without a horizon, a `most` below 1 or a `tie` that is not positive.
    Source: the effective horizon (arXiv 2312.08369), section 3, for stochastic environments.
    """
    n_steps = steps_of(mdp)
    count = n_steps if most is None else int(at_least("most", most, 1))
    positive("tie", tie)
    best = backward_induction(mdp)
    q = action_values(mdp, uniform_policy(mdp)) if first is None else first
    n_actions = mdp.allowed[~mdp.terminal].sum(-1).max().item()
    rows = []
    for k in range(1, count + 1):
        top = q.amax(-1, keepdim=True)
        greedy = (q >= top - tie) & mdp.allowed
        others = q.masked_fill(greedy, -torch.inf).amax(-1)
        gap = (top[..., 0] - others)[:, ~mdp.terminal].min().item()
        solvable = _optimal_where_it_goes(mdp, greedy, best.q, tie)
        reach = k + math.log(1 / gap**2, n_actions) if solvable and gap < math.inf and n_actions > 1 else float(k)
        rows.append((_worst_return(mdp, greedy), solvable, gap, reach if solvable else math.inf))
        q = backed_up(mdp, q)
    returns, solved, gaps, horizons = zip(*rows, strict=True)
    numbers = (torch.tensor(column, dtype=torch.float64) for column in (returns, gaps, horizons))
    returns_, gaps_, horizons_ = numbers
    return Lookahead(returns_, torch.tensor(solved), gaps_, horizons_, (mdp.start @ best.v[0]).item())


def backed_up(mdp: TabularMDP, q: Tensor) -> Tensor:
    """One sweep of Q-value iteration by step: R + discount E[max Q of the step after], [T, S, A] from q [T, S, A]."""
    values = torch.cat([q.amax(-1)[1:], torch.zeros(1, mdp.n_states, dtype=q.dtype)])
    return mdp.q(values.masked_fill(mdp.terminal, 0.0))


def _worst_return(mdp: TabularMDP, greedy: Tensor) -> float:
    """The least return of the policies that take one of the `greedy` actions bool [T, S, A]."""
    v = torch.zeros(mdp.n_states, dtype=torch.float64)
    for step in reversed(greedy):
        v = mdp.q(v).masked_fill(~step, torch.inf).amin(-1).masked_fill(mdp.terminal, 0.0)
    return (mdp.start @ v).item()


def _optimal_where_it_goes(mdp: TabularMDP, greedy: Tensor, best: Tensor, tie: float) -> bool:
    """Whether every `greedy` action bool [T, S, A] is optimal in every state that greedy actions can come to."""
    mass = mdp.start
    for step, q in zip(greedy, best, strict=True):
        here = (mass > 0) & ~mdp.terminal
        taken = step & here[:, None]
        if bool((taken & (q < q.amax(-1, keepdim=True) - tie)).any()):
            return False
        mass = mdp.push(taken.double())
    return True
