"""Property 6. Winner take all: how fast does a right completion grow, by its probability?"""

from __future__ import annotations

import torch
from torch import Tensor

from toykit.audit.candidates import reward
from toykit.audit.findings import NONE, NOTE, Property, fit, same, short
from toykit.audit.measure import Measured, Probe

NAME = "ladder/at_reference"


def properties(probe: Probe) -> list[Property]:
    """The growth of three right completions beside that along E[r], and the terms of the mass balance."""
    if not probe.takes("rewards", "advantages"):
        return [Property("winner.growth", NONE, None, None, NAME, "it takes neither rewards nor advantages")]
    return [_growth(probe.on(NAME)), _balance(probe.on(NAME))]


def growth(law: Tensor, step: Tensor) -> Tensor:
    """d log p [..., L] of the completions of one token under a logit step [..., L]."""
    return step - (law * step).sum(-1, keepdim=True)


def _growth(measured: Measured) -> Property:
    p = measured.problem
    law, step, wanted = p.law[0], measured.gradient[0, 0], reward(p)[0, 0]
    right = p.rewards[0] > 0.5
    times = fit(step, wanted).weights[0]
    found, exact = growth(law, step)[right], growth(law, times * wanted)[right]
    away = float((found - exact).norm() / exact.norm()) if times else torch.inf
    row = {"probability": law[right].tolist(), "growth": found.tolist(), "along_reward": exact.tolist()}
    pairs = ", ".join(f"{short(g)} (p = {short(q)})" for q, g in zip(law[right].tolist(), found.tolist(), strict=True))
    lost = int((found < 0).sum())
    words = f"a right completion's log-probability grows by {pairs}"
    words += f": {lost} of them lose{'s' * (lost == 1)} probability although right" if lost else ""
    return Property("winner.growth", same(away), row, exact.tolist(), NAME, words)


def _balance(measured: Measured) -> Property:
    parts = mass_balance(measured)
    total = sum(parts.values())
    said = ", ".join(f"{name.replace('_', ' ')} {short(value)}" for name, value in parts.items())
    words = f"the right completions' mass grows by {short(total)} a step: {said}"
    return Property("winner.balance", NOTE, parts | {"total": total}, None, NAME, words)


def mass_balance(measured: Measured) -> dict[str, float]:
    """What sampled and unsampled, right and wrong completions add to the growth of the right ones' probability.

    The expectation over groups of the four parts of `toykit.exact.MassBalance`, for any loss on one token.
    """
    p = measured.problem
    law, right = p.law[0], p.rewards[0] > 0.5
    slope = law * (right.double() - (law * right).sum())  # d Q / d z
    added = measured.each[:, 0, 0] * slope
    drawn = torch.zeros(len(added), len(law), dtype=torch.bool).scatter_(1, measured.groups.index[:, 0], True)

    def mean(among: Tensor) -> float:
        return float((measured.groups.weight * torch.where(among, added, 0.0).sum(-1)).sum())

    return {
        "sampled_correct": mean(drawn & right),
        "sampled_wrong": mean(drawn & ~right),
        "unsampled_wrong": mean(~drawn & ~right),
        "unsampled_correct": mean(~drawn & right),
    }
