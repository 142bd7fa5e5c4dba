"""Policies of tabular MDPs: tables of action probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    """The Markov reward process that a policy makes of an MDP: P [S, S] (or [S, K] over `successors`), R [S]."""

    P: Tensor
    R: Tensor
    discount: float
    terminal: Tensor
    successors: Tensor | None

    def expect(self, v: Tensor) -> Tensor:
        """E[v(s')] [S] for values `v` [S]."""
        return kernels.expect(self.P, self.successors, v)

    def push(self, mass: Tensor) -> Tensor:
        """Where `mass` [S] goes in one step, [S]."""
        return kernels.push(self.P, self.successors, mass, len(self.R))

    def backup(self, v: Tensor) -> Tensor:
        """R + discount E[v(s')] [S], 0 in terminal states."""
        return (self.R + self.discount * self.expect(v)).masked_fill(self.terminal, 0.0)

    def matrix(self) -> Tensor:
        """P as a dense [S, S]."""
        return self.P if self.successors is None else kernels.to_dense(self.P, self.successors, len(self.R))


def under(mdp: TabularMDP, policy: Tensor) -> Chain:
    """The chain of an MDP under `policy` [S, A] (probabilities, as `as_policy` returns them)."""
    width = int((policy > 0).sum(-1).max())  # actions that are taken: those of probability 0 cost nothing
    taken = policy.topk(width, dim=-1)
    own = torch.arange(mdp.n_states)[:, None]
    R = (taken.values * mdp.R[own, taken.indices]).sum(-1)
    if mdp.successors is None:
        if width == 1:
            P = mdp.P[own[:, 0], taken.indices[:, 0]]
        else:
            P = torch.einsum("sa,sat->st", policy, mdp.P)
        return Chain(P, R, mdp.discount, mdp.terminal, None)
    rows = own * mdp.n_actions + taken.indices  # [S, width] places in [S A]
    parts = [(_rows(mdp.P, rows[:, i]) * taken.values[:, i], _rows(mdp.successors, rows[:, i])) for i in range(width)]
    P, successors = (torch.cat(tables).movedim(0, -1) for tables in zip(*parts, strict=True))
    return Chain(P, R, mdp.discount, mdp.terminal, successors)


def _rows(table: Tensor, rows: Tensor) -> Tensor:
    """[K, S]: the `rows` [S] of a table [S, A, K]."""
    return table.movedim(-1, 0).flatten(1).index_select(1, rows)
