"""Errors that name the argument, what was given and what is allowed."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def positive(name: str, value: float) -> float:
    """Returns `value`; raises ValueError unless it is finite and > 0."""
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be > 0 and finite, got {value}")
    return value


def at_least(name: str, value: float, least: float) -> float:
    """Returns `value`; raises ValueError unless it is >= `least`."""
    if not value >= least:
        raise ValueError(f"{name} must be >= {least}, got {value}")
    return value


def inside(name: str, value: float) -> float:
    """Returns `value`; raises ValueError unless 0 < value < 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name} must be between 0 and 1, got {value}")
    return value


def one_of(name: str, value: str, options: Iterable[str]) -> str:
    """Returns `value`; raises ValueError with the nearest option unless it is one of `options`."""
    options = sorted(options)
    if value in options:
        return value
    raise ValueError(f"{name} must be one of {', '.join(options)}, got {value!r}{nearest(value, options)}")


def nearest(value: str, options: Iterable[str]) -> str:
    """The end of an error's message: "; did you mean 'x'?", or nothing where no option is near."""
    near = difflib.get_close_matches(str(value), list(options), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def finite(name: str, values: Tensor, prompt_ids: Tensor | None = None) -> Tensor:
    """Returns `values` ([B, ...] where `prompt_ids` is [B]); raises ValueError naming the first prompt that holds
    a NaN or an infinity."""
    good = values.isfinite()
    if bool(good.all()):
        return values
    at = tuple((~good).nonzero()[0].tolist())
    whose = f" (prompt {int(prompt_ids[at[0]])})" if prompt_ids is not None and at else ""
    raise ValueError(f"{name} must be finite, got {values[at].item()} at index {list(at)}{whose}")


def shape(name: str, values: Tensor, expected: tuple[int, ...]) -> Tensor:
    """Returns `values`; raises ValueError unless its shape is `expected`."""
    if tuple(values.shape) != tuple(expected):
        raise ValueError(f"{name} must have shape {list(expected)}, got {list(values.shape)}")
    return values
