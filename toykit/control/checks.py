"""Checks of tables over states and actions, whose errors name the state and the action."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from toykit._checks import shape

NEAR_ONE = 1e-6  # how far from 1 a sum of probabilities may be


def entry(at: Sequence[int]) -> str:
    """The words for the place `at` of a table [S], [S, A] or [S, A, ...]."""
    return ", ".join(f"{name} {i}" for name, i in zip(("state", "action"), at, strict=False))


def probability(name: str, value: float) -> float:
    """Returns `value`; raises ValueError unless it is from 0 to 1."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be from 0 to 1, got {value}")
    return value


def real(name: str, values: ArrayLike | Tensor) -> Tensor:
    """`values` as float64; raises ValueError where they are not numbers."""
    try:
        return torch.as_tensor(values, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must be an array of numbers, got {type(values).__name__}: {error}") from error


def probabilities(name: str, P: Tensor, read: Tensor) -> Tensor:
    """`P` [S, A, ...] with rows that sum to 1; raises ValueError naming state and action. `read` [S, A] says which rows
    count."""
    wrong = ~(P >= 0) & read[..., None]  # NaN too
    if bool(wrong.any()):
        at = tuple(wrong.nonzero()[0].tolist())
        raise ValueError(f"{name} must be >= 0, got {P[at].item():g} for {entry(at)}")
    total = P.sum(-1)
    wrong = ~((total - 1).abs() <= NEAR_ONE) & read
    if bool(wrong.any()):
        at = tuple(wrong.nonzero()[0].tolist())
        raise ValueError(f"{name} must sum to 1 over the next states, got {total[at].item():.9g} for {entry(at)}")
    off = read & ((total - 1).abs() > 1e-12)  # left alone otherwise: exact numbers stay as they are
    return P / total[..., None] if bool(off.all()) else torch.where(off[..., None], P / total[..., None], P)


def reward_table(R: ArrayLike | Tensor, P: Tensor, read: Tensor) -> Tensor:
    """[S, A] expected rewards from [S, A], or from [S, A, K] averaged with `P` [S, A, K]; transitions of probability 0
    and rows that are not `read` do not count. Raises ValueError for another shape and for NaN or infinite rewards."""
    R = real("R", R)
    if R.shape not in (P.shape[:2], P.shape):
        raise ValueError(f"R must have shape {list(P.shape[:2])} or {list(P.shape)}, got {list(R.shape)}")
    matter = read if R.dim() == 2 else read[..., None] & (P > 0)
    wrong = ~R.isfinite() & matter
    if bool(wrong.any()):
        at = tuple(wrong.nonzero()[0].tolist())
        raise ValueError(f"R must be finite, got {R[at].item()} for {entry(at)}")
    R = R.masked_fill(~matter, 0.0)
    return R if R.dim() == 2 else (P * R).sum(-1)


def distribution(name: str, values: ArrayLike | Tensor, n_states: int) -> Tensor:
    """`values` [S] as float64 that sum to 1; raises ValueError where they are no distribution."""
    p = shape(name, real(name, values), (n_states,))
    if bool((wrong := ~(p >= 0)).any()):
        state = int(wrong.nonzero()[0, 0])
        raise ValueError(f"{name} must be >= 0, got {p[state].item():g} for state {state}")
    if not abs(p.sum().item() - 1) <= NEAR_ONE:
        raise ValueError(f"{name} must sum to 1, got {p.sum().item():.9g}")
    return p / p.sum()
