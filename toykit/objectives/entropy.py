"""A bonus for entropy, so that a policy goes on trying."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from toykit._checks import positive


@dataclass(frozen=True)
class Entropy:
    """coef times the entropy of the next token's law, taken off the loss of each token (A3C, arXiv 1602.01783).

    Its gradient is that of the laws at the prefixes visited, without the effect on which prefixes are visited; for one
    token that is the whole entropy's. Raises ValueError for coef <= 0.
    """

    coef: float = 0.01

    def __post_init__(self) -> None:
        positive("coef", self.coef)

    def per_token(self, vocab_logp: Tensor, mask: Tensor) -> Tensor:
        """coef H [..., T], nats, of log-probabilities [..., T, V] of the whole vocabulary; 0 where masked."""
        return -self.coef * (vocab_logp.exp() * vocab_logp).sum(-1).masked_fill(~mask, 0.0)
