"""Reward against KL: how far a policy lies below the best that its KL allows, and best-of-n from a sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from toykit._checks import at_least
from toykit.diagnostics.passk import pass_at_k
from toykit.exact import tilt_to_kl


def frontier(log_prior: Tensor, rewards: Tensor, kl: Tensor) -> Tensor:
    """The largest E r [K] of any law within each of the budgets `kl` [K], nats: that of the tilt of the prior.

    `log_prior` and `rewards` [L] are an enumeration, the levels of a reward with their probabilities, or a sample of
    the prior with -log L each. Raises ValueError as `tilt_to_kl`. Source: arXiv 2404.01730, section 3.
    """
    tilt = tilt_to_kl(log_prior.expand(len(kl), -1), rewards, kl)
    return (tilt.log_p.exp() * rewards).sum(-1)


def shortfall(log_prior: Tensor, rewards: Tensor, kl: Tensor, reward: Tensor) -> Tensor:
    """How much reward [K] laws with these `kl` and `reward` [K] leave on the table: the frontier minus theirs.

    At least 0 for every law, up to the noise of its estimates; times alpha of the tilt with the same KL, it is the
    law's own KL to that tilt.
    """
    return frontier(log_prior, rewards, kl) - reward


@dataclass(frozen=True)
class SampledBestOfN:
    """Estimates of best-of-n: the mean reward (unbiased) and the KL to the prior in nats (plug-in), both scalars."""

    reward: Tensor
    kl: Tensor


def sampled_best_of_n(rewards: Tensor, n: int) -> SampledBestOfN:
    """Reward and KL of best-of-n from the rewards [S] of S >= n completions of the prior, by order statistics.

    The chance that the best of n is at most x is C(c, n) / C(S, n), with c of the S rewards at most x: unbiased, and
    so is the mean reward. The KL compares these chances with the shares of the sample; it is biased, and at most
    log n - (n - 1) / n only up to that. Raises ValueError for n > S. Source: arXiv 2401.01879 (the law).
    """
    at_least("n", n, 1)
    levels, counts = rewards.double().unique(return_counts=True)
    total = counts.sum()
    above = total - counts.cumsum(0)
    beaten = pass_at_k(total, torch.cat([total[None], above]), n)  # P(the best is above), from below the least level
    law = beaten[:-1] - beaten[1:]
    ratio = torch.where(law > 0, law / (counts / total), 1.0)
    return SampledBestOfN((law * levels).sum(), (law * ratio.log()).sum())
