"""Offline bandits, with contexts or without: play what was played most, what did best, or what surely did best.

A bandit is an MDP of one state, contexts are states: what was logged are `Counts`. Rules give probabilities of actions
[..., S, A]; equals share them evenly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from toykit._checks import inside
from toykit.control.counts import Counts, bonus

UNSEEN = 1.0  # the width of an arm without a pull: rewards are from 0 to 1


def most_played(counts: Counts) -> Tensor:
    """Behaviour cloning: the actions that were taken most often."""
    return best(counts.visits)


def empirical_best(counts: Counts) -> Tensor:
    """Greedy without pessimism: the best mean reward, 0 for an action that was never taken."""
    return best(counts.mean_rewards())


def lcb(counts: Counts, delta: float | None = None) -> Tensor:
    """The best lower confidence bound, at log_term = log(2 S A / delta); `delta` is 1 / N where None.

    Raises ValueError for a delta outside (0, 1). Source: Rashidinejad et al. (arXiv 2103.12021), algorithms 1 and 2;
    the constant inside the root is that of Hoeffding's bound for rewards from 0 to 1, the paper's is larger.
    """
    *_, n_states, n_actions = counts.visits.shape
    pairs = torch.tensor(2.0 * n_states * n_actions, dtype=torch.float64)
    if delta is None:
        total = counts.visits.sum((-1, -2), keepdim=True).clamp(min=1.0)
        return best(lower_bounds(counts.mean_rewards(), counts.visits, (pairs * total).log()))
    return best(lower_bounds(counts.mean_rewards(), counts.visits, (pairs / inside("delta", delta)).log()))


def lower_bounds(means: Tensor, visits: Tensor, log_term: Tensor | float) -> Tensor:
    """mean - sqrt(log_term / (2 n)) elementwise, the mean less 1 where n = 0.

    An action that was never taken has the bound -1, above that of one that was taken once for nothing where
    log_term > 2.
    """
    width = bonus(visits, torch.as_tensor(log_term, dtype=torch.float64) / 2)
    return means - torch.where(visits > 0, width, UNSEEN)


def best(scores: Tensor) -> Tensor:
    """Probabilities [..., A]: even over the actions of the largest score."""
    top = (scores == scores.amax(-1, keepdim=True)).to(scores)
    return top / top.sum(-1, keepdim=True)
