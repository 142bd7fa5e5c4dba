"""Gradient ascent with exact gradients: where does an objective lead, and by which way?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from toykit._checks import at_least, positive


@torch.no_grad()
def ascend(gradient: Callable[[Tensor], Tensor], start: Tensor, lr: float | Tensor, keep: Sequence[int]) -> Tensor:
    """Parameters [len(keep), ...] after the given numbers of steps theta += lr gradient(theta) from `start` [...].

    Leading axes of the parameters may hold independent settings, which then go together; `lr` is one number, or a
    tensor that broadcasts over the parameters. Raises ValueError for lr <= 0 and for numbers of steps < 0 or none.
    """
    positive("lr", float(torch.as_tensor(lr).min()))
    if not keep:
        raise ValueError("keep must hold at least one number of steps, got none")
    at_least("keep", min(keep), 0)
    theta, wanted = start.detach().clone(), sorted(set(keep))
    kept: list[Tensor] = []
    for step in range(wanted[-1] + 1):
        if step == wanted[len(kept)]:
            kept.append(theta.clone())
            if len(kept) == len(wanted):
                break
        theta += lr * gradient(theta)
    return torch.stack([kept[wanted.index(step)] for step in keep])


@torch.no_grad()
def ascend_until(
    gradient: Callable[[Tensor], Tensor],
    start: Tensor,
    lr: float | Tensor,
    reached: Callable[[Tensor], Tensor],
    most: int = 10_000,
) -> tuple[Tensor, Tensor]:
    """(number of steps [...], parameters [..., ...]) of the first policy on the way of `ascend` that has arrived.

    `reached` says so, bool [...], of parameters [..., ...]: its axes are the leading ones, and each of them stops for
    itself. Where `most` steps are not enough the number is -1 and the parameters are the last. Raises ValueError for
    lr <= 0 and most < 0.
    """
    positive("lr", float(torch.as_tensor(lr).min()))
    at_least("most", most, 0)
    theta = start.detach().clone()
    there = reached(theta)
    steps = torch.where(there, 0, -1)
    for step in range(1, most + 1):
        if bool(there.all()):
            break
        still = ~there.view(*there.shape, *[1] * (theta.dim() - there.dim()))
        theta = torch.where(still, theta + lr * gradient(theta), theta)
        now = reached(theta) & ~there
        steps[now] = step
        there |= now
    return steps, theta
