"""Advantages: how good a completion is beside the others."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from toykit._checks import at_least, one_of
from toykit.objectives.baselines import RunningMean, at_last_token
from toykit.objectives.tracker import Tracker
from toykit.rollouts.batch import Rollouts

MEANS = ("none", "group", "batch", "leave_one_out")
STDS = ("none", "group", "batch")


@dataclass(frozen=True)
class Advantage:
    """(r - mean) / (std + eps), each statistic over the group, over the batch, or left out.

    `mean` may also be "leave_one_out" (RLOO): the mean of the group's other completions. `ddof` 1 is the sample
    standard deviation. Where the group is an enumeration its statistics are the population's, the limit of large
    groups. A group (or a batch, where only its statistics are used) with all rewards equal gets exactly 0; without
    mean and std the rewards are returned as they are. (Liu et al. 2025, arXiv 2508.08221.)
    """

    mean: str = "group"
    std: str = "none"
    ddof: int = 1
    eps: float = 1e-6

    def __post_init__(self) -> None:
        one_of("mean", self.mean, MEANS)
        one_of("std", self.std, STDS)
        if self.ddof not in (0, 1):
            raise ValueError(f"ddof must be 0 or 1, got {self.ddof}")
        at_least("eps", self.eps, 0)

    @property
    def needs_group(self) -> bool:
        """Whether a completion's advantage depends on the others of its group."""
        return bool({self.mean, self.std} & {"group", "leave_one_out"})

    def __call__(self, rewards: Tensor, weights: Tensor, enumerated: bool = False) -> Tensor:
        """Advantages [..., B, G] of rewards [..., B, G] with weights [..., B, G] (summing to 1 over G).

        Raises ValueError where a group statistic is asked of a group of one.
        """
        advantage = self.relative(rewards, weights, enumerated)
        if self.mean == self.std == "none":
            return advantage
        over = -1 if self.needs_group else (-2, -1)
        same = rewards.amax(over, keepdim=True) == rewards.amin(over, keepdim=True)
        return torch.where(same, 0.0, advantage)  # rounding, or 0 / 0, would leave something else than 0

    def check_group(self, group_size: int, enumerated: bool = False) -> None:
        """Raises ValueError where a group statistic is asked of a group of one."""
        if group_size < 2 and not enumerated and self.needs_group:
            raise ValueError(f"group_size must be >= 2 for an advantage with group statistics, got {group_size}")

    def relative(self, rewards: Tensor, weights: Tensor, enumerated: bool = False) -> Tensor:
        """The same for values with a gradient, which equal ones keep; a standard deviation of 0 has none."""
        b, g = rewards.shape[-2:]
        self.check_group(g, enumerated)
        if self.mean == self.std == "none":
            return rewards
        group = (weights * rewards).sum(-1, keepdim=True)
        batch = group.mean(-2, keepdim=True)
        centre = {"none": torch.zeros_like(group), "batch": batch}.get(self.mean, group)
        advantage = rewards - centre
        if self.mean == "leave_one_out" and not enumerated:
            advantage = advantage * (g / (g - 1))
        if self.std == "group":
            variance, n = (weights * (rewards - group) ** 2).sum(-1, keepdim=True), g
        elif self.std == "batch":
            variance, n = (weights * (rewards - batch) ** 2).sum(-1, keepdim=True).mean(-2, keepdim=True), b * g
        if self.std != "none":
            correction = 1.0 if enumerated else n / max(n - self.ddof, 1)
            squared = variance * correction
            root = torch.where(squared == 0, 1.0, squared).sqrt()  # whose slope at 0 is infinite
            advantage = advantage / (torch.where(squared == 0, 0.0, root) + self.eps)
        return advantage


@dataclass(frozen=True)
class GreedyBaseline:
    """r - r(greedy): the baseline is the reward of the prompt's likeliest completion, decoded greedily.

    It does not depend on the completion that was drawn, so the gradient stays unbiased, and a group of one is enough.
    Source: ReMax (Li et al. 2023, arXiv 2310.10505).
    """

    def __call__(self, rewards: Tensor, greedy_rewards: Tensor) -> Tensor:
        """Advantages [..., B, G] of rewards [..., B, G], beside the greedy completions' [..., B, G] (alike over G)."""
        return rewards - greedy_rewards


@dataclass(frozen=True)
class GAE:
    """Generalised advantage estimation (Schulman et al. 2016) from a critic's values, token by token.

    delta_t = r_t + gamma V_{t+1} - V_t and A_t = delta_t + gamma lam A_{t+1}, where the reward comes with the last
    token. With `whiten`, mean 0 and standard deviation 1 over the tokens of the batch (ddof 1, or the population's
    where the group is an enumeration).
    """

    gamma: float = 1.0
    lam: float = 0.95
    whiten: bool = True
    eps: float = 1e-8

    def __post_init__(self) -> None:
        for name in ("gamma", "lam"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}")

    def __call__(
        self, rewards: Tensor, values: Tensor, mask: Tensor, weights: Tensor, enumerated: bool = False
    ) -> tuple[Tensor, Tensor]:
        """(advantages, returns), each [..., B, G, T], of rewards [..., B, G] and values [..., B, G, T].

        Rewards of single tokens [..., B, G, T] are taken where they come.
        """
        values = values.masked_fill(~mask, 0.0)
        after = torch.nn.functional.pad(values[..., 1:], (0, 1))
        by_token = rewards if rewards.dim() == values.dim() else at_last_token(rewards, mask)
        delta = (by_token + self.gamma * after - values).masked_fill(~mask, 0.0)
        advantage, carried = torch.zeros_like(delta), torch.zeros_like(delta[..., 0])
        for t in reversed(range(mask.shape[-1])):
            carried = delta[..., t] + self.gamma * self.lam * carried
            advantage[..., t] = carried
        returns = advantage + values
        if self.whiten:
            advantage = self._whitened(advantage, mask, weights, enumerated)
        return advantage, returns

    def _whitened(self, advantage: Tensor, mask: Tensor, weights: Tensor, enumerated: bool) -> Tensor:
        share = weights[..., None] * mask
        total = share.sum((-3, -2, -1), keepdim=True)
        mean = (share * advantage).sum((-3, -2, -1), keepdim=True) / total
        variance = (share * (advantage - mean) ** 2).sum((-3, -2, -1), keepdim=True) / total
        if not enumerated:
            n = mask.sum((-3, -2, -1), keepdim=True)
            variance = variance * n / (n - 1).clamp(min=1)
        return ((advantage - mean) / (variance + self.eps).sqrt()).masked_fill(~mask, 0.0)


def advantages_of(estimator: Advantage | RunningMean | Tracker, rollouts: Rollouts, rewards: Tensor) -> Tensor:
    """The estimator's advantages [..., B, G, T], the same on each token of a completion."""
    if getattr(estimator, "reads_rollouts", False):  # who was asked, and by which policy
        advantage = estimator(rewards, rollouts)  # type: ignore[arg-type]
    else:
        advantage = estimator(rewards, rollouts.weights, rollouts.enumerated)  # type: ignore[call-arg, arg-type]
    return advantage[..., None] * rollouts.mask
