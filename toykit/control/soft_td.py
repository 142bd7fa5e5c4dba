"""Temporal-difference learning of Q from episodes that follow softmax(Q / rho), many runs at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from toykit._checks import at_least, positive
from toykit.control.backups import Aggregator
from toykit.control.checks import NEAR_ONE
from toykit.control.mdp import TabularMDP


def soft_td(
    mdp: TabularMDP,
    aggregators: Sequence[Aggregator],
    rho: Sequence[float],
    lr: float,
    episodes: int,
    seeds: Sequence[int],
    most: int = 100,
) -> Tensor:
    """Q [aggregators, rho, seeds, S, A] from 0, after every step Q(s, a) += lr (r + aggregator(Q)(s') - Q(s, a)).

    mdp         deterministic (a token tree, say) with one start, without a horizon; its discount is heeded
    aggregators the mean under the uniform policy learns Q_u, the maximum is Q-learning
    most        steps of an episode at most

    Actions are drawn by inversion of numpy's default_rng(seed).random(), one number a step; the episodes of all runs go
    side by side. Raises ValueError for a stochastic MDP or start, and for settings out of range.
    Source: Sutton and Barto (2018), chapter 6.
    """
    for name, value in (("episodes", episodes), ("most", most)):
        at_least(name, value, 1)
    for name, scale_of in (("lr", lr), *(("rho", x) for x in rho)):
        positive(name, scale_of)
    after, start = _deterministic(mdp)
    kinds, runs = len(aggregators), len(aggregators) * len(rho) * len(seeds)
    scale = np.tile(np.repeat(np.asarray(rho, dtype=float), len(seeds)), kinds)[:, None]
    table = torch.zeros(runs, mdp.n_states, mdp.n_actions, dtype=torch.float64).masked_fill(~mdp.allowed, -torch.inf)
    parts = list(zip(aggregators, table.chunk(kinds), strict=True))
    q, reward, terminal = table.numpy(), mdp.R.numpy(), mdp.terminal.numpy()  # of one memory with the table
    numbers = _numbers(seeds)
    for _ in range(episodes):
        live, state = np.arange(runs), np.full(runs, start)
        for _ in range(most):
            rows = q[live, state]
            upto = np.exp((rows - rows.max(-1, keepdims=True)) / scale[live]).cumsum(-1)
            u = np.tile(next(numbers), kinds * len(rho))[live, None]
            action = (upto <= u * upto[:, -1:]).sum(-1)
            ahead = after[state, action]
            over = terminal[ahead]
            v = np.concatenate([f(part).numpy() for f, part in parts])[live, ahead]
            error = reward[state, action] + mdp.discount * np.where(over, 0.0, v) - q[live, state, action]
            q[live, state, action] += lr * error
            live, state = live[~over], ahead[~over]
            if not len(live):
                break
    return table.unflatten(0, (kinds, len(rho), len(seeds)))


def _numbers(seeds: Sequence[int], block: int = 1024) -> Iterator[NDArray[np.float64]]:
    """Uniform numbers [seeds], one of each seed's generator at a time; they are drawn in blocks."""
    draws = [np.random.default_rng(seed) for seed in seeds]
    while True:
        yield from np.stack([draw.random(block) for draw in draws], 1)


def _deterministic(mdp: TabularMDP) -> tuple[NDArray[np.int64], int]:
    """The state [S, A] after each action, and the start; raises ValueError where either is drawn by chance."""
    chance, slot = mdp.P.max(-1)
    wrong = (chance < 1 - NEAR_ONE) & mdp.allowed
    if bool(wrong.any()):
        state, action = wrong.nonzero()[0].tolist()
        raise ValueError(f"mdp must be deterministic, action {action} in state {state} is not")
    if float(mdp.start.max()) < 1 - NEAR_ONE:
        raise ValueError(f"mdp must have one start, got {int((mdp.start > 0).sum())}")
    after = slot if mdp.successors is None else mdp.successors.gather(-1, slot[..., None])[..., 0]
    return after.numpy(), int(mdp.start.argmax())
