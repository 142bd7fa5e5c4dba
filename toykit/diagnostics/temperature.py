"""The temperature at which a policy is as diverse as another: bisection on the entropy."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from toykit._checks import at_least, positive


def match_temperature(
    entropy_at: Callable[[Tensor], Tensor],
    target: Tensor,
    low: float = 0.05,
    high: float = 20.0,
    steps: int = 60,
) -> Tensor:
    """The temperatures [...] at which the entropy is `target` [...], by bisection of log T between `low` and `high`.

    `entropy_at` takes temperatures and gives entropies, both of the target's shape: all settings go together. Each
    of `steps` steps halves the range of log T. Entropy grows with the temperature of one softmax; that of a whole
    completion need not, and then one of the temperatures that fit is found. Raises ValueError for a range that is
    not one, and where a target does not lie between the entropies at its ends. Source: arXiv 2504.13837.
    """
    positive("low", low)
    at_least("steps", steps, 1)
    if not low < high:
        raise ValueError(f"low must be < high, got low {low} and high {high}")
    cold, hot = (torch.full_like(target, t).log() for t in (low, high))
    least, most = entropy_at(cold.exp()), entropy_at(hot.exp())
    if bool((outside := ~((least <= target) & (target <= most))).any()):
        a, b, wanted = (x[outside].flatten()[0].item() for x in (least, most, target))
        raise ValueError(
            f"target must be an entropy that is reached between temperatures {low:g} and {high:g}, "
            f"{a:.6g} to {b:.6g}, got {wanted:.6g}"
        )
    for _ in range(steps):
        middle = (cold + hot) / 2
        below = entropy_at(middle.exp()) < target
        cold, hot = torch.where(below, middle, cold), torch.where(below, hot, middle)
    return ((cold + hot) / 2).exp()
