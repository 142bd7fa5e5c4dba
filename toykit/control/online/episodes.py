"""Many episodes at once: a table of each step as one MDP, trajectories and values of batches of policies."""

from __future__ import annotations

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from toykit.control.checks import real
from toykit.control.mdp import TabularMDP


def layered(P: ArrayLike | Tensor, R: ArrayLike | Tensor, start: int = 0) -> TabularMDP:
    """The MDP of episodes whose probabilities P [H, S, A, S] and rewards R [H, S, A] depend on the step.

    Its states are h S + s, and a terminal one, the last; the horizon is H. Raises ValueError for other shapes, and as
    `TabularMDP` does.
    """
    P, R = real("P", P), real("R", R)
    if P.dim() != 4 or P.shape[1] != P.shape[3] or R.shape != P.shape[:3]:
        raise ValueError(f"P and R must be [H, S, A, S] and [H, S, A], got {list(P.shape)} and {list(R.shape)}")
    h, s, a, _ = P.shape
    whole = P.new_zeros(h * s + 1, a, h * s + 1)
    for step in range(h - 1):
        here, after = slice(step * s, (step + 1) * s), slice((step + 1) * s, (step + 2) * s)
        whole[here, :, after] = P[step]
    whole[(h - 1) * s :, :, -1] = 1.0
    rewards = torch.cat([R.flatten(0, 1), R.new_zeros(1, a)])
    return TabularMDP(whole, rewards, horizon=h, start=start, terminal=[h * s])


def one_hot_features(n_states: int, n_actions: int, steps: int) -> Tensor:
    """phi [H S + 1, A, S A] of a layered MDP: one entry for each state and action of a step, none at the end."""
    phi = torch.eye(n_states * n_actions, dtype=torch.float64).view(n_states, n_actions, -1)
    return torch.cat([phi.repeat(steps, 1, 1), torch.zeros_like(phi[:1])])


def trajectories(P: Tensor, start: Tensor, policies: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """States int64 [..., H + 1] and actions [..., H] of one episode of each of `policies` int64 [..., H, S].

    P [S, A, S], or with the leading axes of the policies; start [S]. Chance comes from `uniforms` [..., H + 1] in
    [0, 1): the first for the start.
    """
    last, n_actions = P.shape[-1] - 1, P.shape[-2]
    at = (uniforms[..., :1] >= start.cumsum(-1)).sum(-1).clamp(max=last)
    cumulative = P.cumsum(-1)
    if P.dim() > 3:
        cumulative = cumulative.expand(*at.shape, *P.shape[-3:]).flatten(-3, -2)
    states, actions = [at], []
    for h in range(policies.shape[-2]):
        action = policies[..., h, :].gather(-1, at[..., None])[..., 0]
        if P.dim() == 3:
            row = cumulative[at, action]
        else:
            row = torch.take_along_dim(cumulative, (at * n_actions + action)[..., None, None], -2)[..., 0, :]
        at = (uniforms[..., h + 1, None] >= row).sum(-1).clamp(max=last)
        states.append(at)
        actions.append(action)
    return torch.stack(states, -1), torch.stack(actions, -1)


def returns(rewards: Tensor, states: Tensor, actions: Tensor) -> Tensor:
    """[...]: the sum of rewards [S, A] along trajectories: states [..., H + 1], actions [..., H]."""
    return rewards[states[..., :-1], actions].sum(-1)


def policy_values(P: Tensor, R: Tensor, start: Tensor, policies: Tensor) -> Tensor:
    """[...]: the exact expected return from `start` [S] of policies int64 [..., H, S].

    R is [..., S, A] and P [..., S, A, S], with leading axes that fit those of the policies.
    """
    v = torch.zeros_like(R[..., 0])
    for h in reversed(range(policies.shape[-2])):
        q = R + (P @ v[..., None, :, None])[..., 0]
        v = q.expand(*policies.shape[:-2], *q.shape[-2:]).gather(-1, policies[..., h, :, None])[..., 0]
    return (v * start).sum(-1)


def best_policies(P: Tensor, R: Tensor, steps: int) -> Tensor:
    """int64 [..., H, S]: an optimal policy for `steps` steps of each of R [..., S, A] and P [..., S, A, S]."""
    v, found = torch.zeros_like(R[..., 0]), []
    for _ in range(steps):
        q = R + (P @ v[..., None, :, None])[..., 0]
        v, choice = q.max(-1)
        found.append(choice)
    return torch.stack(found[::-1], -2)
