"""Rollouts: a batch of completions with weights, the one shape that every objective takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from toykit._checks import finite, shape


@dataclass(frozen=True)
class Rollouts:
    """B prompts with G completions each of at most T tokens, and how much each completion counts.

    `(weights * f).sum(-1)` is the expectation of f [..., B, G] under the behaviour policy: weights are 1/G where
    the group was sampled, and the behaviour policy's own probabilities where it is the full enumeration
    (`enumerated`), so one objective is Monte Carlo or exact by its input alone.

    Leading axes before B, where there are any, are independent batches: every statistic is taken within one.

        prompts      int64 [..., B, P]     left-padded token ids
        prompt_mask  bool  [..., B, P]     True on the prompt's own tokens
        prompt_ids   int64 [..., B]        stable ids, for state kept per prompt
        completions  int64 [..., B, G, T]  right-padded token ids
        mask         bool  [..., B, G, T]  True on generated tokens, the stop token included
        old_logp     float [..., B, G, T]  the behaviour policy's log-probabilities, nats, 0 where masked
        rewards      float [..., B, G]
        weights      float [..., B, G]     sums to 1 over G
        ref_logp     float [..., B, G, T]  the reference policy's, or None where nothing needs it
        horizon      int                   the most tokens a completion may have, or None where it is not known
        enumerated   bool                  the group is every completion, weighted by its probability
        extras       named tensors that a method adds, each with B and G (and more) as the batch has them
    """

    prompts: Tensor
    prompt_mask: Tensor
    prompt_ids: Tensor
    completions: Tensor
    mask: Tensor
    old_logp: Tensor
    rewards: Tensor
    weights: Tensor
    ref_logp: Tensor | None = None
    horizon: int | None = None
    enumerated: bool = False
    extras: dict[str, Tensor] = field(default_factory=dict)

    @property
    def group_size(self) -> int:
        return self.completions.shape[-2]

    @property
    def lengths(self) -> Tensor:
        """int64 [..., B, G]: tokens of each completion, the stop token included."""
        return self.mask.sum(-1)

    @property
    def policy_logp(self) -> Tensor:
        """float [..., B, G, T]: the trained policy's, `extras["policy_logp"]` where another one wrote completions."""
        return self.extras.get("policy_logp", self.old_logp)

    @property
    def loss_mask(self) -> Tensor:
        """bool [..., B, G, T]: the tokens that are learned from, all unless `extras["loss_mask"]` leaves some out."""
        return self.extras.get("loss_mask", self.mask)

    @property
    def loss_weights(self) -> Tensor | float:
        """`extras["loss_weights"]` [..., B, G, T], which multiply the tokens' losses after the aggregation; else 1."""
        return self.extras.get("loss_weights", 1.0)

    @property
    def task_rewards(self) -> Tensor:
        """float [..., B, G]: the task's own rewards, before any shaping."""
        return self.extras.get("task_rewards", self.rewards)

    @property
    def correct(self) -> Tensor:
        """bool [..., B, G]: the completions whose task reward is above 1/2."""
        return self.task_rewards > 0.5

    def mean(self, values: Tensor) -> Tensor:
        """The expectation [..., B] of `values` [..., B, G] under the behaviour policy."""
        return (self.weights * values).sum(-1)

    def with_(self, **changes: Any) -> Rollouts:
        """A copy with some fields replaced; `extras` given here are added to those there are."""
        if "extras" in changes:
            changes["extras"] = {**self.extras, **changes["extras"]}
        return replace(self, **changes)

    def take(self, rows: Tensor | slice) -> Rollouts:
        """The given prompts (rows of B, for a batch without leading axes) with their whole groups."""
        return replace(self, **{k: v[rows] for k, v in self._tensors().items()}, extras=self._extras(lambda v: v[rows]))

    def flat(self) -> Rollouts:
        """Each completion with its prompt as a group of one: [B G, 1, ...] (for a batch without leading axes)."""
        g = self.group_size
        changed: dict[str, Any] = {}
        for name, value in self._tensors().items():
            if name in ("prompts", "prompt_mask", "prompt_ids"):
                changed[name] = value.repeat_interleave(g, 0)
            else:
                changed[name] = value.flatten(0, 1)[:, None]
        return replace(self, **changed, extras=self._extras(lambda v: v.flatten(0, 1)[:, None]))

    def trim(self) -> Rollouts:
        """Without the columns that are padding in every row, of prompts and of completions."""
        t, p = int(self.lengths.max()), int(self.prompt_mask.sum(-1).max())
        whole = self.completions.shape[-1]

        def cut(v: Tensor) -> Tensor:
            return v[:, :, :t] if v.dim() > 2 and v.shape[2] == whole else v

        changed: dict[str, Any] = {k: cut(v) for k, v in self._tensors().items()}
        for name in ("prompts", "prompt_mask"):
            changed[name] = changed[name][:, self.prompts.shape[1] - p :]
        return replace(self, **changed, extras=self._extras(cut))

    def pieces(self, size: int) -> Iterator[tuple[Tensor, Rollouts]]:
        """The completions in pieces of at most `size`, and which of `flat` each holds, int64 [M].

        Completions of one length go together, and a piece is no longer than its longest.
        """
        flat = self.flat()
        for rows in flat.lengths[:, 0].argsort(stable=True).split(size):
            yield rows, flat.take(rows).trim()

    @staticmethod
    def cat(parts: Sequence[Rollouts]) -> Rollouts:
        """The prompts of several batches as one; what is per token [B, G, T, ...] is padded to the longest."""
        sizes = [p.completions.shape[-1] for p in parts]

        def joined(tensors: list[Tensor]) -> Tensor:
            if len(set(sizes)) > 1 and [v.shape[2] if v.dim() > 2 else None for v in tensors] == sizes:
                after = [(0, 0) * (v.dim() - 3) + (0, max(sizes) - v.shape[2]) for v in tensors]
                tensors = [torch.nn.functional.pad(v, a) for v, a in zip(tensors, after, strict=True)]
            return torch.cat(tensors)

        named, extras = [p._tensors() for p in parts], [p.extras for p in parts]
        together: dict[str, Any] = {k: joined([n[k] for n in named]) for k in named[0]}
        return replace(parts[0], **together, extras={k: joined([e[k] for e in extras]) for k in extras[0]})

    def to(self, device: torch.device | str) -> Rollouts:
        return replace(
            self, **{k: v.to(device) for k, v in self._tensors().items()}, extras=self._extras(lambda v: v.to(device))
        )

    def check(self) -> Rollouts:
        """Returns itself; raises ValueError where shapes disagree or rewards or log-probabilities are not finite."""
        *lead, g, t = self.completions.shape
        for name in ("mask", "old_logp", "ref_logp"):
            if (value := getattr(self, name)) is not None:
                shape(name, value, (*lead, g, t))
        for name in ("rewards", "weights"):
            shape(name, getattr(self, name), (*lead, g))
        ids = self.prompt_ids if len(lead) == 1 else None
        finite("rewards", self.rewards, ids)
        finite("old_logp", self.old_logp.masked_fill(~self.mask, 0.0), ids)
        if self.ref_logp is not None:
            finite("ref_logp", self.ref_logp.masked_fill(~self.mask, 0.0), ids)
        return self

    def _tensors(self) -> dict[str, Any]:
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: v for k, v in named.items() if isinstance(v, Tensor)}

    def _extras(self, change: Any) -> dict[str, Tensor]:
        return {k: change(v) for k, v in self.extras.items()}


def in_pieces(fn: Callable[[Rollouts], Tensor], rollouts: Rollouts, size: int | None) -> Tensor:
    """fn of a batch, [B, G, T, ...] and 0 where masked, of at most `size` completions at once (None: of all)."""
    mask, n = rollouts.mask, rollouts.rewards.numel()
    if size is None or size >= n:
        return _masked(fn(rollouts), mask)
    found: Tensor | None = None
    for rows, piece in rollouts.pieces(size):
        part = _masked(fn(piece), piece.mask)
        if found is None:
            found = part.new_zeros(n, 1, mask.shape[-1], *part.shape[3:])
        found[rows, :, : part.shape[2]] = part
    assert found is not None
    return found.view(*mask.shape, *found.shape[3:])


def _masked(values: Tensor, mask: Tensor) -> Tensor:
    return values.masked_fill(~mask.view(*mask.shape, *[1] * (values.dim() - 3)), 0.0)
