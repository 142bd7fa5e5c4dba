"""How the values of a state's actions become the value of the state: the aggregators of a Bellman backup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from toykit._checks import positive
from toykit.control.mdp import TabularMDP


class Aggregator(Protocol):
    """v(s) from q(s, .): the mean under a policy, the maximum, a log-sum-exp, an expectile or a quantile.

    It must not fall where q rises, and q + c must give v + c. The backup is then a contraction by the discount, and the
    error bounds of `toykit.control.planning` hold for it.
    """

    def __call__(self, q: Tensor) -> Tensor:
        """v [..., S] from q [..., S, A], which is -inf where an action is not allowed."""
        ...

    def policy(self, q: Tensor) -> Tensor:
        """The derivative of v with respect to q [..., S, A]: probabilities of actions, a subgradient at a kink."""
        ...


@dataclass(frozen=True, eq=False)
class Mean:
    """The mean under a policy [S, A] (probabilities, as `as_policy` returns them): policy evaluation."""

    probabilities: Tensor

    def __call__(self, q: Tensor) -> Tensor:
        return (self.probabilities * q.masked_fill(self.probabilities == 0, 0.0)).sum(-1)

    def policy(self, q: Tensor) -> Tensor:
        return self.probabilities.expand(q.shape)


@dataclass(frozen=True)
class Max:
    """The largest value: optimal control. Its policy is greedy, the lowest index of equals."""

    def __call__(self, q: Tensor) -> Tensor:
        return q.amax(-1)

    def policy(self, q: Tensor) -> Tensor:
        return F.one_hot(q.argmax(-1), q.shape[-1]).to(q.dtype)


MAX = Max()


@dataclass(frozen=True, eq=False)
class LogSumExp:
    """temperature log sum_a prior(a) exp(q(a) / temperature): KL-regularised control.

    prior  [S, A] probabilities; None weighs every allowed action by 1 (entropy-regularised control). Its policy is
           prior exp(q / temperature), normalised.

    Raises ValueError for a temperature that is not positive. Source: soft value iteration; dual RL (arXiv 2302.08560),
    section 4 for the form with a prior.
    """

    temperature: float = 1.0
    prior: Tensor | None = None

    def __post_init__(self) -> None:
        positive("temperature", self.temperature)

    def _scores(self, q: Tensor) -> Tensor:
        scores = q / self.temperature
        return scores if self.prior is None else scores + self.prior.log()

    def __call__(self, q: Tensor) -> Tensor:
        return self.temperature * self._scores(q).logsumexp(-1)

    def policy(self, q: Tensor) -> Tensor:
        return self._scores(q).softmax(-1)


def backup(mdp: TabularMDP, aggregator: Aggregator, q: Tensor) -> Tensor:
    """v [..., S] from q [..., S, A], 0 in terminal states; raises ValueError, with the state, where v is not finite."""
    v = aggregator(q).masked_fill(mdp.terminal, 0.0)
    if not bool(v.isfinite().all()):
        at = tuple((~v.isfinite()).nonzero()[0].tolist())
        raise ValueError(f"aggregator must give finite values, got {v[at].item()} in state {at[-1]}")
    return v
