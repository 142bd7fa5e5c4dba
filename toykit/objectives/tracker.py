"""A baseline of each prompt that is kept from batch to batch: how often it was solved, older tries forgotten."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from toykit._checks import at_least, one_of, positive
from toykit.objectives.kl import estimate
from toykit.rollouts.batch import Rollouts

RULES = ("released", "monotone", "fixed")
FLOOR = 1e-6  # of the batch's variance


@dataclass
class Tracker:
    """(r - v) normalised over the batch, with v = a / (a + b) of each prompt's own Beta counts before this batch.

    After each try a <- rho a + o and b <- rho b + 1 - o, o whether the task's reward is above 1/2; a group's tries
    follow one another, and an enumeration is one try with the expected outcome. A prompt that was not seen has the
    value 1/2, or what `of` took from base outcomes, with the weight of `prior` tries. A group of one is enough, and v
    does not depend on the batch that it is taken from. The batch's standard deviation has a floor of 0.001, a batch of
    one is not normalised, and advantages that are all equal are exactly 0.

    rule       released: `forgetting` by m, the mean over the last `window` batches before this one of their mean k3 to
               the reference, not monotone in m; monotone: the farther from the reference the faster; fixed: `rho`
    normalise  whether advantages are normalised

    Counts are kept by prompt id, which must be that of the data set. Source: MSSR (arXiv 2512.18215); rho by each
    prompt's own change is not here. Raises ValueError for settings out of their range, and where a rule needs a
    reference that the batch has not.
    """

    rule: str = "released"
    rho: float = 0.9175
    rho_min: float = 0.875
    rho_max: float = 0.96
    kl_target: float = 0.01
    window: int = 20
    prior: float = 8.0
    normalise: bool = True
    counts: dict[int, tuple[float, float]] = field(default_factory=dict, repr=False)
    kls: list[float] = field(default_factory=list, repr=False)
    reads_rollouts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        one_of("rule", self.rule, RULES)
        for name in ("rho", "rho_min", "rho_max"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if self.rho_min > self.rho_max:
            raise ValueError(f"rho_min must be at most rho_max, got {self.rho_min} and {self.rho_max}")
        positive("kl_target", self.kl_target)
        positive("prior", self.prior)
        at_least("window", self.window, 1)

    @staticmethod
    def of(rollouts: Rollouts, **settings: Any) -> Tracker:
        """A tracker whose prompts begin at the mean outcome of a base policy's rollouts (of one try: at 0 or 1)."""
        made = Tracker(**settings)
        rates = rollouts.mean(rollouts.correct.to(rollouts.weights))
        for i, rate in zip(rollouts.prompt_ids.tolist(), rates.tolist(), strict=True):
            made.counts[i] = (made.prior * rate, made.prior * (1 - rate))
        return made

    @property
    def needs_reference(self) -> bool:
        return self.rule != "fixed"

    @property
    def forgets(self) -> float:
        """The rho of the next batch."""
        if self.rule == "fixed":
            return self.rho
        m = sum(self.kls) / len(self.kls) if self.kls else None
        return forgetting(self.rule, m, self.rho_min, self.rho_max, self.kl_target)

    def values(self, ids: Tensor) -> Tensor:
        """v float64 [...] of prompt ids int64 [...]."""
        found = [a / (a + b) for a, b in map(self._counts, ids.flatten().tolist())]
        return torch.tensor(found, dtype=torch.float64, device=ids.device).view(ids.shape)

    def __call__(self, rewards: Tensor, rollouts: Rollouts) -> Tensor:
        """Advantages [B, G] of rewards [B, G]; then the counts move, and the batch's KL is noted."""
        ids, rho = rollouts.prompt_ids, self.forgets
        advantages = self.normalised(rewards - self.values(ids).to(rewards)[..., None], rollouts.weights)
        outcomes = rollouts.correct.double()
        if rollouts.enumerated:
            outcomes = rollouts.mean(outcomes)[..., None].double()
        group = outcomes.shape[-1]
        self.see(ids.repeat_interleave(group).tolist(), outcomes.flatten().tolist(), rho)
        if self.needs_reference:
            self.kls = [*self.kls, _mean_k3(rollouts)][-self.window :]
        return advantages

    def normalised(self, advantages: Tensor, weights: Tensor) -> Tensor:
        """Advantages [..., B, G] less their mean, over their standard deviation in the batch, as the settings say."""
        if not self.normalise or advantages.shape[-2] * advantages.shape[-1] == 1:
            return advantages

        def mean(values: Tensor) -> Tensor:
            return (weights * values).sum(-1, keepdim=True).mean(-2, keepdim=True)

        centred = advantages - mean(advantages)
        scaled = centred / mean(centred**2).clamp(min=FLOOR).sqrt()
        same = advantages.amax((-2, -1), keepdim=True) == advantages.amin((-2, -1), keepdim=True)
        return torch.where(same, 0.0, scaled)  # rounding would leave something else than 0

    def see(self, ids: Iterable[int], outcomes: Iterable[float], rho: float) -> None:
        """One try after the other: outcomes from 0 to 1 of prompts."""
        for i, o in zip(ids, outcomes, strict=True):
            a, b = self._counts(i)
            self.counts[i] = (rho * a + o, rho * b + 1 - o)

    def _counts(self, prompt: int) -> tuple[float, float]:
        return self.counts.get(prompt, (self.prior / 2, self.prior / 2))

    def state(self) -> dict[str, Tensor]:
        ids = sorted(self.counts)
        pairs = torch.tensor([self.counts[i] for i in ids], dtype=torch.float64).view(-1, 2)
        kls = torch.tensor(self.kls, dtype=torch.float64)
        return {"ids": torch.tensor(ids, dtype=torch.int64), "counts": pairs, "kls": kls}

    def load(self, state: dict[str, Tensor]) -> None:
        pairs = zip(state["ids"].tolist(), state["counts"].tolist(), strict=True)
        self.counts = {i: (a, b) for i, (a, b) in pairs}
        self.kls = state["kls"].tolist()


def forgetting(rule: str, kl: float | None, low: float = 0.875, high: float = 0.96, target: float = 0.01) -> float:
    """rho by a KL, None where there is none yet: then halfway.

    released  low + (KL / target) (high - low) up to the target and low above it, as in the released code: policies that
              are near and far alike forget fastest
    monotone  high - min(KL / target, 1) (high - low)
    """
    if kl is None:
        return (low + high) / 2
    if rule == "monotone":
        return high - min(kl / target, 1.0) * (high - low)
    return low if kl > target else low + kl / target * (high - low)


def _mean_k3(rollouts: Rollouts) -> float:
    """The mean over a batch's tokens of k3 of the behaviour policy to the reference."""
    if rollouts.ref_logp is None:
        raise ValueError("ref_logp must be given for a tracker that forgets by the KL, got None")
    k3 = estimate("k3", "reverse", (rollouts.ref_logp - rollouts.old_logp).masked_fill(~rollouts.mask, 0.0))
    share = rollouts.weights[..., None] * rollouts.mask
    return float((share * k3).sum() / share.sum().clamp(min=1e-300))
