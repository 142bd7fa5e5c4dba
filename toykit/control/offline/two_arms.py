"""Two arms whose pulls are random too: how often a rule takes the worse one, exactly, by enumeration of binomials."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from toykit._checks import at_least
from toykit.control.offline.lcb import lower_bounds

Score = Callable[[Tensor, Tensor], Tensor]  # elementwise, of an arm's mean reward and its number of pulls

MOST = 500  # pulls: the work grows with their third power where both arms are pulled at random
NEGLIGIBLE = 1e-14  # the probability of numbers of pulls that are left out


def by_mean(means: Tensor, visits: Tensor) -> Tensor:
    """The score of the empirically best arm."""
    return means


def by_visits(means: Tensor, visits: Tensor) -> Tensor:
    """The score of the arm that was played most."""
    return visits


def by_lower_bound(log_term: float) -> Score:
    """The score of LCB."""
    return lambda means, visits: lower_bounds(means, visits, log_term)


def binomial(n: int, p: Tensor) -> Tensor:
    """P(k successes in m draws) [..., n + 1, n + 1] for all m (the first axis) and k from 0 to n, of p [...]."""
    m = torch.arange(n + 1, dtype=torch.float64)
    k, m = m[None, :], m[:, None]
    rest = (m - k).clamp(min=0)
    ways = torch.lgamma(m + 1) - torch.lgamma(k + 1) - torch.lgamma(rest + 1)
    p = p[..., None, None]
    logs = ways + torch.xlogy(k, p) + torch.xlogy(rest, 1 - p)
    return torch.where(k <= m, logs.exp(), 0.0)


def pulls(n: int, first: float, second: float | None = None) -> Tensor:
    """The law [n + 1, n + 1] of the two arms' numbers of pulls among n samples, by the shares that fall on each.

    What is left over falls on neither; where `second` is None it is 1 - first. Raises ValueError for n outside
    1..MOST and shares that are no distribution.
    """
    if not 1 <= n <= MOST:
        raise ValueError(f"n must be from 1 to {MOST}, the work grows with its third power; got {n}")
    second = 1 - first if second is None else second
    if min(first, second) < 0 or first + second > 1 + 1e-12:
        raise ValueError(f"first and second must be shares that sum to at most 1, got {first} and {second}")
    both = binomial(n, torch.tensor(min(first + second, 1.0), dtype=torch.float64))[n]
    among = binomial(n, torch.tensor(first / (first + second) if first else 0.0, dtype=torch.float64))
    law = torch.zeros(n + 1, n + 1, dtype=torch.float64)
    total, one = torch.tril_indices(n + 1, n + 1)
    law[one, total - one] = both[total] * among[total, one]
    return law


def worse_arm(law: Tensor, p: Tensor, score: Score) -> Tensor:
    """The probability [...] that the second arm is chosen, where pulls have a `law` [n + 1, n + 1] and pay 1 with the
    probabilities p [..., 2], else 0; of equal scores each arm is chosen half of the time.

    A score must not fall where the mean rises. The expected sub-optimality is the gap times the result. Raises
    ValueError for a law of more than MOST pulls.
    """
    n = int(at_least("n", len(law) - 1, 1))
    if n > MOST:
        raise ValueError(f"law must be of at most {MOST} pulls, got {n}")
    visits = torch.arange(n + 1, dtype=torch.float64)[:, None].expand(-1, n + 1)
    means = (visits.mT / visits.clamp(min=1.0)).contiguous()
    scores = score(means, visits.contiguous())
    first = binomial(n, p[..., 0])
    upto = binomial(n, p[..., 1]).cumsum(-1)
    upto = torch.nn.functional.pad(upto, (1, 0))
    wrong = torch.zeros(p.shape[:-1], dtype=torch.float64)
    for m in range(n + 1):  # pulls of the second arm, whose scores are sorted by its successes
        ones = (law[:, m] > NEGLIGIBLE).nonzero()[:, 0]
        if len(ones):
            row = scores[m, : m + 1].contiguous()
            below, upto_same = (torch.searchsorted(row, scores[ones], right=right) for right in (False, True))
            above = 1 - (upto[..., m, below] + upto[..., m, upto_same]) / 2
            wrong = wrong + ((first[..., ones, :] * above).sum(-1) * law[ones, m]).sum(-1)
    return wrong
