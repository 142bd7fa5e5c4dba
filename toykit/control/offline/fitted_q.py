"""Fitted Q-iteration with linear features: value iteration seen through a least-squares fit."""

from __future__ import annotations

import torch
from torch import Tensor

from toykit._checks import at_least, shape
from toykit.control.backups import MAX, Aggregator
from toykit.control.mdp import TabularMDP


def by_action(features: Tensor, n_actions: int) -> Tensor:
    """Features [S, A, A F] that give every action its own weights, from features [S, F] of states."""
    return torch.einsum("sf,ab->sabf", features, torch.eye(n_actions, dtype=features.dtype)).flatten(2)


def projection(features: Tensor, weights: Tensor) -> Tensor:
    """The matrix [S A, S A] that maps a table to its weighted least-squares fit, of least norm.

    features [S, A, d]; weights [S, A], >= 0 and not all 0. Raises ValueError for other shapes and weights.
    """
    shape("weights", weights, tuple(features.shape[:2]))
    if not bool((weights >= 0).all()) or not bool((weights > 0).any()):
        raise ValueError("weights must be >= 0 and not all 0")
    phi, root = features.flatten(0, 1), weights.flatten().sqrt()[:, None]
    return phi @ torch.linalg.pinv(root * phi) * root.T


def fitted_q_iteration(
    mdp: TabularMDP,
    features: Tensor,
    weights: Tensor | None = None,
    sweeps: int = 100,
    aggregator: Aggregator = MAX,
    ends: str = "zero",
    keep: tuple[int, ...] = (),
) -> Tensor:
    """Q [S, A] after `sweeps` of q <- fit(R + discount E[v(s')]), from q = 0, with exact expectations.

    features  [S, A, d]; the fits are linear in them (see `by_action`)
    weights   [S, A] how much each pair counts in the fit, as the law of the data; None: all alike
    ends      what a terminal state is worth in the target: "zero", or "fitted", the value that the fit gives it, as
              where it is not known that the episode is over
    keep      sweeps after which q is kept: the result is then [len(keep), S, A], and `sweeps` is not read

    If the class is not closed under the backup q may diverge, even if it holds the fixed point (Bellman completeness).
    Raises ValueError for shapes that do not fit, an unknown `ends`, sweeps below 1 and an MDP with a horizon.
    Source: Ernst, Geurts and Wehenkel (2005); Munos and Szepesvari (2008).
    """
    if ends not in ("zero", "fitted"):
        raise ValueError(f"ends must be 'zero' or 'fitted', got {ends!r}")
    if mdp.horizon is not None:
        raise ValueError(f"horizon must be None for a fit without the step, got {mdp.horizon}")
    at_least("sweeps", min(keep, default=sweeps), 1)
    if features.dim() != 3 or tuple(features.shape[:2]) != tuple(mdp.R.shape):
        raise ValueError(f"features must have shape {[*mdp.R.shape]} and d more, got {list(features.shape)}")
    fit = projection(features.double(), torch.ones_like(mdp.R) if weights is None else weights.double())
    q, kept = torch.zeros_like(mdp.R), []
    for sweep in range(1, max(keep, default=sweeps) + 1):
        v = aggregator(q.masked_fill(~mdp.allowed, -torch.inf))
        target = mdp.R + mdp.discount * mdp.expect(v.masked_fill(mdp.terminal, 0.0) if ends == "zero" else v)
        q = (fit @ target.flatten()).view_as(q)
        if sweep in keep:
            kept.append(q)
    return torch.stack(kept) if keep else q
