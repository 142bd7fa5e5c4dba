"""Penalties of the current policy, token by token, beside the surrogate: more terms of one loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from toykit._checks import positive
from toykit.rollouts.batch import Rollouts

Term = tuple[Tensor, dict[str, Tensor]]  # a loss and detached figures, each [..., B, G, T]


class Penalty(Protocol):
    """A term on each token, which is aggregated as the surrogate is."""

    @property
    def needs_reference(self) -> bool: ...

    @property
    def needs_vocab(self) -> bool: ...

    def prepare(self, rollouts: Rollouts, advantages: Tensor) -> dict[str, Tensor]:
        """What depends on the whole batch and its advantages [..., B, G, T], as extras of it; without a gradient."""
        ...

    def __call__(self, logp: Tensor, rollouts: Rollouts, vocab_logp: Tensor | None) -> Term: ...


@dataclass(frozen=True)
class EntropyBonus:
    """-weight times the entropy, in nats, of the next token's law at each prefix that was visited (A3C, 1602.01783).

    By autodiff it is the gradient of those entropies; the effect on which prefixes are visited is left out. Raises
    ValueError for weight <= 0.
    """

    weight: float
    needs_reference = False
    needs_vocab = True

    def __post_init__(self) -> None:
        positive("weight", self.weight)

    def prepare(self, rollouts: Rollouts, advantages: Tensor) -> dict[str, Tensor]:
        return {}

    def __call__(self, logp: Tensor, rollouts: Rollouts, vocab_logp: Tensor | None) -> Term:
        if vocab_logp is None:
            raise ValueError("vocab_logp must be given for an entropy bonus, got None")
        entropy = -(vocab_logp.exp() * vocab_logp).sum(-1).masked_fill(~rollouts.mask, 0.0)
        return -self.weight * entropy, {"token_entropy": entropy.detach()}
