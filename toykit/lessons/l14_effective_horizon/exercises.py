"""The exercises of lesson 14, with the mistakes that they know."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from toykit.control import lookahead
from toykit.control.worlds import decoy_corridor
from toykit.exercises import Case, Exercise, Mistake, register


def sweep(q: Tensor, law: Tensor, rewards: Tensor) -> Tensor:
    """Q^(k+1) [T, S, A] from Q^k, of an MDP with law [S, A, S] and rewards [S, A]."""
    values = torch.cat([q.amax(-1)[1:], torch.zeros_like(q[:1, :, 0])])
    return rewards + torch.einsum("sat,ht->hsa", law, values)


def _of(values: Callable[[Tensor], Tensor], later: bool = True, rewarded: bool = True) -> Callable[..., Tensor]:
    """A sweep with other values of the next state, or of the same step's, or without the rewards."""

    def made(q: Tensor, law: Tensor, rewards: Tensor) -> Tensor:
        v = values(q)
        v = torch.cat([v[1:], torch.zeros_like(v[:1])]) if later else v
        return rewards * rewarded + torch.einsum("sat,ht->hsa", law, v)

    return made


def _table(seed: int, horizon: int) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    law = torch.rand(3, 2, 3, generator=draw, dtype=torch.float64)
    rewards = torch.rand(3, 2, generator=draw, dtype=torch.float64)
    q = torch.rand(horizon, 3, 2, generator=draw, dtype=torch.float64)
    return q, law / law.sum(-1, keepdim=True), rewards


def least_k(solvable: Callable[[int], bool], horizon: int) -> int:
    """The first k from 1 to T that is solvable."""
    return next(k for k in range(1, horizon + 1) if solvable(k))


def _by_halving(solvable: Callable[[int], bool], horizon: int) -> int:
    low, high = 1, horizon
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if solvable(middle) else (middle + 1, high)
    return low


def _after_the_last_failure(solvable: Callable[[int], bool], horizon: int) -> int:
    return 1 + max((k for k in range(1, horizon + 1) if not solvable(k)), default=0)


class _Solvable:
    """Whether some MDP is solvable at k, from a list."""

    def __init__(self, *known: bool) -> None:
        self.known = known

    def __call__(self, k: int) -> bool:
        return self.known[k - 1]


PREDICT = register(
    Exercise(
        name="14.predict",
        reference="falls, rises",
        mistakes=(
            Mistake(
                "At k = 1 the true values prefer the decoy: better estimates of them make the mistake surer.",
                "rises, rises",
            ),
            Mistake(
                "At k = 3 the true values prefer moving on: better estimates of them find it.",
                "falls, falls",
            ),
            Mistake("It is the other way round: k = 1 looks too near, and k = 3 far enough.", "rises, falls"),
        ),
        reason="Data make the estimate of Q^k good, and k decides whether Q^k is worth estimating.",
    )
)

CORRIDOR = register(
    Exercise(
        name="14.ex1",
        reference=(
            lookahead(decoy_corridor(7, 0.01, 4)).least,
            lookahead(decoy_corridor(7, 0.02, 4)).least,
        ),
        mistakes=(
            Mistake("4^-(7 - k) at k = 3 is 1/256 = 0.0039, below 0.01.", (3, 4)),
            Mistake("4^-(7 - k) at k = 4 is 1/64 = 0.0156: above 0.01, and below 0.02.", (4, 4)),
            Mistake("Those are the steps that are left to chance: min_k is 7 less them.", (3, 2)),
            Mistake("k counts from 1: Q^1 is the value of the random policy, with no sweep.", (5, 6)),
        ),
        reason="4^-3 = 0.0156 is above 0.01, so 7 - k = 3; above 0.02 only 4^-2 is, so 7 - k = 2.",
    )
)

SWEEP = register(
    Exercise(
        name="14.ex2",
        reference=sweep,
        cases=(Case(_table(0, 3), "three steps"), Case(_table(1, 1), "one step")),
        mistakes=(
            Mistake(
                "That is the value of going on at random; a sweep takes the best next action.",
                _of(lambda q: q.mean(-1)),
            ),
            Mistake(
                "The values of the next state are those of the step after, q[t + 1]; after the last there is nothing.",
                _of(lambda q: q.amax(-1), later=False),
            ),
            Mistake(
                "roll brings the first step's values round to the last one, which nothing follows.",
                _of(lambda q: q.amax(-1).roll(-1, 0), later=False),
            ),
            Mistake("The reward of the step itself is missing.", _of(lambda q: q.amax(-1), rewarded=False)),
        ),
        reason="In toykit it is `backed_up`. T - 1 sweeps from any Q lead to Q*.",
    )
)

LEAST = register(
    Exercise(
        name="14.ex3",
        reference=least_k,
        cases=(
            Case((_Solvable(False, False, True, True), 4), "a corridor"),
            Case((_Solvable(False, True, False, True), 4), "the tree of seed 195"),
            Case((_Solvable(True, False, True, True), 4), "the tree of seed 42"),
        ),
        mistakes=(
            Mistake("A k may fail after a smaller one has worked: halving can pass over the first.", _by_halving),
            Mistake(
                "The first k that works counts, also where a later one fails again.",
                _after_the_last_failure,
            ),
            Mistake("k counts from 1: that is one too few.", lambda s, n: least_k(s, n) - 1),
            Mistake("k = T always works, but a smaller one may.", lambda s, n: n),
        ),
        reason="Try 1, 2, 3, ... in turn; T is always solvable.",
    )
)
