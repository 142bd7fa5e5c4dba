"""Finite Markov decision processes with known transition probabilities and rewards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from toykit._checks import at_least
from toykit.control import kernels
from toykit.control.checks import distribution, entry, probabilities, real, reward_table
from toykit.tasks.mdp import TreeMDP


@dataclass(frozen=True, eq=False, init=False)
class TabularMDP:
    """A Markov decision process over S states and A actions, in float64.

    P           [S, A, S] probability of each next state; with `successors`, [S, A, K] that of each of the listed ones
    R           [S, A] expected reward, or one for each transition (the shape of P), which is averaged with P
    discount    from 0 to 1 (the default)
    horizon     number of steps of an episode; None: it goes on until a terminal state, perhaps for ever
    start       [S] probability of each first state, or the index of the only one; None: uniform over the states
                that are not terminal
    successors  int64 [S, A, K] next states (the sparse layout); one may be listed twice, with probability 0 too
    terminal    bool [S], or indices of states, where the episode is over: value 0, and their rows of P and R are not
                read; None: the states that every action leaves where they are, with reward 0
    allowed     bool [S, A], False where an action must not be taken (its rows are not read); None: all are allowed

    The fields hold what was given as tensors: R is [S, A], start [S], terminal and allowed bool; a terminal state's
    rows lead back to it with reward 0. Rows of P that sum to 1 within 1e-6 are divided by their sum. Raises
    ValueError for other rows, negative or NaN entries (with state and action), wrong shapes, a start that is no
    distribution, a discount outside [0, 1], a horizon below 1, and a state without an allowed action.
    """

    P: Tensor
    R: Tensor
    discount: float
    horizon: int | None
    start: Tensor
    successors: Tensor | None
    terminal: Tensor
    allowed: Tensor

    def __init__(
        self,
        P: ArrayLike | Tensor,
        R: ArrayLike | Tensor,
        discount: float = 1.0,
        horizon: int | None = None,
        start: ArrayLike | Tensor | int | None = None,
        successors: ArrayLike | Tensor | None = None,
        terminal: ArrayLike | Tensor | None = None,
        allowed: ArrayLike | Tensor | None = None,
    ) -> None:
        if not 0 <= discount <= 1:
            raise ValueError(f"discount must be from 0 to 1, got {discount}")
        if horizon is not None and at_least("horizon", horizon, 1) != int(horizon):
            raise ValueError(f"horizon must be a whole number of steps, got {horizon}")
        P, listed = _transitions(P, successors)
        n_states, n_actions = P.shape[:2]
        may = _allowed(allowed, n_states, n_actions)
        ends = None if terminal is None else _flags(terminal, n_states)
        read = may if ends is None else may & ~ends[:, None]
        P = probabilities("P", P, read)
        R = reward_table(R, P, read)
        own = torch.arange(n_states)[:, None]
        listed = None if listed is None else _in_range(listed, read)
        if ends is None:
            stays = (P * (listed == own[..., None])).sum(-1) if listed is not None else P[own[:, 0], :, own[:, 0]]
            ends = (((stays >= 1 - 1e-12) & (R == 0)) | ~may).all(-1) & may.any(-1)
            read = may & ~ends[:, None]
        if not bool((some := may.any(-1) | ends).all()):
            state = int((~some).nonzero()[0, 0])
            raise ValueError(f"allowed must leave an action in every state, state {state} has none")
        self._set(discount=float(discount), horizon=horizon, terminal=ends, allowed=may | ends[:, None])
        self._set(R=R.masked_fill(~read, 0.0))
        if listed is None:
            home = torch.eye(n_states, dtype=P.dtype)[:, None]
        else:
            listed = torch.where(read[..., None], listed, own[..., None])
            home = torch.zeros_like(P)
            home[..., 0] = 1.0
        self._set(P=torch.where(read[..., None], P, home), successors=listed)
        self._set(start=_start(start, ends))

    def _set(self, **fields: Any) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @property
    def n_states(self) -> int:
        return self.R.shape[0]

    @property
    def n_actions(self) -> int:
        return self.R.shape[1]

    @property
    def sparse(self) -> bool:
        """Whether P is [S, A, K] over `successors`."""
        return self.successors is not None

    @cached_property
    def _rows(self) -> kernels.Rows | None:
        return None if self.successors is None else kernels.rows_of(self.successors)

    @property
    def listed(self) -> Tensor | None:
        """The successors [S, A, K], where that is enough in int32, which is read faster; None for a dense MDP."""
        return self.successors if self.successors is None or self._rows is None else self._rows[1].view(self.P.shape)

    def __repr__(self) -> str:
        layout = f"sparse, {self.P.shape[2]} successors" if self.sparse else "dense"
        limits = f"discount={self.discount}, horizon={self.horizon}"
        return f"TabularMDP(states={self.n_states}, actions={self.n_actions}, {limits}, {layout})"

    def with_(self, **changes: Any) -> Self:
        """The same MDP with some fields changed and checked again, as `with_(discount=0.9)` or `with_(R=R - bonus)`."""
        return replace(self, **changes)

    def expect(self, v: Tensor) -> Tensor:
        """E[v(s')] [..., S, A] for values `v` [..., S]."""
        return kernels.expect(self.P, self.successors, v, self._rows)

    def q(self, v: Tensor) -> Tensor:
        """R + discount E[v(s')] [..., S, A] for values `v` [..., S]; -inf where an action is not allowed."""
        return torch.add(self.R, self.expect(v), alpha=self.discount).masked_fill_(~self.allowed, -torch.inf)

    def push(self, mass: Tensor) -> Tensor:
        """Where `mass` [S, A] on states and actions goes in one step, [S]: the transpose of `expect`."""
        return kernels.push(self.P, self.successors, mass, self.n_states)

    def to_dense(self) -> Self:
        """The same MDP with P [S, A, S]."""
        if self.successors is None:
            return self
        return self.with_(P=kernels.to_dense(self.P, self.successors, self.n_states), successors=None)

    def to_sparse(self) -> Self:
        """The same MDP as successor lists [S, A, K]."""
        if self.successors is not None:
            return self
        P, successors = kernels.to_sparse(self.P)
        return self.with_(P=P, successors=successors)

    @classmethod
    def of_tree(cls, tree: TreeMDP, discount: float = 1.0) -> Self:
        """The MDP of a token task (see `toykit.tasks.tree_mdp`), with one terminal state more, the last, for its ends.

        Tokens that the tree forbids are not allowed. States keep their indices.
        """
        end = tree.n_states
        after = torch.where(tree.terminal, end, tree.next_state)
        after = torch.cat([after, torch.full((1, tree.n_actions), end)])[..., None]
        none = torch.zeros(1, dtype=torch.float64)
        return cls(
            P=torch.ones(after.shape, dtype=torch.float64),
            R=torch.cat([tree.reward, none.expand(1, tree.n_actions)]),
            discount=discount,
            start=torch.cat([tree.start, none]),
            successors=after,
            terminal=[end],
            allowed=torch.cat([tree.allowed, torch.ones(1, tree.n_actions, dtype=torch.bool)]),
        )


def _transitions(P: ArrayLike | Tensor, successors: ArrayLike | Tensor | None) -> tuple[Tensor, Tensor | None]:
    """P as float64 and the successors as int64 (or None), of shapes that fit."""
    P = real("P", P)
    if P.dim() != 3 or 0 in P.shape or (successors is None and P.shape[0] != P.shape[2]):
        wanted = "[S, A, S]" if successors is None else "[S, A, K]"
        raise ValueError(f"P must have shape {wanted}, got {list(P.shape)}")
    if successors is None:
        return P, None
    listed = torch.as_tensor(successors)
    if listed.shape != P.shape or listed.is_floating_point() or listed.dtype == torch.bool:
        raise ValueError(f"successors must be integers of P's shape {list(P.shape)}, got {list(listed.shape)}")
    return P, listed.long()


def _in_range(listed: Tensor, read: Tensor) -> Tensor:
    """Successors [S, A, K] with 0 in rows that are not read."""
    last = len(listed) - 1
    if bool((wrong := ((listed < 0) | (listed > last)) & read[..., None]).any()):
        at = wrong.nonzero()[0].tolist()
        raise ValueError(f"successors must be from 0 to {last}, got {int(listed[tuple(at)])} for {entry(at)}")
    return listed.masked_fill(~read[..., None], 0)


def _allowed(allowed: ArrayLike | Tensor | None, n_states: int, n_actions: int) -> Tensor:
    if allowed is None:
        return torch.ones(n_states, n_actions, dtype=torch.bool)
    flags = torch.as_tensor(allowed)
    if flags.dtype != torch.bool or flags.shape != (n_states, n_actions):
        given = f"{str(flags.dtype).removeprefix('torch.')} {list(flags.shape)}"
        raise ValueError(f"allowed must be bool of shape {[n_states, n_actions]}, got {given}")
    return flags


def _flags(terminal: ArrayLike | Tensor, n_states: int) -> Tensor:
    """bool [S] from flags or from the indices of states."""
    given = torch.as_tensor(terminal)
    if given.dtype == torch.bool:
        if given.shape != (n_states,):
            raise ValueError(f"terminal must have shape {[n_states]}, got {list(given.shape)}")
        return given
    flags = torch.zeros(n_states, dtype=torch.bool)
    if given.numel():
        if given.is_floating_point() or int(given.min()) < 0 or int(given.max()) >= n_states:
            raise ValueError(f"terminal must hold states from 0 to {n_states - 1}, got {given.tolist()}")
        flags[given] = True
    return flags


def _start(start: ArrayLike | Tensor | int | None, terminal: Tensor) -> Tensor:
    n_states = len(terminal)
    if start is None:
        where = ~terminal if bool((~terminal).any()) else torch.ones_like(terminal)
        return where.double() / where.sum()
    if isinstance(start, int | np.integer):
        if not 0 <= start < n_states:
            raise ValueError(f"start must be a state from 0 to {n_states - 1}, got {start}")
        return torch.eye(n_states, dtype=torch.float64)[start]
    return distribution("start", start, n_states)
