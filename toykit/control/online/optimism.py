"""Optimism in the face of uncertainty: the best policy of the best MDP that could have made what was seen."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from toykit._checks import at_least, inside, positive
from toykit.control.counts import Counts, bonus


def confidence(counts: Counts, clock: Tensor | float, delta: float, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """How far laws (in total variation norm, twice the distance) and mean rewards may be off, both [..., S, A].

    scale sqrt(14 S log(2 A t / delta) / max(1, n)) and scale sqrt(7 log(2 S A t / delta) / (2 max(1, n))) after t steps
    (`clock`, a number or [...]). `scale` 1 is the theorem's; it is useless before some ten thousand steps. Raises
    ValueError for a clock below 1, a delta outside (0, 1) and a negative scale. Source: Jaksch, Ortner and Auer (2010),
    eqs. 3 and 4.
    """
    inside("delta", delta)
    t = torch.as_tensor(clock, dtype=torch.float64)[..., None, None]
    at_least("clock", float(t.min()), 1)
    n_states, n_actions = counts.visits.shape[-2:]
    laws = bonus(counts.visits, 14 * n_states * (2 * n_actions * t / delta).log(), scale)
    rewards = bonus(counts.visits, 3.5 * (2 * n_states * n_actions * t / delta).log(), scale)
    return laws, rewards


def extended_value_iteration(
    law: Tensor, rewards: Tensor, width: Tensor, tol: Tensor | float
) -> tuple[Tensor, Tensor, Tensor]:
    """The actions int64 [..., S] and gain [...] of the best policy of the best MDP, and the law [..., S, A, S] of that.

    law      [..., S, A, S] around which an MDP's may lie, within `width` [..., S, A] in the sum of absolute differences
    rewards  [..., S, A], optimistic already
    tol      a number or [...]: how far apart the largest and the smallest change of a sweep may be at the end

    The best law puts width / 2 more on the state of the highest value, at most all, and takes it from the lowest. Of
    equal actions the first is taken. Raises ValueError for a tol that is not positive. Source: Jaksch, Ortner and Auer
    (2010), section 3.1.
    """
    lead, n_states = law.shape[:-3], law.shape[-1]
    p = law.reshape(-1, *law.shape[-3:]).numpy()
    r, half = (x.reshape(-1, *x.shape[-2:]).numpy() for x in (rewards, width / 2))
    limit = np.broadcast_to(np.asarray(tol, dtype=np.float64), lead).ravel()
    positive("tol", float(limit.min()))
    u = np.zeros((len(p), n_states))
    q, change = np.empty_like(r), np.zeros_like(u)
    going = np.arange(len(p))
    while len(going):
        order, upto = _best_shares(p[going], half[going], u[going])
        sorted_u = np.take_along_axis(u[going], order, 1)
        # sum_k u_k (upto_k - upto_k-1), with the highest value first
        q[going] = r[going] + np.einsum("bsak,bk->bsa", upto[..., :-1], sorted_u[:, :-1] - sorted_u[:, 1:])
        q[going] += sorted_u[:, None, -1:]
        new = q[going].max(-1)
        change[going] = new - u[going]
        u[going] = new
        going = going[np.ptp(change[going], axis=1) >= limit[going]]
    order, upto = _best_shares(p, half, u)
    best = np.empty_like(p)
    shares = np.diff(upto, axis=-1, prepend=0.0)
    np.put_along_axis(best, np.broadcast_to(order[:, None, None], p.shape), shares, -1)
    gain = (change.max(-1) + change.min(-1)) / 2
    found = q.argmax(-1), gain, best
    shapes = (*lead, n_states), lead, law.shape
    return tuple(torch.from_numpy(x.reshape(s)) for x, s in zip(found, shapes, strict=True))  # type: ignore[return-value]


def _best_shares(p: np.ndarray, half: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The states by falling value [b, S], and how much the best law puts on the first 1, 2, ..., S of them."""
    order = np.argsort(-u, axis=1, kind="stable")
    upto = np.take_along_axis(p, order[:, None, None], -1).cumsum(-1)
    upto += half[..., None]
    np.minimum(upto, 1.0, out=upto)
    return order, upto
