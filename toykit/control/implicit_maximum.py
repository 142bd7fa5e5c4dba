"""The implicit maximum of f-DVL under Pearson chi-square: an aggregator that is the minimiser of a loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from toykit._checks import inside, one_of

VARIANTS = ("relu", "code", "conjugate")


@dataclass(frozen=True, eq=False)
class Chi2Maximum:
    """The v that minimises E_prior[level phi(q - v) - (1 - level) (q - v)], phi that of chi-square.

    prior    [S, A] probabilities, 0 where an action is not allowed
    variant  "relu": phi(x) = x + x^2 / 4 where x > 0, else 0
             "code": max(x + x^2 / 4, 0), as released, which rises again below x = -4: values far below v pull v down
             "conjugate": f*(x) over t >= 0 itself, x + x^2 / 4 above x = -2, else -1; v may exceed every q by up to 2

    For total variation the same loss gives a `Quantile` of (2 level - 1) / level, for KL `LogSumExp`. Its policy is the
    derivative: the prior on the actions whose x takes part in the curve, or one action where v stands on a kink. "code"
    is not monotone in q. Raises ValueError for a level outside (0, 1) and an unknown variant.
    Source: dual RL (arXiv 2302.08560), section 5 and appendix, and its released critic.
    """

    level: float
    prior: Tensor
    variant: str = "relu"

    def __post_init__(self) -> None:
        inside("level", self.level)
        one_of("variant", self.variant, VARIANTS)

    def __call__(self, q: Tensor) -> Tensor:
        q, p = self._support(q)
        candidates = self._candidates(q, p)
        loss = self.loss(q, candidates, p)
        return candidates.gather(-1, loss.argmin(-1, keepdim=True))[..., 0]

    def policy(self, q: Tensor) -> Tensor:
        values, p = self._support(q)
        x = values - self(q)[..., None]
        at_kink = (x.abs() <= 1e-12 * values.abs().clamp(min=1.0)) & (p > 0) & (self.variant != "conjugate")
        weight = torch.where(at_kink.any(-1, keepdim=True), at_kink.double(), p * self._curved(x))
        return weight / weight.sum(-1, keepdim=True)

    def loss(self, q: Tensor, v: Tensor, prior: Tensor | None = None) -> Tensor:
        """The loss [..., K] of values v [..., K] given q [..., A]; `prior` [..., A] in the place of the own one."""
        p = self.prior if prior is None else prior
        x = q[..., None, :] - v[..., None]
        phi = (x + x.square() / 4) * self._curved(x)
        if self.variant == "conjugate":
            phi = torch.where(x > -2, phi, -1.0)
        return (p[..., None, :] * (self.level * phi - (1 - self.level) * x)).sum(-1)

    def _curved(self, x: Tensor) -> Tensor:
        """1 where phi is x + x^2 / 4, else 0."""
        if self.variant == "conjugate":
            return (x > -2).to(x.dtype)
        return ((x > 0) | ((x < -4) & (self.variant == "code"))).to(x.dtype)

    def _support(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """q and the prior [..., A], with the least value that the prior takes where it is 0."""
        none = (self.prior == 0).expand(q.shape)
        least = q.masked_fill(none, torch.inf).amin(-1, keepdim=True)
        return torch.where(none, least, q), self.prior.expand(q.shape)

    def _candidates(self, q: Tensor, p: Tensor) -> Tensor:
        """Where the loss may have its least value: where its derivative is 0 on a piece, and the kinks between pieces.

        On a piece the actions that take part are the `i` largest and the `j` least (j = 0 but for "code"), of mass m
        and mean mu, and the derivative is 0 at v = mu + 2 - 2 (1 - level) / (level m).
        """
        down, order = q.sort(-1, descending=True)
        weight = p.gather(-1, order)
        mass, sums = weight.cumsum(-1), (weight * down).cumsum(-1)
        if self.variant == "code":
            nothing = torch.zeros_like(mass[..., :1])
            low_mass = torch.cat([nothing, weight.flip(-1).cumsum(-1)], -1)
            low_sums = torch.cat([nothing, (weight * down).flip(-1).cumsum(-1)], -1)
            mass = (mass[..., None] + low_mass[..., None, :]).flatten(-2)
            sums = (sums[..., None] + low_sums[..., None, :]).flatten(-2)
        some = mass > 0
        still = sums / mass.where(some, 1.0) + 2 - 2 * (1 - self.level) / (self.level * mass.where(some, 1.0))
        kinks = torch.cat([q, q + (2 if self.variant == "conjugate" else 4)], -1)
        return torch.cat([still.where(some, q[..., :1]), kinks], -1)
