"""The pendulum with distractors: a simulator of observations, a value function, and planners over any model.

Everything runs for K models at once: states are [K, E, d] with d = 3 + m (cosine, sine, speed, distractors).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import gymnasium
import torch
from torch import Tensor

from toykit.control import Distractors, Stacked, Transitions, ValueNetwork, collect

DISCOUNT = 0.97
TORQUES = torch.linspace(-2, 2, 11, dtype=torch.float32)
STD = 3.0
EPISODE = 200

Model = Callable[[Tensor, Tensor], Tensor]  # next states [K, E, d] of states [K, E, d] and torques [K, E]
Planner = Callable[[Tensor], Tensor]  # torques [K, E] at states [K, E, d]


def reward(states: Tensor, torques: Tensor) -> Tensor:
    """-(angle^2 + 0.1 speed^2 + 0.001 torque^2), the environment's reward, from observations."""
    angle = torch.atan2(states[..., 1], states[..., 0])
    return -(angle.square() + 0.1 * states[..., 2].square() + 0.001 * torques.square())


def swing(states: Tensor, torques: Tensor) -> Tensor:
    """The pendulum's next observation [..., 3]: g = 10, mass and length 1, steps of 0.05 s, speed within 8."""
    angle, speed = torch.atan2(states[..., 1], states[..., 0]), states[..., 2]
    speed = (speed + 0.05 * (15 * angle.sin() + 3 * torques.clamp(-2, 2))).clamp(-8, 8)
    angle = angle + 0.05 * speed
    return torch.stack([angle.cos(), angle.sin(), speed], -1)


