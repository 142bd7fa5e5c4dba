"""Which correct completions a policy can still find: empirical support, and what training kept, won and lost."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from toykit._checks import at_least


def detectable(k: int, miss: float = 0.05) -> float:
    """The probability that `k` samples show at least once with confidence 1 - `miss`: -ln(miss) / k.

    Raises ValueError unless k >= 1 and 0 < miss < 1. Source: The Invisible Leash (arXiv 2507.14843), section 3.
    """
    at_least("k", k, 1)
    if not 0 < miss < 1:
        raise ValueError(f"miss must be between 0 and 1, got {miss}")
    return -math.log(miss) / k


def in_support(log_p: Tensor, eps: float = 0.0, correct: Tensor | None = None) -> Tensor:
    """Completions of probability above `eps`, bool [..., L], among the `correct` ones where these are given."""
    found = log_p > (math.log(eps) if eps > 0 else -math.inf)
    return found if correct is None else found & correct


@dataclass(frozen=True)
class SupportTable:
    """Counts [...] of correct items by whether the reference and the trained policy find them.

    preserved: both; lost: only the reference; gained: only the trained policy; out: neither.
    """

    preserved: Tensor
    lost: Tensor
    gained: Tensor
    out: Tensor

    @property
    def retention(self) -> Tensor:
        """SRR: the share of the reference's items that are kept; NaN where it has none."""
        return self.preserved / (self.preserved + self.lost)

    @property
    def discovery(self) -> Tensor:
        """NDR: the share of the trained policy's items that are new; NaN where it has none."""
        return self.gained / (self.preserved + self.gained)

    @property
    def dynamics(self) -> Tensor:
        """SDS: the harmonic mean of retention and discovery, 0 where both are."""
        retention, discovery = self.retention, self.discovery
        total = retention + discovery
        return torch.where(total == 0, 0.0, 2 * retention * discovery / torch.where(total == 0, 1.0, total))

    @property
    def net_change(self) -> Tensor:
        """NSCR: (gained - lost) over all items that either finds; NaN where neither finds any."""
        return (self.gained - self.lost) / (self.preserved + self.gained + self.lost)


def support_table(before: Tensor, after: Tensor, among: Tensor | None = None) -> SupportTable:
    """Counts over the last axis of what the reference (`before`) and the trained policy (`after`) find.

    Both are bool [..., M]: completions in the empirical support, or problems solved within k samples, with the
    same k for both. `among` bool [..., M] keeps only some items (the correct ones). Returns float64 counts [...].
    Source: The Invisible Leash (arXiv 2507.14843), section 3.
    """
    among = torch.ones_like(before) if among is None else among
    cells = (before & after, before & ~after, ~before & after, ~before & ~after)
    return SupportTable(*((cell & among).sum(-1).double() for cell in cells))


def distinct_n(tokens: Tensor, mask: Tensor, n: int) -> Tensor:
    """Distinct n-grams over all n-grams of a set of completions, float64 [...], NaN where there is none.

    `tokens` int64 and `mask` bool are [..., S, T], a set of S completions each. Source: Li et al. 2016
    (arXiv 1510.03055), distinct-1 and distinct-2.
    """
    at_least("n", n, 1)
    *lead, s, t = tokens.shape
    if n > t:
        return torch.full(lead, math.nan, dtype=torch.float64, device=tokens.device)
    sets = math.prod(lead)
    grams = tokens.reshape(sets, s, t).unfold(-1, n, 1)
    whole = mask.reshape(sets, s, t).unfold(-1, n, 1).all(-1)
    owner = torch.arange(sets, device=tokens.device)[:, None, None].expand(whole.shape)[whole]
    distinct = torch.cat([owner[:, None], grams[whole]], 1).unique(dim=0)[:, 0]
    counts = (torch.bincount(x, minlength=sets).double() for x in (distinct, owner))
    return (next(counts) / next(counts)).view(lead)
