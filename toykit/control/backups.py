"""How the values of a state's actions become the value of the state: the aggregators of a Bellman backup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from toykit._checks import inside, positive
from toykit.control.mdp import TabularMDP

ROUNDING = 1e-12  # of a sum of probabilities


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
        return torch.zeros_like(q).scatter_(-1, q.argmax(-1, keepdim=True), 1.0)


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


@dataclass(frozen=True, eq=False)
class Expectile:
    """The `level`-expectile of q under a prior: the v that minimises E[|level - 1[q < v]| (q - v)^2].

    prior  [S, A] probabilities, 0 where an action is not allowed

    The mean at 1/2; towards 1 the largest value that the prior can take. Its policy is the prior with the actions above
    v weighted by `level`, the others by 1 - `level`, normalised. Raises ValueError for a level outside (0, 1).
    Source: IQL (arXiv 2110.06169), section 4.
    """

    level: float
    prior: Tensor

    def __post_init__(self) -> None:
        inside("level", self.level)

    def __call__(self, q: Tensor) -> Tensor:
        # With the k largest values above v, v is a weighted mean; the right k gives the largest of these means where
        # level > 1/2 (they are tangents of a convex function), the least where it is < 1/2.
        q, order = q.masked_fill(self.prior == 0, 0.0).sort(-1, descending=True)
        p = self.prior.expand(q.shape).gather(-1, order)
        mass, sums = (torch.cat([torch.zeros_like(x[..., :1]), x.cumsum(-1)], -1) for x in (p, p * q))
        up, down = self.level, 1 - self.level
        means = (up * sums + down * (sums[..., -1:] - sums)) / (up * mass + down * (mass[..., -1:] - mass))
        return means.amax(-1) if self.level >= 0.5 else means.amin(-1)

    def policy(self, q: Tensor) -> Tensor:
        above = (q > self(q)[..., None]).to(q.dtype)
        weight = (1 - self.level + (2 * self.level - 1) * above) * self.prior
        return weight / weight.sum(-1, keepdim=True)


@dataclass(frozen=True, eq=False)
class Quantile:
    """The `level`-quantile of q under a prior: the smallest value that is reached with probability >= `level`.

    prior  [S, A] probabilities, 0 where an action is not allowed

    At level 1 it is the largest value that the prior can take. Its policy is one action of that value. Raises
    ValueError for a level outside (0, 1]. Source: dual RL (arXiv 2302.08560), section 5, for total variation.
    """

    level: float
    prior: Tensor

    def __post_init__(self) -> None:
        if self.level != 1:
            inside("level", self.level)

    def _place(self, q: Tensor) -> Tensor:
        q, order = q.masked_fill(self.prior == 0, -torch.inf).sort(stable=True)
        reached = self.prior.expand(q.shape).gather(-1, order).cumsum(-1) >= self.level - ROUNDING
        return order.gather(-1, reached.double().argmax(-1, keepdim=True))

    def __call__(self, q: Tensor) -> Tensor:
        return q.gather(-1, self._place(q))[..., 0]

    def policy(self, q: Tensor) -> Tensor:
        return F.one_hot(self._place(q)[..., 0], q.shape[-1]).to(q.dtype)


def backup(mdp: TabularMDP, aggregator: Aggregator, q: Tensor) -> Tensor:
    """v [..., S] from q [..., S, A], 0 in terminal states; raises ValueError, with the state, where v is not finite."""
    v = aggregator(q).masked_fill(mdp.terminal, 0.0)
    if not bool(v.isfinite().all()):
        at = tuple((~v.isfinite()).nonzero()[0].tolist())
        raise ValueError(f"aggregator must give finite values, got {v[at].item()} in state {at[-1]}")
    return v
