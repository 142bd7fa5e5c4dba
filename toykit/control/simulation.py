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
    p, limit = as_policy(mdp, policy), _limit(mdp, most)
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


def enumerate_episodes(
    mdp: TabularMDP, policy: ArrayLike | Tensor, most: int | None = None, limit: int = 1_000_000
) -> tuple[TabularData, Tensor]:
    """Every episode that a policy may make, one after the other, and the probability [number of episodes] of each.

    policy, most  as for `simulate`; rewards are the expected ones of state and action
    limit         how many transitions may be written out

    Raises ValueError as `simulate` does, and where there are more transitions than `limit`.
    """
    p, steps = as_policy(mdp, policy), _limit(mdp, most)
    dense = mdp.to_dense()
    first = ((mdp.start > 0) & ~mdp.terminal).nonzero()[:, 0]
    path, chance = first[:, None], mdp.start[first]  # states, and actions between them
    done: list[tuple[Tensor, Tensor, bool]] = []
    for h in range(steps):
        now = path[:, -1]
        joint = (p[h] if p.dim() == 3 else p)[now][..., None] * dense.P[now]
        row, action, after = joint.nonzero(as_tuple=True)
        path = torch.cat([path[row], action[:, None], after[:, None]], 1)
        chance = chance[row] * joint[row, action, after]
        over = mdp.terminal[after] | (h + 1 == (mdp.horizon or -1))
        written = sum(len(c) * (x.shape[1] // 2) for x, c, _ in done) + len(chance) * (h + 1)
        if written > limit:
            raise ValueError(f"limit must be at least the number of transitions, more than {limit} at step {h + 1}")
        done.append((path[over], chance[over], True))
        path, chance = path[~over], chance[~over]
    done.append((path, chance, False))
    parts = [_episodes(mdp, states, ended) for states, _, ended in done if len(states)]
    if not parts:
        raise ValueError("mdp must have a start that is not terminal")
    columns = [torch.cat(column) for column in zip(*parts, strict=True)]
    return TabularData(*columns), torch.cat([chance for _, chance, _ in done])


def _limit(mdp: TabularMDP, most: int | None) -> int:
    limit = mdp.horizon if most is None else at_least("most", most, 1)
    if limit is None:
        raise ValueError("most must be a number of steps for an MDP without a horizon, got None")
    return int(min(limit, mdp.horizon or limit))


def _episodes(mdp: TabularMDP, path: Tensor, ended: bool) -> tuple[Tensor, ...]:
    """The columns of TabularData for paths [N, 2 T + 1] of states with the actions between them."""
    states, actions, after = (part.flatten() for part in (path[:, :-1:2], path[:, 1::2], path[:, 2::2]))
    last = torch.zeros(len(path), path.shape[1] // 2, dtype=torch.bool)
    last[:, -1] = True
    over, cut = last.flatten() & ended, last.flatten() & (not ended)
    return states, actions, mdp.R[states, actions], after, over, cut


def draw(probabilities: Tensor, generator: torch.Generator) -> Tensor:
    """An index [...] for each row of `probabilities` [..., K], by inversion; one of probability 0 never comes."""
    upto = probabilities.cumsum(-1)
    u = torch.rand(upto.shape[:-1], generator=generator, dtype=upto.dtype) * upto[..., -1]
    return (upto <= u[..., None]).sum(-1)
