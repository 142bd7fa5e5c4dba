"""Forward KL to the base policy, by cross-entropy on completions that the base policy made."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from toykit._checks import at_least
from toykit.objectives.aggregation import token_weights
from toykit.objectives.beta import Beta, beta_of, check_beta
from toykit.objectives.policy_gradient import Prepared
from toykit.rollouts.batch import Rollouts


@dataclass(frozen=True)
class ForwardKL:
    """beta KL(base || pi), up to the base policy's entropy: -beta E_base[log pi(y)], averaged over prompts.

    It is taken on completions of the base policy, not on the policy's own: `samples` of each prompt, drawn once and
    kept, or all of them with the base policy's probabilities, which is exact. log pi(y) is the sum over the tokens,
    however the objective beside it is aggregated, so that for one token the logit gradient is beta (pi - base).
    `beta` is one number, or a tensor [n] with the number of each prompt id. Raises ValueError for beta <= 0 or
    samples < 1. Source: SELF (arXiv 2510.02230).
    """

    beta: Beta
    samples: int = 4

    def __post_init__(self) -> None:
        check_beta(self.beta)
        at_least("samples", self.samples, 1)

    def prepare(self, base: Rollouts) -> Prepared:
        """Rollouts of the base policy as a batch for `loss`, which can be cut as any other."""
        weights = token_weights("token_sum", base.weights, base.mask)
        return Prepared(base, beta_of(self.beta, base)[..., None] * base.mask, weights, "token_sum")

    def loss(self, logp: Tensor, prepared: Prepared) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss [...], figures) of the policy's log-probabilities logp [..., B, S, T] of the base's completions.

        The figure is the cross-entropy -E_base[log pi(y)] in nats; both add up over the pieces of a batch.
        """
        surprise = -prepared.token_weights * logp
        over = (-3, -2, -1)
        return (prepared.advantages * surprise).sum(over), {"cross_entropy": surprise.detach().sum(over)}
