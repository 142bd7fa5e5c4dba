"""The same MDP with an executed action that is not always the chosen one."""

from __future__ import annotations

import torch

from toykit.control.checks import probability
from toykit.control.mdp import TabularMDP


def slippery(mdp: TabularMDP, p: float) -> TabularMDP:
    """With probability `p` an action drawn uniformly from the allowed ones is executed instead, for P and R alike.

    The choice may be executed by chance too. Raises ValueError for a `p` outside [0, 1].
    """
    probability("p", p)
    if p == 0:
        return mdp
    uniform = mdp.allowed.double() / mdp.allowed.sum(-1, keepdim=True)
    R = (1 - p) * mdp.R + p * (uniform * mdp.R).sum(-1, keepdim=True)
    if mdp.successors is None:
        P = (1 - p) * mdp.P + p * torch.einsum("sa,sat->st", uniform, mdp.P)[:, None]
        return mdp.with_(P=P, R=R)
    n_actions = mdp.n_actions
    chance = (uniform[..., None] * mdp.P).flatten(1)[:, None].expand(-1, n_actions, -1)
    anywhere = mdp.successors.flatten(1)[:, None].expand(-1, n_actions, -1)
    P = torch.cat([(1 - p) * mdp.P, p * chance], -1)
    return mdp.with_(P=P, R=R, successors=torch.cat([mdp.successors, anywhere], -1))


def sticky(mdp: TabularMDP, p: float) -> TabularMDP:
    """With probability `p` the action executed before is executed again; never at an episode's first step.

    The state holds the action that was executed last: s + S * (1 + action), and s itself at the start. An action that
    is not allowed in the new state is not repeated: the choice is executed. The result is sparse.
    Raises ValueError for a `p` outside [0, 1]. Source: Machado et al. (2018); the environments of arXiv 2312.08369.
    """
    probability("p", p)
    mdp = mdp.to_sparse()
    assert mdp.successors is not None
    n_states, n_actions = mdp.R.shape
    before = torch.arange(n_actions + 1)[:, None, None] - 1  # of each copy of the states; -1: none
    chosen = torch.arange(n_actions)
    allowed = mdp.allowed.T[before.clamp(min=0)[:, 0, 0]]  # [copies, S]: whether what came before may be repeated
    again = p * (allowed & (before[:, :, 0] >= 0)).double()[..., None]  # [copies, S, 1]
    repeated = before.clamp(min=0)[:, 0, 0]
    R = (1 - again) * mdp.R + again * mdp.R.T[repeated][..., None]
    own = mdp.P * (1 - again)[..., None]  # [copies, S, A, K]
    other = (mdp.P.movedim(1, 0)[repeated] * again)[:, :, None].expand(-1, -1, n_actions, -1)
    to_own = (mdp.successors + n_states * (1 + chosen)[:, None]).expand(n_actions + 1, -1, -1, -1)
    to_other = mdp.successors.movedim(1, 0)[repeated] + n_states * (1 + repeated)[:, None, None]
    to_other = to_other[:, :, None].expand(-1, -1, n_actions, -1)
    return TabularMDP(
        torch.cat([own, other], -1).flatten(0, 1),
        R.flatten(0, 1),
        mdp.discount,
        mdp.horizon,
        torch.cat([mdp.start, torch.zeros(n_states * n_actions, dtype=torch.float64)]),
        torch.cat([to_own, to_other], -1).flatten(0, 1),
        mdp.terminal.repeat(n_actions + 1),
        mdp.allowed.repeat(n_actions + 1, 1),
    )
