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
        rows, kind = self._kinds()
        steps = [
            (value, _by_kind(rows * (self.rewards == value), kind)[..., None])
            for value in self.rewards.unique().tolist()
        ]
        size = length * int(self.rewards.max()) + 1
        mass = rows.new_zeros(len(rows), size)  # by the last letter's kind and the reward
        mass.index_put_((kind, self.rewards), self.start.double(), accumulate=True)
        for _ in range(length - 1):
            before, mass = mass, torch.zeros_like(mass)
            for value, step in steps:  # by sums, because threads only slow products of so few kinds down
                mass[:, value:] += (before[:, None, : size - value] * step).sum(0)
        return torch.arange(size, dtype=torch.float64), mass.sum(0).log()

    def log_moment(self, alpha: float | Tensor, length: int) -> Tensor:
        """log E exp(alpha r) [...] over strings of `length` letters, nats, by products with the tilted matrix."""
        at_least("length", length, 1)
        rows, kind = self._kinds()
        weight = (torch.as_tensor(alpha, dtype=torch.float64)[..., None] * self.rewards).exp()  # [..., V]
        tilted = _by_kind(rows * weight[..., None, :], kind)
        state = _by_kind(self.start * weight, kind, len(rows))
        total = torch.zeros(weight.shape[:-1], dtype=torch.float64)
        for _ in range(length - 1):
            scale = state.sum(-1)
            total = total + scale.log()
            state = ((state / scale[..., None])[..., None] * tilted).sum(-2)
        return total + state.sum(-1).log()

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
        rows, kind = self._kinds()
        return float(_power(_by_kind(rows, kind))[0] @ rows @ self.rewards.double())

    def _perron(self, alpha: float) -> tuple[Tensor, Tensor]:
        """(largest eigenvalue, its right eigenvector [V] > 0) of following[a, b] exp(alpha r_b).

        Of the kinds of letters, which are fewer and have the same one.
        """
        rows, kind = self._kinds()
        tilted = _by_kind(rows * (alpha * self.rewards.double()).exp(), kind)
        h = _power(tilted).sum(1)
        h = h / h.sum()
        if not bool((h > 1e-12).all()):
            raise ValueError("following must lead from every letter to every other one, in some number of steps")
        return (tilted @ h).sum() / h.sum(), h[kind]

    def _kinds(self) -> tuple[Tensor, Tensor]:
        """(laws of the next letter [C, V], which of them follows each letter [V]): letters followed alike are one."""
        rows, kind = self.following.double().unique(dim=0, return_inverse=True)
        return rows, kind


def _by_kind(values: Tensor, kind: Tensor, kinds: int | None = None) -> Tensor:
    """The last axis [..., V] summed by the kind of its letter: [..., C], with as many kinds as there are rows."""
    count = values.shape[-2] if kinds is None else kinds
    return values.new_zeros(*values.shape[:-1], count).index_add(-1, kind, values)


def _power(matrix: Tensor) -> Tensor:
    """What a high power of a matrix [C, C] >= 0 is proportional to, its rows summing to 1 on average.

    By squaring, which sums of positive terms make safe where other eigenvalues are equal; a multiple of the identity is
    added, or a chain that alternates would not settle.
    """
    power = matrix + matrix.sum(1).max() * torch.eye(len(matrix), dtype=matrix.dtype)
    for _ in range(SQUARINGS):
        power = power @ power
        power = power / (power.sum() / len(power))
    return power
