"""Imitation without a reward on a grid: two demonstrations, and other data that cover the expert less and less."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toykit.control.offline import LinearDual, learn_policy, likelihood, log_ratio, recoil_dual
from toykit.control.offline.dual_policy import Objective
from toykit.lessons.base import Results

SIDE, DISCOUNT, WITHIN = 5, 0.9, 12
COVERED = (1.0, 0.3, 0.1, 0.0)  # of the other data's moves that would be the expert's: how many are kept
NOISY, DEMONSTRATIONS, LENGTH = 2_000, 2, 10
MOVES = torch.tensor([[0, 1], [1, 0], [0, -1], [-1, 0]])  # right, up, left, down as (up, right)
SHARE = 0.5
ALPHA, RIDGE = 0.01, 1e-4  # of the discriminator's baseline: the best for it of five settings from 1 to 0.01
STEPS = 150


def run(seeds: Sequence[int]) -> Results:
    """{"covered": shares, "success": {way: [[a number for each share] for each seed]}}, all data sets side by side."""
    drawn = [[data(seed, covered) for covered in COVERED] for seed in seeds]
    expert, other = (torch.stack([torch.stack([one[i] for one in row]) for row in drawn]) for i in (0, 1))
    P = following(expert + other)
    start, features = everywhere(), torch.eye(SIDE**2 * 4, dtype=torch.float64).view(SIDE**2, 4, -1)
    ratio = log_ratio(features, expert, other, RIDGE)
    objectives: dict[str, Objective] = {
        "ReCOIL": recoil_dual(P, start, DISCOUNT, features, expert, other, SHARE),
        "discriminator": LinearDual(P, start, DISCOUNT, features, other, torch.zeros_like(other), ratio, alpha=ALPHA),
        "BC, expert": likelihood(expert),
        "BC, all": likelihood((expert * DEMONSTRATIONS * LENGTH + other * NOISY) / (DEMONSTRATIONS * LENGTH + NOISY)),
    }
    learned = {name: learn_policy(made, features, tuple(expert.shape[:2]), STEPS) for name, made in objectives.items()}
    learned["expert"] = expert_policy().expand_as(expert)
    return {"covered": list(COVERED), "success": {name: success(policy).tolist() for name, policy in learned.items()}}


def places() -> Tensor:
    """int64 [S, 2]: each state's place (up, right); the last is the goal."""
    return torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE))


def next_state() -> Tensor:
    """int64 [S, A]: where a move leads; against the wall it stays, and so it does in the goal."""
    at = (places()[:, None] + MOVES).clamp(0, SIDE - 1)
    after = at[..., 0] * SIDE + at[..., 1]
    after[-1] = SIDE**2 - 1
    return after


def best_move() -> Tensor:
    """int64 [S]: the expert goes right as far as it can, then up."""
    return (places()[:, 1] == SIDE - 1).long()


def expert_policy() -> Tensor:
    """[S, A]: the card's .94 on the best move and .02 on every move."""
    return 0.02 + 0.92 * torch.nn.functional.one_hot(best_move(), 4).double()


def everywhere() -> Tensor:
    """The start [S]: any state but the goal."""
    start = torch.ones(SIDE**2, dtype=torch.float64)
    start[-1] = 0.0
    return start / start.sum()


def data(seed: int, covered: float) -> tuple[Tensor, Tensor]:
    """The empirical laws [S, A] of two demonstrations and of 2,000 random moves from anywhere.

    A random move that is the expert's is kept with probability `covered`; else another one is made in its place.
    """
    draw = torch.Generator().manual_seed(seed)
    states, after = SIDE**2, next_state()
    expert = torch.zeros(states, 4, dtype=torch.float64)
    s = torch.multinomial(everywhere(), DEMONSTRATIONS, generator=draw)
    for _ in range(LENGTH):
        a = torch.multinomial(expert_policy()[s], 1, generator=draw)[:, 0]
        expert.index_put_((s, a), torch.ones(len(s), dtype=torch.float64), accumulate=True)
        s = after[s, a]
    s = torch.randint(states, (NOISY,), generator=draw)
    a, turned = torch.randint(4, (NOISY,), generator=draw), torch.randint(1, 4, (NOISY,), generator=draw)
    replaced = (a == best_move()[s]) & (torch.rand(NOISY, generator=draw) >= covered)
    a = torch.where(replaced, (a + turned) % 4, a)
    other = torch.zeros(states, 4, dtype=torch.float64)
    other.index_put_((s, a), torch.ones(NOISY, dtype=torch.float64), accumulate=True)
    return expert / expert.sum(), other / NOISY


def following(law: Tensor) -> Tensor:
    """[..., S, A, S]: the next states of the pairs that are in the data; a pair that is not has a row of zeros."""
    moved = torch.nn.functional.one_hot(next_state(), SIDE**2).double()
    return moved * (law > 0)[..., None]


def success(policy: Tensor) -> Tensor:
    """[...]: the probability that the goal is reached within 12 moves of a policy [..., S, A], exact."""
    moved = torch.nn.functional.one_hot(next_state(), SIDE**2).double()
    chain = torch.einsum("...sa,sat->...st", policy, moved)
    return torch.linalg.matrix_power(chain, WITHIN)[..., -1] @ everywhere()
