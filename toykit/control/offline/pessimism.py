"""Offline RL of tabular MDPs: how well data cover the best policy, and value iteration with a penalty for rare data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from toykit._checks import at_least, inside, shape
from toykit.control.batched import q_values, sweep
from toykit.control.counts import Counts, bonus


@dataclass(frozen=True, eq=False)
class Pessimistic:
    """What VI-LCB found: actions int64 [..., S] and v [..., S], with high probability a lower bound of their value."""

    actions: Tensor
    v: Tensor


def concentrability(target: Tensor, behaviour: Tensor) -> float:
    """C*, the least C with target <= C behaviour, of occupancy measures [S, A] that sum to 1; inf without coverage.

    At least 1, and 1 only where both are one measure. A contextual bandit's target is rho(s) on the best action.
    Raises ValueError for measures that do not sum to 1. Source: arXiv 2103.12021, definition 1.
    """
    shape("behaviour", behaviour, tuple(target.shape))
    for name, measure in (("target", target), ("behaviour", behaviour)):
        if bool((measure < 0).any()) or abs(float(measure.sum()) - 1) > 1e-6:
            raise ValueError(f"{name} must be >= 0 and sum to 1, its sum is {float(measure.sum()):g}")
    ratio = torch.where(target > 0, target / behaviour, 0.0)
    return float(ratio.max())


def rounds(n: int, discount: float) -> int:
    """VI-LCB's number of rounds for n transitions: ceil(log n / (1 - discount)), at least 1."""
    at_least("n", n, 1)
    return max(1, math.ceil(math.log(n) / (1 - inside("discount", discount))))


def most_frequent(counts: Counts) -> Tensor:
    """Behaviour cloning: the most frequent action int64 [..., S], the lowest of equals."""
    return counts.visits.argmax(-1)


def naive_value_iteration(counts: Counts, discount: float, sweeps: int = 100) -> Tensor:
    """Naive value iteration: the best actions int64 [..., S] of the empirical model; 0 follows what was not seen."""
    return sweep(counts.law("zero"), counts.mean_rewards(), discount, sweeps).argmax(-1)


def vi_lcb(folds: Sequence[Counts], discount: float, log_term: float, scale: float = 1.0) -> Pessimistic:
    """Value iteration on lower confidence bounds: Q = r - b + discount P V with b = scale sqrt(log_term / n) / (1 - g).

    folds     counts for the start (the most frequent actions, V = 0) and for every round after it; the proof wants
              T + 1 disjoint folds of the data , practice T + 1 times all of the data
    log_term  log(2 (T + 1) S A / delta), with delta = 1 / N
    scale     the paper's is sqrt(2000), as recalled: with it VI-LCB is behaviour cloning on any small data set

    A state's value and action change only where the value does not fall. Raises ValueError for fewer than two folds
    and as `bonus` does. Source: arXiv 2103.12021, algorithm 3.
    """
    at_least("number of folds", len(folds), 2)
    actions = most_frequent(folds[0])
    v = torch.zeros(actions.shape, dtype=torch.float64)
    for counts in folds[1:]:
        penalty = bonus(counts.visits, log_term, scale / (1 - inside("discount", discount)))
        q = q_values(counts.law("zero"), counts.mean_rewards() - penalty, discount, v)
        higher = q.amax(-1)
        better = higher >= v
        v, actions = torch.where(better, higher, v), torch.where(better, q.argmax(-1), actions)
    return Pessimistic(actions, v)


def log_term(n: int, discount: float, n_states: int, n_actions: int) -> float:
    """log(2 (T + 1) S A n), VI-LCB's with delta = 1 / n."""
    return math.log(2 * (rounds(n, discount) + 1) * n_states * n_actions * n)
