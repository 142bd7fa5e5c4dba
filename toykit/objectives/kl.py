"""The KL penalty as two choices: the estimator, and the route its gradient takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from toykit._checks import one_of
from toykit.objectives.beta import Beta, check_beta
from toykit.rollouts.batch import Rollouts

ESTIMATORS = ("k1", "k2", "k3", "exact")
ROUTES = ("reward", "score", "autodiff")
LEVELS = ("token", "sequence")


class Weight(Protocol):
    """How much each completion's penalty counts: [..., B, G] from a batch and its advantages [..., B, G, T]."""

    def __call__(self, rollouts: Rollouts, advantages: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class KL:
    """beta times a KL divergence to the reference policy.

    `estimator`: k1, k2, k3 (Schulman 2020, "Approximating KL divergence") or `exact`, the sum over the vocabulary at
    each prefix (needs both policies' vocab_logp). `direction`: reverse KL(pi || ref) or forward KL(ref || pi).
    `level`: estimated token by token, or once on the completion's summed log-ratio.
    `route` decides what is optimised, for expectations under pi itself:

        reward    taken off the reward, detached, before the advantage: reverse k1 gives the gradient of KL(pi || ref)
        score     the same gradient, added after the advantage's normalisation
        autodiff  the estimate is differentiated: reverse k1 gives 0, k2 the reverse KL, reverse k3 the FORWARD KL (at
                  sequence level; at token level the KL of each next token at the prefixes visited, without the
                  effect on which prefixes are visited)

    The reverse `exact` sum is split between the routes: by autodiff it gives the effect on the next token at the
    prefixes visited, by reward or score only the effect on which prefixes are visited (nothing, for one token). So
    are the forward k1 and k3: neither route alone gives the gradient of KL(ref || pi), which at sequence level is
    their sum, or the reverse k3 by autodiff.
    `beta` is one number, or a tensor [n] with the number of each prompt id. `weight` multiplies the penalty of each
    completion, by autodiff only, because it is told the advantages. Raises ValueError for beta <= 0.
    """

    beta: Beta
    estimator: str = "k1"
    direction: str = "reverse"
    route: str = "reward"
    level: str = "token"
    weight: Weight | None = None

    def __post_init__(self) -> None:
        check_beta(self.beta)
        one_of("estimator", self.estimator, ESTIMATORS)
        one_of("direction", self.direction, ("reverse", "forward"))
        one_of("route", self.route, ROUTES)
        one_of("level", self.level, LEVELS)
        if self.estimator == "exact" and self.level == "sequence":
            raise ValueError("level must be 'token' for estimator='exact', got 'sequence'")
        if self.weight is not None and self.route != "autodiff":
            raise ValueError(f"weight must be None for route={self.route!r}, which comes before the advantages")

    def per_token(
        self,
        logp: Tensor,
        ref_logp: Tensor,
        mask: Tensor,
        vocab_logp: Tensor | None = None,
        ref_vocab_logp: Tensor | None = None,
    ) -> Tensor:
        """The estimate on each token [..., T], nats, without beta; its sum over tokens is the completion's.

        At sequence level the completion's one estimate is spread evenly over its tokens.
        """
        if self.estimator == "exact":
            if vocab_logp is None or ref_vocab_logp is None:
                raise ValueError("vocab_logp and ref_vocab_logp must be given for estimator='exact', got None")
            p, q = (vocab_logp, ref_vocab_logp) if self.direction == "reverse" else (ref_vocab_logp, vocab_logp)
            return (p.exp() * (p - q)).sum(-1).masked_fill(~mask, 0.0)
        delta = (ref_logp - logp).masked_fill(~mask, 0.0)
        if self.level == "sequence":
            length = mask.sum(-1, keepdim=True).clamp(min=1)
            whole = estimate(self.estimator, self.direction, delta.sum(-1, keepdim=True))
            return (whole / length).expand_as(delta).masked_fill(~mask, 0.0)
        return estimate(self.estimator, self.direction, delta).masked_fill(~mask, 0.0)


def estimate(estimator: str, direction: str, delta: Tensor) -> Tensor:
    """The k-estimator of a divergence from log-ratios delta = log ref - log pi at samples of pi, elementwise.

    reverse KL(pi || ref):  k1 = -delta,           k2 = delta^2 / 2,  k3 = e^delta - 1 - delta
    forward KL(ref || pi):  k1 = e^delta delta,    k2 = delta^2 / 2,  k3 = e^delta delta - e^delta + 1
    k1 and k3 are unbiased, k3 is never negative; k2 is biased in value.
    """
    if estimator == "k2":
        return delta**2 / 2
    if direction == "reverse":
        return -delta if estimator == "k1" else delta.expm1() - delta
    return delta.exp() * delta if estimator == "k1" else delta.exp() * delta - delta.expm1()
