"""What the trainer asks of an objective, and of the batches that it prepares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any, Protocol, TypeVar

from torch import Tensor

from toykit.objectives.baselines import Moving
from toykit.rollouts.batch import Rollouts

B = TypeVar("B", bound=Any)


class Batch(Protocol):
    """A batch with everything that is taken over the whole of it, which can be cut: losses of its parts add up.

    A row is what is never cut: a completion, or a group where the loss compares its members with a gradient.
    """

    @property
    def rollouts(self) -> Rollouts: ...

    def minibatch(self, rows: Tensor) -> Batch:
        """Some prompts with their groups as a batch of its own."""
        ...

    def micro(self, size: int | None) -> Iterator[Batch]:
        """The same batch in pieces of at most `size` completions, or of one row where that is larger."""
        ...

    def by_row(self) -> Batch:
        """The same batch with one row a prompt."""
        ...

    def take(self, rows: Tensor | slice) -> Batch:
        """Some prompts with their groups, as a part of this batch."""
        ...

    def times(self, factor: Tensor) -> Batch:
        """The same batch with the losses of its prompts multiplied by `factor` [B]."""
        ...


class Objective(Protocol):
    """A loss of the policy's log-probabilities on rollouts, with what it needs of a reference and of other models.

    vocab_mean    whether it reads no more of the vocabulary's log-probabilities than their mean: its `loss` is then
                  given that in their place, [..., B, G, T, 1], and its `prepare` the behaviour policy's, as
                  `extras["old_mean_logp"]` [..., B, G, T]
    whole_groups  whether its loss compares the completions of a group with a gradient, so that none is cut
    moving        what it keeps from batch to batch, by name
    """

    @property
    def needs_reference(self) -> bool: ...

    @property
    def needs_vocab(self) -> bool: ...

    @property
    def vocab_mean(self) -> bool: ...

    @property
    def needs_reference_vocab(self) -> bool: ...

    @property
    def needs_entropy(self) -> bool: ...

    @property
    def needs_critic(self) -> bool: ...

    @property
    def needs_greedy(self) -> bool: ...

    @property
    def needs_group(self) -> bool: ...

    @property
    def whole_groups(self) -> bool: ...

    @property
    def moving(self) -> Mapping[str, Moving]: ...

    def prepare(self, rollouts: Rollouts) -> Batch:
        """Everything that depends on the whole batch, without a gradient."""
        ...

    def loss(
        self, logp: Tensor, prepared: Any, vocab_logp: Tensor | None = None, values: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss [...], detached figures) of logp [..., B, G, T] on a batch of `prepare`'s; both add up over pieces."""
        ...

    def with_(self, **pieces: object) -> Objective:
        """The same objective with some pieces replaced."""
        ...


def tensors(batch: Any) -> dict[str, Tensor]:
    """The tensors of a prepared batch beside its rollouts, by name."""
    return {f.name: v for f in fields(batch) if isinstance(v := getattr(batch, f.name), Tensor)}


def taken(batch: B, rows: Tensor | slice) -> B:
    """Some prompts with their groups, as a part of a prepared batch."""
    kept = {k: v[rows] for k, v in tensors(batch).items()}
    return replace(batch, rollouts=batch.rollouts.take(rows), **kept)
