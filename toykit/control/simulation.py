"""Episodes of a tabular MDP, many at once."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from toykit._checks import at_least
from toykit.control.mdp import TabularMDP
from toykit.control.offline.data import TabularData
from toykit.control.policies import as_policy


def simulate(
    mdp: TabularMDP, policy: ArrayLike | Tensor, n: int, seed: int = 0, most: int | None = None
) -> TabularData:
    """`n` episodes of a policy, one after the other in the result; rewards are the expected ones of state and action.

    policy  as `as_policy` takes it: actions or probabilities, by step too where the MDP has a horizon
    most    a time limit in steps, where an episode that goes on is truncated; not needed where there is a horizon,
            whose end is a termination, as in `MDPEnv`

    The same seed gives the same episodes. Raises ValueError for n < 1, no limit at all, and as `as_policy` does.
    """
    at_least("n", n, 1)
    p = as_policy(mdp, policy)
    limit = mdp.horizon if most is None else at_least("most", most, 1)
    if limit is None:
        raise ValueError("most must be a number of steps for an MDP without a horizon, got None")
    limit = int(min(limit, mdp.horizon or limit))
    draws = torch.Generator().manual_seed(seed)
    states = draw(mdp.start.expand(n, -1), draws)
    live = torch.arange(n)[~mdp.terminal[states]]
    columns: list[tuple[Tensor, ...]] = []
    for h in range(limit):
        if not len(live):
            break
        now = states[live]
        actions = draw((p[h] if p.dim() == 3 else p)[now], draws)
        after = draw(mdp.P[now, actions], draws)
        if mdp.successors is not None:
            after = mdp.successors[now, actions].gather(-1, after[:, None])[:, 0]
        over = mdp.terminal[after] | (h + 1 == (mdp.horizon or -1))
        cut = ~over & (h + 1 == limit)
        columns.append((live, now, actions, mdp.R[now, actions], after, over, cut))
        states[live] = after
        live = live[~over]
    if not columns:
        raise ValueError("mdp must have a start that is not terminal")
    row, *rest = (torch.cat(parts) for parts in zip(*columns, strict=True))
    order = row.sort(stable=True).indices
    return TabularData(*(part[order] for part in rest))


def draw(probabilities: Tensor, generator: torch.Generator) -> Tensor:
    """An index [...] for each row of `probabilities` [..., K], by inversion; one of probability 0 never comes."""
    upto = probabilities.cumsum(-1)
    u = torch.rand(upto.shape[:-1], generator=generator, dtype=upto.dtype) * upto[..., -1]
    return (upto <= u[..., None]).sum(-1)
