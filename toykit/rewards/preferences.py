"""Preference data made from rollouts: a judge that compares, and the batches that offline methods learn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from toykit._checks import at_least
from toykit.rewards.terms import Term
from toykit.rollouts.batch import Rollouts
from toykit.rollouts.examples import Demonstrations, Labelled, Pairs, Steps


@dataclass(frozen=True)
class Judge:
    """Who says which of two completions is better: P(i > j) = sigma((u_i - u_j) / temperature), u the reward.

    temperature  1 is the Bradley-Terry model of the rewards; 0 always prefers the better one (ties: 1/2)
    flip         the share eta of answers that are turned round, whatever the completions: agreement 1 - eta
    bias         a term delta(y) that this judge adds to the reward, in place of a human's eye (RLAIF)

    Raises ValueError for a temperature < 0 or a flip outside [0, 1].
    """

    temperature: float = 1.0
    flip: float = 0.0
    bias: Term | None = None

    def __post_init__(self) -> None:
        at_least("temperature", self.temperature, 0)
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip must be in [0, 1], got {self.flip}")

    def utilities(self, rollouts: Rollouts) -> Tensor:
        """u [..., B, G]: the rewards, with what the judge adds."""
        return rollouts.rewards if self.bias is None else rollouts.rewards + self.bias(rollouts).to(rollouts.rewards)

    def preference(self, first: Tensor, second: Tensor) -> Tensor:
        """P(first > second), elementwise, of utilities."""
        gap = first - second
        p = (torch.sign(gap) + 1) / 2 if self.temperature == 0 else (gap / self.temperature).sigmoid()
        return (1 - self.flip) * p + self.flip * (1 - p)


def every_pair(rollouts: Rollouts, judge: Judge | None = None, law: Tensor | None = None) -> Pairs:
    """The population of a judge's preferences over each group: all ordered pairs i != j, i chosen with P(i > j).

    Unordered pairs are weighted evenly, or by law_i law_j for a `law` [B, G] of the completions. Exact where the
    rollouts are an enumeration; pairs of weight 0 are left out. Raises ValueError for groups of one.
    """
    judge, (b, g) = judge or Judge(), rollouts.rewards.shape
    if g < 2:
        raise ValueError(f"group_size must be >= 2 for pairs, got {g}")
    u = judge.utilities(rollouts)
    weight = judge.preference(u[:, :, None], u[:, None, :])
    if law is not None:
        weight = weight * law[:, :, None] * law[:, None, :]
    weight = weight.masked_fill(torch.eye(g, dtype=torch.bool, device=u.device), 0.0)
    weight = weight / (weight.sum((1, 2), keepdim=True) * b)
    row, chosen, rejected = weight.nonzero(as_tuple=True)
    gaps = u[row, chosen] - u[row, rejected]
    return _pairs(rollouts, row, torch.stack([chosen, rejected], 1), weight[row, chosen, rejected], gaps)


def drawn_pairs(rollouts: Rollouts, generator: torch.Generator, judge: Judge | None = None) -> Pairs:
    """The completions of each group two by two (0 with 1, 2 with 3, ...), each pair asked once; all weights alike.

    Raises ValueError for groups of one.
    """
    judge, (b, g) = judge or Judge(), rollouts.rewards.shape
    if g < 2:
        raise ValueError(f"group_size must be >= 2 for pairs, got {g}")
    u = judge.utilities(rollouts)
    first = torch.arange(0, g - 1, 2, device=u.device).expand(b, -1)
    p = judge.preference(u.gather(1, first), u.gather(1, first + 1))
    kept = torch.rand(p.shape, generator=generator, device=u.device, dtype=torch.float64) < p
    sides = torch.stack([torch.where(kept, first, first + 1), torch.where(kept, first + 1, first)], -1).flatten(0, 1)
    row = torch.arange(b, device=u.device).repeat_interleave(first.shape[1])
    gaps = u[row, sides[:, 0]] - u[row, sides[:, 1]]
    return _pairs(rollouts, row, sides, torch.full_like(gaps, 1 / len(row)), gaps)


def labelled(
    rollouts: Rollouts, score: Callable[[Rollouts], Tensor] | None = None, law: Tensor | None = None
) -> Labelled:
    """Every completion with a number: its reward, or `score` [B, G] of the rollouts.

    Weighted by the rollouts' own law (their policy's, where they are an enumeration), or by `law` [B, G].
    """
    values = rollouts.rewards if score is None else score(rollouts).to(rollouts.rewards)
    return Labelled(**_singles(rollouts, law), labels=values.flatten())


def demonstrations(rollouts: Rollouts, law: Tensor | None = None) -> Demonstrations:
    """Every completion to imitate, weighted by the rollouts' own law or by `law` [B, G].

    Those of weight 0 are left out: a law that is 0 on wrong ones makes rejection sampling. Raises ValueError where
    none is left.
    """
    made = _singles(rollouts, law)
    kept = made["weights"] > 0
    if not bool(kept.any()):
        raise ValueError("law must be > 0 for some completion, got none to imitate")
    return Demonstrations(**{k: v[kept] for k, v in made.items()})


def in_steps(rollouts: Rollouts, ends: Tensor, labels: Tensor) -> Steps:
    """Every completion with labels [B, G, T] at the last tokens of its steps, `ends` bool [B, G, T]."""
    return Steps(**_singles(rollouts, None), ends=ends.flatten(0, 1), labels=labels.flatten(0, 1))


def _pairs(rollouts: Rollouts, row: Tensor, sides: Tensor, weights: Tensor, margins: Tensor) -> Pairs:
    def at(value: Tensor | None) -> Any:
        return None if value is None else value[row[:, None], sides]

    r = rollouts
    return Pairs(
        prompts=r.prompts[row],
        prompt_mask=r.prompt_mask[row],
        prompt_ids=r.prompt_ids[row],
        completions=at(r.completions),
        mask=at(r.mask),
        weights=weights,
        ref_logp=at(r.ref_logp),
        margins=margins,
    )


def _singles(rollouts: Rollouts, law: Tensor | None) -> dict[str, Any]:
    """The fields of a batch with one completion a row."""
    flat, b = rollouts.flat(), len(rollouts.prompt_ids)
    weights = (rollouts.weights if law is None else law / law.sum(-1, keepdim=True)).flatten() / b
    names = ("prompts", "prompt_mask", "prompt_ids", "completions", "mask", "ref_logp")
    return {"weights": weights} | {k: v for k in names if (v := getattr(flat, k)) is not None}
