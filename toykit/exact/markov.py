"""Letters from a Markov chain, each with a reward: the law of a string's summed reward, and the chain's tilts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from toykit._checks import at_least, shape

SQUARINGS = 50  # of a matrix whose power is wanted: 2^50 steps


@dataclass(frozen=True)
class MarkovSource:
    """A chain of letters: `start` [V] and `following` [V, V] are probabilities, `rewards` [V] whole numbers >= 0.

    Row a of `following` is the law of the letter after a. The reward of a string is the sum of its letters' rewards.
    """

    start: Tensor
    following: Tensor
    rewards: Tensor

    def __post_init__(self) -> None:
        v = self.start.shape[-1]
        shape("start", self.start, (v,))
        shape("following", self.following, (v, v))
        shape("rewards", self.rewards, (v,))
        for name in ("start", "following"):
            p = getattr(self, name)
            if not (bool((p >= 0).all()) and bool(((p.sum(-1) - 1).abs() < 1e-9).all())):
                raise ValueError(f"{name} must be probabilities that sum to 1 over the last axis")
        if self.rewards.is_floating_point() or bool((self.rewards < 0).any()):
            raise ValueError(f"rewards must be whole numbers >= 0, got {self.rewards.tolist()}")

    @staticmethod
    def independent(p: Tensor, rewards: Tensor) -> MarkovSource:
        """The memoryless source: every letter is drawn from `p` [V]."""
        return MarkovSource(p, p.expand(len(p), -1), rewards)

    def reward_law(self, length: int) -> tuple[Tensor, Tensor]:
        """(rewards [R], their log-probabilities [R]) of strings of `length` letters, R = 1 + length max(rewards).

        Exact to relative rounding, since only sums of positive terms are taken; masses below the smallest float,
        1e-308, are 0. Letters that are followed alike are one state: independent letters have a single one.
        """
        at_least("length", length, 1)
        rows, kind = self.following.double().unique(dim=0, return_inverse=True)  # [C, V] and [V]
        steps = []
        for value in self.rewards.unique().tolist():
            mine = self.rewards == value
            step = rows.new_zeros(len(rows), len(rows)).index_add(1, kind[mine], rows[:, mine])
            steps.append((value, step))
        mass = rows.new_zeros(length * int(self.rewards.max()) + 1, len(rows))  # by reward and last letter's kind
        mass.index_put_((self.rewards, kind), self.start.double(), accumulate=True)
        for _ in range(length - 1):
            before, mass = mass, torch.zeros_like(mass)
            for value, step in steps:
                mass[value:] += before[: len(mass) - value] @ step
        return torch.arange(len(mass), dtype=torch.float64), mass.sum(1).log()

    def log_moment(self, alpha: float | Tensor, length: int) -> Tensor:
        """log E exp(alpha r) [...] over strings of `length` letters, nats, by products with the tilted matrix."""
        at_least("length", length, 1)
        tilt = torch.as_tensor(alpha, dtype=torch.float64)[..., None] * self.rewards  # [..., V]
        state, total = self.start.double().log() + tilt, torch.zeros(tilt.shape[:-1], dtype=torch.float64)
        for _ in range(length - 1):
            scale = state.logsumexp(-1)
            total = total + scale
            state = ((state - scale[..., None]).exp() @ self.following.double()).log() + tilt
        return total + state.logsumexp(-1)

    def growth(self, alpha: float) -> float:
        """Lambda(alpha): the limit of `log_moment` a letter, the log of the tilted matrix's largest eigenvalue."""
        return self._perron(alpha)[0].log().item()

    def tilted(self, alpha: float) -> MarkovSource:
        """The chain that strings weighted with exp(alpha r) tend to as they grow long (Doob's transform).

        Its step from a to b is following[a, b] exp(alpha r_b) h_b / (rho h_a), with the tilted matrix's largest
        eigenvalue rho and its right eigenvector h. Raises ValueError where some letter is never followed, in any
        number of steps, by another one.
        """
        rho, h = self._perron(alpha)
        weight = (alpha * self.rewards.double()).exp() * h
        start, following = self.start * weight, self.following * weight / (rho * h[:, None])
        return MarkovSource(start / start.sum(), F.normalize(following, p=1, dim=-1), self.rewards)

    @property
    def reward_rate(self) -> float:
        """The mean reward a letter of long strings, under the chain's stationary law."""
        v = len(self.start)
        balance = torch.cat([self.following.double().T - torch.eye(v).double(), torch.ones(1, v).double()])
        goal = torch.zeros(v + 1, 1, dtype=torch.float64)
        goal[-1] = 1.0
        return float(torch.linalg.lstsq(balance, goal).solution[:, 0] @ self.rewards.double())

    def _perron(self, alpha: float) -> tuple[Tensor, Tensor]:
        """(largest eigenvalue, its right eigenvector [V] > 0) of following[a, b] exp(alpha r_b).

        By squaring, which sums of positive terms make safe where other eigenvalues are equal; a multiple of the
        identity is added, or a chain that alternates would not settle.
        """
        tilted = self.following.double() * (alpha * self.rewards.double()).exp()
        shift = tilted.sum(1).max()
        power = tilted + shift * torch.eye(len(tilted), dtype=torch.float64)
        for _ in range(SQUARINGS):
            power = power @ power
            power = power / power.sum()
        h = power.sum(1)
        h = h / h.sum()
        if not bool((h > 1e-12).all()):
            raise ValueError("following must lead from every letter to every other one, in some number of steps")
        return (tilted @ h).sum() / h.sum(), h