@dataclass(frozen=True, eq=False)
class Problem:
    """The pendulum with `m` distractors for S seeds: what was seen under random torques, and the simulator.

    mixing [S, m, m] moves each seed's distractors; train and test hold one Transitions a seed.
    """

    m: int
    seeds: tuple[int, ...]
    mixing: Tensor
    train: tuple[Transitions, ...]
    test: tuple[Transitions, ...]

    @staticmethod
    def make(m: int, seeds: Sequence[int], transitions: int = 5000, held_out: int = 2000) -> Problem:
        """Collects the data in gymnasium's Pendulum-v1; raises ValueError for m = 1 and m < 0."""
        if m < 0 or m == 1:
            raise ValueError(f"m must be 0 or at least 2, as a single distractor would stand still, got {m}")
        plain = gymnasium.make("Pendulum-v1")
        envs = [Distractors(plain, m, STD, seed=seed) if m else plain for seed in seeds]
        mixing = [torch.tensor(e.matrix, dtype=torch.float32) if m else torch.zeros(0, 0) for e in envs]
        train, test = (
            tuple(collect(env, n, seed + offset) for env, seed in zip(envs, seeds, strict=True))
            for n, offset in ((transitions, 0), (held_out, 1000))
        )
        return Problem(m, tuple(seeds), torch.stack(mixing), train, test)

    def simulator(self, states: Tensor, torques: Tensor) -> Tensor:
        """The true next states: [K, E, d] with K a multiple of S, or [S, ..., d]."""
        mixing = self.mixing.repeat(len(states) // len(self.seeds), 1, 1)
        z = states[..., 3:].flatten(1, -2) @ mixing.mT
        return torch.cat([swing(states, torques), z.view(states[..., 3:].shape)], -1)

    def drawn(self, n: int, fastest: float) -> Tensor:
        """States [S, n, d]: angles all around, speeds up to `fastest`, distractors as in an episode."""
        found = []
        for seed in self.seeds:
            draw = torch.Generator().manual_seed(seed)
            angle, speed = (2 * torch.rand(2, n, generator=draw) - 1) * torch.tensor([[math.pi], [fastest]])
            z = STD * torch.randn(n, self.m, generator=draw)
            found.append(torch.cat([torch.stack([angle.cos(), angle.sin(), speed], -1), z], -1))
        return torch.stack(found)


def fit_values(problem: Problem, sweeps: int = 60, steps: int = 50, n: int = 4096, batch: int = 256) -> Stacked:
    """V of each seed by fitted value iteration on the simulator: `sweeps` backups, each followed by steps of Adam.

    The network sees the distractors too, and is frozen in the end.
    """
    states = problem.drawn(n, 8.0)
    values = Stacked([ValueNetwork(s, (64, 64), seed=k) for s, k in zip(states, problem.seeds, strict=True)])
    optimizer = torch.optim.Adam(values.parameters(), 3e-3)
    draws = [torch.Generator().manual_seed(seed) for seed in problem.seeds]
    torques = TORQUES.expand(*states.shape[:2], -1)
    each = states[:, :, None].expand(*torques.shape, -1)
    after, now = problem.simulator(each, torques).flatten(1, 2), reward(each, torques)
    target = now.amax(-1)
    for _ in range(sweeps):
        for _ in range(steps):
            rows = torch.stack([torch.randint(n, (batch,), generator=draw) for draw in draws])
            error = values(take(states, rows)) - target.gather(1, rows)
            optimizer.zero_grad()
            error.square().mean(-1).sum().backward()
            optimizer.step()
        with torch.no_grad():
            target = (now + DISCOUNT * values(after).view(now.shape)).amax(-1)
    return values.requires_grad_(False)


def take(table: Tensor, rows: Tensor) -> Tensor:
    """The rows [S, B] of tables [S, N, d]."""
    return table.gather(1, rows[..., None].expand(*rows.shape, table.shape[-1]))


def by_seed(values: Stacked, states: Tensor) -> Tensor:
    """V [K, E] of states [K, E, d], where model k belongs to seed k mod S."""
    s = values.count
    grouped = states.unflatten(0, (-1, s)).transpose(0, 1)
    return values(grouped.flatten(1, 2)).view(grouped.shape[:-1]).transpose(0, 1).flatten(0, 1)


def greedy(model: Model, values: Stacked) -> Planner:
    """The torque with the best reward and value one step ahead."""

    def plan(states: Tensor) -> Tensor:
        each = states[:, :, None].expand(-1, -1, len(TORQUES), -1).flatten(1, 2)
        torques = TORQUES.repeat(states.shape[1]).expand(len(states), -1)
        score = reward(each, torques) + DISCOUNT * by_seed(values, model(each, torques))
        return TORQUES[score.view(*states.shape[:2], -1).argmax(-1)]

    return plan


def shooting(model: Model, values: Stacked, sequences: int = 48, steps: int = 10, hold: int = 2) -> Planner:
    """The first torque of the best of random sequences, by their rewards and the value at the end.

    Each torque of a sequence is held for `hold` of its `steps` steps; all models see the same sequences.
    """
    draw = torch.Generator().manual_seed(0)

    def plan(states: Tensor) -> Tensor:
        k, e, _ = states.shape
        torques = (4 * torch.rand(steps // hold, e * sequences, generator=draw) - 2).repeat_interleave(hold, 0)
        at, score = states[:, :, None].expand(-1, -1, sequences, -1).flatten(1, 2), torch.zeros(k, e * sequences)
        for t, now in enumerate(torques):
            now = now.expand(k, -1)
            score, at = score + DISCOUNT**t * reward(at, now), model(at, now)
        best = (score + DISCOUNT**steps * by_seed(values, at)).view(k, e, -1).argmax(-1)
        return torques[0].view(e, -1).gather(1, best.mT).mT

    return plan


@torch.no_grad()
def returns(problem: Problem, plan: Planner, k: int, episodes: int = 20) -> Tensor:
    """Mean return [k] of k planners (a multiple of S) over the same episodes of the simulator."""
    states = problem.drawn(episodes, 1.0).repeat(k // len(problem.seeds), 1, 1)
    total = torch.zeros(k, episodes)
    for _ in range(EPISODE):
        torques = plan(states)
        total += reward(states, torques)
        states = problem.simulator(states, torques)
    return total.mean(-1)
