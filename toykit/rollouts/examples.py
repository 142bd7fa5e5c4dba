"""Examples: completions that are given with what is known of them, the batches that offline methods learn from.

Each batch is N rows with a weight a row, so that `(weights * f).sum()` is the mean of f over the data: 1/N for a
sample, and the true probabilities for a population that is written out, which makes the same loss exact. Rows have

    prompts      int64 [N, P]     left-padded token ids
    prompt_mask  bool  [N, P]     True on the prompt's own tokens
    prompt_ids   int64 [N]        stable ids
    completions  int64 [N, G, T]  right-padded token ids; what stands at the G places is the batch's kind
    mask         bool  [N, G, T]  True on the completion's tokens, the stop token included
    weights      float [N]        >= 0; they sum to 1 over a whole data set
    ref_logp     float [N, G, T]  the reference policy's log-probabilities, nats, 0 where masked; None until computed

All are checked when they are made: ValueError names what does not fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from toykit._checks import finite, shape


@dataclass(frozen=True)
class Pairs:
    """Preferences: at place 0 the chosen completion, at place 1 the rejected one (G = 2).

    `margins` [N], where given, say by how much the chosen one is better: a reward model's margin.
    """

    prompts: Tensor
    prompt_mask: Tensor
    prompt_ids: Tensor
    completions: Tensor
    mask: Tensor
    weights: Tensor
    ref_logp: Tensor | None = None
    margins: Tensor | None = None

    def __post_init__(self) -> None:
        _check(self, places=(2,))
        if self.margins is not None:
            finite("margins", shape("margins", self.margins, tuple(self.weights.shape)))


@dataclass(frozen=True)
class Labelled:
    """Single completions with a number each: `labels` float [N], 1 and 0 for good and bad, or any score or reward.

    With G = 2 a completion of another prompt stands at place 1 (see `mismatched`), as KTO needs it.
    """

    prompts: Tensor
    prompt_mask: Tensor
    prompt_ids: Tensor
    completions: Tensor
    mask: Tensor
    weights: Tensor
    labels: Tensor
    ref_logp: Tensor | None = None

    def __post_init__(self) -> None:
        _check(self, places=(1, 2))
        finite("labels", shape("labels", self.labels, tuple(self.weights.shape)))

    def mismatched(self) -> Labelled:
        """The same rows, each with the completion of the next row that has another prompt (or of the next row, where
        there is but one prompt) at place 1. Raises ValueError for fewer than two rows."""
        n, ids = len(self.prompt_ids), self.prompt_ids
        if n < 2:
            raise ValueError(f"rows must be at least 2 to be mismatched, got {n}")
        rows = torch.arange(n, device=ids.device)
        # of runs of rows with one prompt; the last row is before the first
        starts = (ids != ids.roll(1)).nonzero()[:, 0]
        at = (rows + 1) % n
        if len(starts):
            at = starts[torch.searchsorted(starts, rows, right=True) % len(starts)]
        both = {k: torch.stack([(x := getattr(self, k)[:, 0]), x[at]], 1) for k in ("completions", "mask")}
        return replace(self, **both, ref_logp=None)


@dataclass(frozen=True)
class Demonstrations:
    """Completions to imitate (G = 1)."""

    prompts: Tensor
    prompt_mask: Tensor
    prompt_ids: Tensor
    completions: Tensor
    mask: Tensor
    weights: Tensor
    ref_logp: Tensor | None = None

    def __post_init__(self) -> None:
        _check(self, places=(1,))


@dataclass(frozen=True)
class Steps:
    """Completions in steps (G = 1): `ends` bool [N, T] on each step's last token, `labels` float [N, T] in [0, 1].

    A label is 1 where the step that ends there is right; elsewhere it is not read. Every completion has a step or more.
    """

    prompts: Tensor
    prompt_mask: Tensor
    prompt_ids: Tensor
    completions: Tensor
    mask: Tensor
    weights: Tensor
    ends: Tensor
    labels: Tensor
    ref_logp: Tensor | None = None

    def __post_init__(self) -> None:
        _check(self, places=(1,))
        over = (self.mask.shape[0], self.mask.shape[2])
        shape("labels", self.labels, over)
        if bool((shape("ends", self.ends, over) & ~self.mask[:, 0]).any()):
            raise ValueError("ends must be on tokens of the completions, got one where the mask is False")
        if not bool(self.ends.any(-1).all()):
            row = int((~self.ends.any(-1)).nonzero()[0])
            raise ValueError(f"ends must hold a step in every completion, got none in row {row}")
        inside = self.labels[self.ends]
        if not bool(((inside >= 0) & (inside <= 1)).all()):
            raise ValueError("labels must be in [0, 1] at the ends of steps")


Examples = Pairs | Labelled | Demonstrations | Steps
Kind = TypeVar("Kind", bound=Examples)


def take(batch: Kind, rows: Tensor | slice) -> Kind:
    """Some rows of a batch, with their weights as they are."""
    return replace(batch, **{k: v[rows] for k, v in _tensors(batch).items()})


def moved(batch: Kind, device: torch.device | str) -> Kind:
    """The same batch on a device."""
    return replace(batch, **{k: v.to(device) for k, v in _tensors(batch).items()})


def joined(parts: Sequence[Kind], weights: Sequence[float]) -> Kind:
    """Several data sets as one, each with its share of the weight; prompts and completions are padded to the longest.

    Raises ValueError for shares that are not one a part, or do not sum to 1.
    """
    if len(parts) != len(weights) or abs(sum(weights) - 1) > 1e-9 or min(weights) < 0:
        raise ValueError(f"weights must be one share a part that sum to 1, got {list(weights)} for {len(parts)} parts")
    named = [_tensors(p) for p in parts]
    longest = max(p.prompts.shape[1] for p in parts), max(p.completions.shape[-1] for p in parts)

    def padded(name: str, part: Kind, value: Tensor) -> Tensor:
        if name in ("prompts", "prompt_mask"):
            return torch.nn.functional.pad(value, (longest[0] - value.shape[1], 0))
        if value.shape[-1] == part.completions.shape[-1] and value.dim() > 1:
            return torch.nn.functional.pad(value, (0, longest[1] - value.shape[-1]))
        return value

    shares = [{**n, "weights": w * n["weights"]} for n, w in zip(named, weights, strict=True)]
    both: dict[str, Any] = {
        k: torch.cat([padded(k, p, s[k]) for p, s in zip(parts, shares, strict=True)]) for k in named[0]
    }
    return replace(parts[0], **both)


def _tensors(batch: Any) -> dict[str, Any]:
    named = {f.name: getattr(batch, f.name) for f in fields(batch)}
    return {k: v for k, v in named.items() if v is not None}


def _check(batch: Any, places: tuple[int, ...]) -> None:
    """Raises ValueError where the fields that all batches have do not fit each other."""
    if batch.completions.dim() != 3 or batch.completions.shape[1] not in places or not len(batch.completions):
        allowed = " or ".join(str(p) for p in places)
        raise ValueError(
            f"completions must have shape [N, {allowed}, T] with N >= 1, got {list(batch.completions.shape)}"
        )
    n, g, t = batch.completions.shape
    shape("mask", batch.mask, (n, g, t))
    shape("prompt_mask", batch.prompt_mask, tuple(batch.prompts.shape))
    shape("prompt_ids", batch.prompt_ids, (n,))
    if len(batch.prompts) != n:
        raise ValueError(f"prompts must have {n} rows as the completions, got {len(batch.prompts)}")
    finite("weights", shape("weights", batch.weights, (n,)), batch.prompt_ids)
    if bool((batch.weights < 0).any()):
        raise ValueError(f"weights must be >= 0, got {batch.weights.min().item()}")
    if batch.ref_logp is not None:
        finite("ref_logp", shape("ref_logp", batch.ref_logp, (n, g, t)), batch.prompt_ids)
