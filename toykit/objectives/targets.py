"""Targets: the distribution that is wanted, as an unnormalised log score of each completion."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from toykit.objectives.beta import Beta, beta_of, check_beta
from toykit.rollouts.batch import Rollouts


class Target(Protocol):
    """log P(y), unnormalised: [..., B, G] for the completions of a batch."""

    def __call__(self, rollouts: Rollouts) -> Tensor: ...


def log_reference(rollouts: Rollouts) -> Tensor:
    """log pi0(y) [..., B, G], nats; raises ValueError where the rollouts carry no reference."""
    if rollouts.ref_logp is None:
        raise ValueError("ref_logp must be given for a target made from the reference policy, got None")
    return rollouts.ref_logp.sum(-1)


@dataclass(frozen=True)
class Posterior:
    """pi0(y) exp(r(y) / beta): the optimum of KL-regularised RL (arXiv 2205.11275, section 4).

    `beta` is one number, or a tensor [n] with the number of each prompt id. Raises ValueError for beta <= 0.
    """

    beta: Beta

    def __post_init__(self) -> None:
        check_beta(self.beta)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        return log_reference(rollouts) + rollouts.rewards / beta_of(self.beta, rollouts)


@dataclass(frozen=True)
class Filtered:
    """pi0(y) where the reward is above `threshold`, 0 elsewhere: conditioning on success (section 5)."""

    threshold: float = 0.5

    def __call__(self, rollouts: Rollouts) -> Tensor:
        return log_reference(rollouts).masked_fill(rollouts.rewards <= self.threshold, -torch.inf)


@dataclass(frozen=True)
class Tilted:
    """pi0(y) exp(lambda . phi(y)), phi in `extras["features"]` [..., B, G, K] (GDC, arXiv 2012.11635)."""

    tilt: tuple[float, ...]

    def __call__(self, rollouts: Rollouts) -> Tensor:
        features = rollouts.extras["features"]
        return log_reference(rollouts) + features @ torch.tensor(self.tilt).to(features)


def batch_log_z(log_score: Tensor, log_behaviour: Tensor, weights: Tensor) -> Tensor:
    """log sum_y w(y) P(y) / q(y), [..., B]: log Z under enumeration, the log of an unbiased estimate of Z otherwise."""
    return (weights.log() + log_score - log_behaviour).logsumexp(-1)


@dataclass
class MovingLogZ:
    """An exponential moving average of Z for each prompt id, kept in log space.

    Z is one number a prompt (one shared Z would be another objective). The first batch of a prompt sets it.
    """

    decay: float = 0.9
    log_z: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.decay < 1:
            raise ValueError(f"decay must be between 0 and 1, got {self.decay}")

    def __call__(self, prompt_ids: Tensor, batch: Tensor) -> Tensor:
        """The average [B] after adding a batch's estimates [B] for prompts `prompt_ids` [B]."""
        known = batch.new_tensor([self.log_z.get(i, -torch.inf) for i in prompt_ids.tolist()])
        mixed = torch.logaddexp(known + math.log(self.decay), batch + math.log1p(-self.decay))
        new = torch.where(known.isinf(), batch, mixed)
        self.log_z.update(zip(prompt_ids.tolist(), new.tolist(), strict=True))
        return new

    def state(self) -> dict[str, Tensor]:
        ids, values = list(self.log_z), list(self.log_z.values())
        return {"ids": torch.tensor(ids, dtype=torch.int64), "log_z": torch.tensor(values, dtype=torch.float64)}

    def load(self, state: dict[str, Tensor]) -> None:
        self.log_z = dict(zip(state["ids"].tolist(), state["log_z"].tolist(), strict=True))
