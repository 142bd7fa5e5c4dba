"""Policies of tabular MDPs: tables of action probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from toykit.control import kernels
from toykit.control.checks import NEAR_ONE
from toykit.control.mdp import TabularMDP


def uniform_policy(mdp: TabularMDP) -> Tensor:
    """[S, A]: the same probability for every allowed action."""
    return mdp.allowed.double() / mdp.allowed.sum(-1, keepdim=True)


def as_policy(mdp: TabularMDP, policy: ArrayLike | Tensor) -> Tensor:
    """Action probabilities float64 [S, A] (with a step axis [H, S, A] where one was given).

    policy  integers are actions, [S] or [H, S]; floating-point numbers are probabilities, [S, A] or [H, S, A]

    A step axis needs an MDP with that horizon. Raises ValueError for another shape, actions out of range or not
    allowed, and rows that are no distribution, with the state.
    """
    given = policy if isinstance(policy, Tensor) else torch.from_numpy(np.asarray(policy))  # lists as float64
    s, a, h = mdp.n_states, mdp.n_actions, mdp.horizon
    lists = not given.is_floating_point()
    tail = (s,) if lists else (s, a)
    if tuple(given.shape) not in {tail, (h, *tail)}:
        wanted = f"{list(tail)}" + (f" or {[h, *tail]}" if h is not None else "")
        raise ValueError(f"policy must have shape {wanted}, got {list(given.shape)}")
    if lists:
        if given.dtype == torch.bool or bool((given < 0).any()) or bool((given >= a).any()):
            raise ValueError(f"policy must hold actions from 0 to {a - 1} or probabilities, got {given.tolist()}")
        p = F.one_hot(given.long(), a).double()
    else:
        p = given.double()
        wrong = ~(p >= 0).all(-1) | ~((p.sum(-1) - 1).abs() <= NEAR_ONE)
        if bool(wrong.any()):
            at = tuple(wrong.nonzero()[0].tolist())
            raise ValueError(f"policy must be a distribution over actions, got {p[at].tolist()} in {_place(at)}")
    wrong = (p > 0) & ~mdp.allowed
    if bool(wrong.any()):
        *where, action = wrong.nonzero()[0].tolist()
        raise ValueError(f"policy must take allowed actions only, takes {action} in {_place(where)}")
    return p / p.sum(-1, keepdim=True)


def _place(at: Sequence[int]) -> str:
    return f"state {at[-1]}" + (f" at step {at[0]}" if len(at) > 1 else "")


@dataclass(frozen=True, eq=False)
class Chain:
    """The Markov reward process that a policy makes of an MDP: P [S, S], or [S, K] over `successors`, and R [S]."""

    P: Tensor
    R: Tensor
    discount: float
    terminal: Tensor
    successors: Tensor | None

    @cached_property
    def _rows(self) -> kernels.Rows | None:
        return None if self.successors is None else kernels.rows_of(self.successors)

    def expect(self, v: Tensor) -> Tensor:
        """E[v(s')] [S] for values `v` [S]."""
        return kernels.expect(self.P, self.successors, v, self._rows)

    def push(self, mass: Tensor) -> Tensor:
        """Where `mass` [S] goes in one step, [S]."""
        return kernels.push(self.P, self.successors, mass, len(self.R))

    def backup(self, v: Tensor) -> Tensor:
        """R + discount E[v(s')] [S], 0 in terminal states."""
        return torch.add(self.R, self.expect(v), alpha=self.discount).masked_fill_(self.terminal, 0.0)

    def matrix(self) -> Tensor:
        """P as a dense [S, S]."""
        return self.P if self.successors is None else kernels.to_dense(self.P, self.successors.long(), len(self.R))


def under(mdp: TabularMDP, policy: Tensor) -> Chain:
    """The chain of an MDP under `policy` [S, A] (probabilities, as `as_policy` returns them)."""
    taken = policy.detach() > 0  # actions of probability 0 cost nothing
    if int(taken.count_nonzero()) == mdp.n_states:
        return under_actions(mdp, taken.double().argmax(-1))
    if mdp.successors is None:
        P = torch.einsum("sa,sat->st", policy, mdp.P)
        return Chain(P, (policy * mdp.R).sum(-1), mdp.discount, mdp.terminal, None)
    width = int(taken.sum(-1).max())
    most = policy.topk(width, dim=-1)
    own = torch.arange(mdp.n_states)[:, None]
    P = (mdp.P[own, most.indices] * most.values[..., None]).flatten(1)
    return Chain(P, (policy * mdp.R).sum(-1), mdp.discount, mdp.terminal, mdp.successors[own, most.indices].flatten(1))


def under_actions(mdp: TabularMDP, actions: Tensor) -> Chain:
    """The chain of an MDP under a policy that takes one action in each state, int64 [S]."""
    rows = torch.arange(mdp.n_states) * mdp.n_actions + actions
    R, P = mdp.R.flatten()[rows], mdp.P.flatten(0, 1).index_select(0, rows)
    listed = None if mdp.listed is None else mdp.listed.flatten(0, 1).index_select(0, rows)
    return Chain(P, R, mdp.discount, mdp.terminal, listed)
