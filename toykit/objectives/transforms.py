"""Transforms: what is done to advantages after the estimator has made them and before the loss takes them."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from toykit.rollouts.batch import Rollouts


class Transform(Protocol):
    """Advantages [..., B, G, T] from advantages, without a gradient; the first of several is applied first.

    needs_reference  whether it reads `ref_logp`
    needs_entropy    whether it reads `extras["token_entropy"]` [..., B, G, T], nats, of the policy's next-token laws
    """

    @property
    def needs_reference(self) -> bool: ...

    @property
    def needs_entropy(self) -> bool: ...

    def __call__(self, advantages: Tensor, rollouts: Rollouts) -> Tensor: ...
