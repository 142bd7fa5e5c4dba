"""Overconfident errors: wrong completions that the policy prefers to its reference are pushed down harder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from toykit._checks import at_least, one_of, positive
from toykit.rollouts.batch import Rollouts

KINDS = ("softplus", "relu", "uniform")


@dataclass(frozen=True)
class Overconfidence:
    """Advantages of wrong completions times 1 + alpha s(c), c = log pi - log ref of the whole completion, in nats.

    kind        s(c): softplus ln(1 + e^c), as the paper prints it; relu max(c, 0), as public implementations have it;
                uniform 1 whatever c, the control that needs no reference
    per_length  c divided by the completion's number of tokens, because a sum grows with it
    cap         None, or the greatest c that counts

    Wrong is what the task calls wrong (`Rollouts.correct`), whatever the sign of its advantage; right completions keep
    theirs. c is held without a gradient. The advantages of a group then no longer add up to 0. Raises ValueError for
    alpha < 0, another kind, and cap <= 0. Source: ACE (arXiv 2602.21420).
    """

    alpha: float = 1.0
    kind: str = "softplus"
    per_length: bool = False
    cap: float | None = None
    needs_entropy = False

    def __post_init__(self) -> None:
        at_least("alpha", self.alpha, 0)
        one_of("kind", self.kind, KINDS)
        if self.cap is not None:
            positive("cap", self.cap)

    @property
    def needs_reference(self) -> bool:
        return self.kind != "uniform"

    def factor(self, c: Tensor) -> Tensor:
        """1 + alpha s(c), elementwise, of log-ratios `c` in nats."""
        c = c if self.cap is None else c.clamp(max=self.cap)
        shapes = {
            "softplus": lambda: torch.logaddexp(c, torch.zeros_like(c)),
            "relu": lambda: c.relu(),
            "uniform": lambda: torch.ones_like(c),
        }
        return 1 + self.alpha * shapes[self.kind]()

    def __call__(self, advantages: Tensor, rollouts: Rollouts) -> Tensor:
        c = log_ratio(rollouts) if self.needs_reference else torch.zeros_like(rollouts.rewards)
        if self.per_length:
            c = c / rollouts.lengths.clamp(min=1)
        return torch.where(rollouts.correct, 1.0, self.factor(c)).to(advantages)[..., None] * advantages


def log_ratio(rollouts: Rollouts) -> Tensor:
    """c [..., B, G], nats: log pi - log ref of each completion, 0 for one without tokens.

    pi is the policy that is trained (`policy_logp`). Raises ValueError where there is no `ref_logp`.
    """
    if rollouts.ref_logp is None:
        raise ValueError("ref_logp must be given for an objective that compares with a reference, got None")
    return (rollouts.policy_logp - rollouts.ref_logp).masked_fill(~rollouts.mask, 0.0).sum(-1)
