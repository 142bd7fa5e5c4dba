"""Recomposition: which completions of a prepared batch are learned from at once, and which later or never."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from torch import Tensor

from toykit._checks import at_least, one_of
from toykit.objectives import Prepared
from toykit.objectives.aggregation import AGGREGATIONS
from toykit.rollouts import Rollouts

SCOPES, MEANS = ("group", "batch"), ("all", "selected")


class Split(NamedTuple):
    """What is learned from at once, what is left (None for nothing), and the share of the batch that comes first."""

    priority: Prepared
    rest: Prepared | None
    selected: float


@dataclass(frozen=True)
class Recomposition:
    """Short right and long wrong completions first; what is left comes back later with a probability, or never.

    A hook of the trainer after the advantages, which are those of the whole group and stay as they are. The priority
    batch is the first ceil(alpha n) of the n right completions, shortest first, and of the n wrong ones, longest
    first; of equals the earlier. Where the group is an enumeration it is the share alpha of either's probability, the
    limit of large groups, of which equals take part alike. The rest goes into a buffer with the old log-probabilities;
    while that is full, the oldest remainder is taken out and, with probability `p_comp`, learned from in one pass.

    alpha     share of the right and of the wrong ones that come first, in (0, 1]; 1 is the base method bit for bit
    scope     what is ranked together: a "group", or all of the "batch" (ceil leaves little of a small group)
    p_comp    probability of a compensation step
    cosine    None, or the steps over which p_comp falls to 0 along half a cosine
    capacity  of the buffer, in batches of completions: it is full where it holds as much; 0 gives everything back at
              once
    mean      what losses are divided by: "all" completions of the batch, so that priority and remainder add up to the
              base method's gradient, or the "selected" alone, which makes their step larger

    Source: RoRecomp (arXiv 2509.25958). Ranking within groups, alpha, capacity and schedule are not published.
    """

    alpha: float = 0.5
    scope: str = "group"
    p_comp: float = 0.5
    cosine: int | None = None
    capacity: float = 1.0
    mean: str = "all"

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= 1:
            raise ValueError(f"alpha must be in (0, 1], got {self.alpha}")
        if not 0 <= self.p_comp <= 1:
            raise ValueError(f"p_comp must be in [0, 1], got {self.p_comp}")
        one_of("scope", self.scope, SCOPES)
        one_of("mean", self.mean, MEANS)
        at_least("capacity", self.capacity, 0)
        if self.cosine is not None:
            at_least("cosine", self.cosine, 1)

    def start(self) -> Recomposer:
        """The buffer of one run, empty."""
        return Recomposer(self)

    def probability(self, step: int) -> float:
        """Of a compensation step, after `step` whole steps."""
        if self.cosine is None:
            return self.p_comp
        return self.p_comp * (1 + math.cos(math.pi * min(step / self.cosine, 1.0))) / 2

    def share(self, rollouts: Rollouts) -> Tensor:
        """How much of each completion comes first, [..., B, G] in [0, 1]: 0 or 1 where the group was sampled."""
        every = rollouts.correct, rollouts.lengths, rollouts.weights
        shape = rollouts.correct.shape
        correct, lengths, weights = (x if self.scope == "group" else x.flatten(-2) for x in every)
        longer = torch.where(correct, lengths, -lengths)  # what comes first is small
        alike = correct[..., :, None] == correct[..., None, :]
        before = alike & (longer[..., None, :] < longer[..., :, None])
        equal = alike & (longer[..., None, :] == longer[..., :, None])
        if rollouts.enumerated:
            mass = weights[..., None, :]
            first, own, whole = ((mass * of).sum(-1) for of in (before, equal, alike))
            return ((self.alpha * whole - first) / own.clamp(min=1e-300)).clamp(0, 1).reshape(shape)
        place = torch.arange(correct.shape[-1], device=correct.device)
        rank = (before | (equal & (place[None, :] < place[:, None]))).sum(-1)
        wanted = (self.alpha * alike.sum(-1).double() - 1e-9).ceil()  # 0.7 times 10 is 7, whatever is rounded
        return (rank < wanted).to(weights).reshape(shape)

    def split(self, prepared: Prepared) -> Split:
        """The batch in two; the priority is the batch itself where all of it comes first."""
        if self.alpha == 1 or bool(((share := self.share(prepared.rollouts)) == 1).all()):
            return Split(prepared, None, 1.0)
        selected = float(prepared.rollouts.mean(share).mean())
        return Split(self._part(prepared, share), self._part(prepared, 1 - share), selected)

    def _part(self, prepared: Prepared, share: Tensor) -> Prepared:
        rollouts, kept = prepared.rollouts, share
        if self.mean == "selected":
            by_token = prepared.aggregate == "token_mean"
            counted = prepared.token_weights.sum(-1) if by_token else rollouts.weights
            part, whole = ((counted * s).sum((-2, -1), keepdim=True) for s in (share, torch.ones_like(share)))
            kept = share * whole / part.clamp(min=1e-300)
        times = kept[..., None].expand_as(prepared.token_weights)
        weighed = rollouts.with_(extras={"loss_weights": rollouts.loss_weights * times})
        return replace(prepared, rollouts=weighed, token_weights=prepared.token_weights * times)


@dataclass(frozen=True)
class Kept:
    """A remainder, the share of a batch that it is, and after how many whole steps it was kept."""

    batch: Prepared
    size: float
    since: int


class Recomposer:
    """A `Recomposition` with its buffer, which belongs to one run."""

    def __init__(self, how: Recomposition) -> None:
        self.how = how
        self.buffer: list[Kept] = []

    def split(self, prepared: Prepared) -> Split:
        """See `Recomposition.split`; the buffer stays as it is."""
        return self.how.split(prepared)

    def later(self, made: Split, step: int, generator: torch.Generator) -> tuple[list[Prepared], dict[str, float]]:
        """(batches to compensate with, figures) once step `step` (counted from 0) has learned from the priority.

        The remainder is kept; `generator` decides on each that is taken out of a full buffer.
        """
        if made.rest is not None:
            self.buffer.append(Kept(made.rest, 1 - made.selected, step))
        taken: list[Kept] = []
        while self.buffer and self.held >= self.how.capacity - 1e-9:
            oldest = self.buffer.pop(0)
            drawn = torch.rand((), generator=generator, device=generator.device, dtype=torch.float64)
            if float(drawn) < self.how.probability(step):
                taken.append(oldest)
        figures = {"selected": made.selected, "buffer": self.held, "compensations": float(len(taken))}
        if taken:
            figures["buffer_age"] = sum(step - kept.since for kept in taken) / len(taken)
        device = made.priority.token_weights.device
        return [_to(kept.batch, device) for kept in taken], figures

    @property
    def held(self) -> float:
        """How much the buffer holds, in batches."""
        return sum(kept.size for kept in self.buffer)

    def state(self) -> dict[str, Tensor]:
        found = {
            "sizes": torch.tensor([kept.size for kept in self.buffer], dtype=torch.float64),
            "since": torch.tensor([kept.since for kept in self.buffer], dtype=torch.int64),
        }
        for i, kept in enumerate(self.buffer):
            found |= {f"{i}/{name}": value for name, value in _named(kept.batch).items()}
        return found

    def load(self, state: dict[str, Tensor]) -> None:
        pairs = zip(state["sizes"].tolist(), state["since"].tolist(), strict=True)
        self.buffer = [Kept(_batch(state, f"{i}/"), size, since) for i, (size, since) in enumerate(pairs)]


def _parts(batch: Prepared) -> dict[str, Tensor]:
    """The tensors of a batch beside its rollouts."""
    return {f.name: v for f in fields(batch) if isinstance(v := getattr(batch, f.name), Tensor)}


def _to(batch: Prepared, device: torch.device) -> Prepared:
    parts = {name: value.to(device) for name, value in _parts(batch).items()}
    return replace(batch, rollouts=batch.rollouts.to(device), **parts)  # type: ignore[arg-type]


def _named(batch: Prepared) -> dict[str, Tensor]:
    """A whole batch as named tensors."""
    r = batch.rollouts
    own = {f.name: v for f in fields(r) if isinstance(v := getattr(r, f.name), Tensor)}
    plain = {"horizon": -1 if r.horizon is None else r.horizon, "enumerated": int(r.enumerated)}
    named = {f"rollouts/{k}": v for k, v in own.items()} | {f"extras/{k}": v for k, v in r.extras.items()}
    named |= {f"plain/{k}": torch.tensor(v) for k, v in plain.items()}
    named["plain/aggregate"] = torch.tensor(AGGREGATIONS.index(batch.aggregate))
    return named | {f"prepared/{k}": v for k, v in _parts(batch).items()}


def _batch(state: dict[str, Tensor], prefix: str) -> Prepared:
    """What `_named` took apart."""

    def under(name: str) -> dict[str, Tensor]:
        whole = f"{prefix}{name}/"
        return {k.removeprefix(whole): v for k, v in state.items() if k.startswith(whole)}

    plain = {k: int(v) for k, v in under("plain").items()}
    rollouts = Rollouts(
        **under("rollouts"),
        horizon=None if plain["horizon"] < 0 else plain["horizon"],
        enumerated=bool(plain["enumerated"]),
        extras=under("extras"),
    )
    return Prepared(rollouts, aggregate=AGGREGATIONS[plain["aggregate"]], **under("prepared"))


RECOMPOSITIONS: dict[str, Recomposition] = {"short_right_long_wrong": Recomposition()}


def recomposition(name: str) -> Recomposition:
    """The recomposition of a name, with its defaults."""
    return RECOMPOSITIONS[one_of("recomposition", name, RECOMPOSITIONS)]
