"""Many dense tables at once, as the counts of runs side by side give them: their backups, and the values of policies.

Tables have any leading axes: laws [..., S, A, S], rewards [..., S, A], values [..., S]. Discounts are below 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from toykit._checks import at_least
from toykit.control.backups import MAX, Aggregator


def q_values(law: Tensor, rewards: Tensor, discount: float, v: Tensor) -> Tensor:
    """rewards + discount sum_s' law v(s') [..., S, A]; nothing follows where a row of `law` is 0."""
    return rewards + discount * (law * v[..., None, None, :]).sum(-1)  # equal rows give equal numbers, to the last bit


def sweep(
    law: Tensor,
    rewards: Tensor,
    discount: float,
    sweeps: int,
    v: Tensor | None = None,
    aggregator: Aggregator = MAX,
) -> Tensor:
    """Q [..., S, A] after so many sweeps of v = aggregator(q) from `v` (0 where None): value iteration of every table.

    Raises ValueError for sweeps < 1.
    """
    at_least("sweeps", sweeps, 1)
    q = rewards if v is None else q_values(law, rewards, discount, v)
    for _ in range(sweeps - 1):
        q = q_values(law, rewards, discount, aggregator(q))
    return q


def policy_values(law: Tensor, rewards: Tensor, discount: float, actions: Tensor) -> Tensor:
    """V [..., S] of policies that take actions int64 [..., S], by a linear solve; leading axes are broadcast.

    Raises ValueError for a discount outside [0, 1).
    """
    if not 0 <= discount < 1:
        raise ValueError(f"discount must be >= 0 and < 1, got {discount}")
    n_states = actions.shape[-1]
    taken = torch.nn.functional.one_hot(actions, rewards.shape[-1]).to(rewards)
    chain = (taken[..., None, :] @ law)[..., 0, :]
    matrix = torch.eye(n_states, dtype=law.dtype, device=law.device) - discount * chain
    return torch.linalg.solve(matrix, (taken * rewards).sum(-1)[..., None])[..., 0]
