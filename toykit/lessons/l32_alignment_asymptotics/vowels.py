"""Letters with a memory: the vowels of the letters task, exactly, at the lengths of the gpt rung and beyond."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from toykit.diagnostics import shortfall
from toykit.exact import MarkovSource, best_of_n, kl, posterior, tilt_to_kl
from toykit.lessons.base import Results
from toykit.tasks.letters import NEXT, START, VOWELS

DELTA = math.log(2) / 4  # nats a letter, so that exp(m DELTA) is a whole number of draws: 4, 16 and 256
SOURCE = MarkovSource(START, NEXT, (torch.arange(len(START)) < len(VOWELS)).long())  # the reward counts vowels
LENGTHS = (8, 16, 32, 64, 128, 256, 512)


@dataclass(frozen=True)
class Vowels:
    """What the source says of strings of `m` letters: the law of the vowels' number, best of exp(m DELTA), two tilts.

    `reward` and `kl` are best-of-n's, a letter; `alpha` is that of the tilt with each arm's KL: m DELTA (budget), or
    what best-of-n spends (matched).
    """

    m: int
    counts: Tensor
    log_p: Tensor
    reward: float
    kl: float
    alpha: dict[str, float]

    @staticmethod
    @cache
    def of(m: int) -> Vowels:
        counts, log_p = SOURCE.reward_law(m)
        law = best_of_n(log_p, counts, log_n=m * DELTA)
        budgets = {"budget": m * DELTA, "matched": law.kl.item()}
        alpha = {arm: 1 / tilt_to_kl(log_p, counts, budget).beta.item() for arm, budget in budgets.items()}
        return Vowels(m, counts, log_p, (law.log_p.exp() @ counts).item() / m, law.kl.item() / m, alpha)

    @property
    def n(self) -> int:
        return round(math.exp(self.m * DELTA))

    def below_frontier(self, spent: float, reward: float) -> float:
        """What a policy with this KL and reward, both a letter, lacks to the source's frontier, a letter."""
        spents, rewards = (torch.tensor([self.m * x], dtype=torch.float64) for x in (spent, reward))
        return shortfall(self.log_p, self.counts, spents, rewards).item() / self.m

    def distance(self, spent: float, reward: float) -> float:
        """KL(w, tilt of the budget m DELTA), a letter, of a law with this KL and reward, both a letter."""
        alpha = self.alpha["budget"]
        return spent + SOURCE.log_moment(alpha, self.m).item() / self.m - alpha * reward


def frontier_of_chain(alphas: Tensor) -> tuple[Tensor, Tensor]:
    """(KL, reward), both a letter [A], of the chains that tilted strings tend to: alpha Lambda' - Lambda, Lambda'."""
    rewards = torch.tensor([SOURCE.tilted(a).reward_rate for a in alphas.tolist()], dtype=torch.float64)
    growths = torch.tensor([SOURCE.growth(a) for a in alphas.tolist()], dtype=torch.float64)
    return alphas * rewards - growths, rewards


def memory() -> Results:
    """The lesson's limit for letters that are not independent, and the reward that the tilted chain promises."""
    low, high = 0.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        spent, _ = frontier_of_chain(torch.tensor([middle], dtype=torch.float64))
        low, high = (middle, high) if spent.item() < DELTA else (low, middle)
    rows = []
    for m in LENGTHS:
        exact = Vowels.of(m)
        tilted = posterior(exact.log_p, exact.counts, 1 / exact.alpha["budget"])
        law = best_of_n(exact.log_p, exact.counts, log_n=m * DELTA).log_p
        reward = (tilted.exp() @ exact.counts).item() / m
        rows.append(
            {
                "m": m,
                "rl": reward,
                "gap": reward - exact.reward,
                "equal_kl_gap": exact.below_frontier(exact.kl, exact.reward),
                "distance": kl(law, tilted).item() / m,
                "by_identity": exact.distance(exact.kl, exact.reward),
            }
        )
    return {"limit": SOURCE.tilted(high).reward_rate, "rows": rows}
