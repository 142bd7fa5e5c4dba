"""Property 9. Off-policy: bias and variance when the behaviour policy is k steps old, and what clipping does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from toykit.audit.findings import BIASED, EXACT, NONE, NOTE, SAME, Property, cosine, relative, short
from toykit.audit.measure import Groups, Probe
from toykit.audit.problems import problem
from toykit.plots.tables import number

AGES = (0, 1, 2, 4, 8)
BASE = "steps"
RATIOS = torch.logspace(-1, 1, 81, dtype=torch.float64)  # of probabilities, for the response to a ratio
PAIR = "binary/at_reference@2"


def properties(probe: Probe) -> list[Property]:
    """The update on old completions beside the one on fresh ones, and the gradient that is left at a given ratio."""
    if not probe.takes("rewards", "advantages"):
        return [Property("offpolicy.bias", NONE, None, None, BASE, "it takes neither rewards nor advantages")]
    return [_bias(probe), *response(probe)]


def _bias(probe: Probe) -> Property:
    row: dict[str, list[float]] = {"age": [], "bias": [], "cosine": [], "variance": []}
    for k in AGES:
        old, fresh = (probe.on(f"{BASE}/stale={k}{more}/at_reference") for more in ("", "/fresh"))
        row["age"].append(k)
        row["bias"].append(relative(old.gradient, fresh.gradient))
        row["cosine"].append(cosine(old.gradient, fresh.gradient))
        row["variance"].append(old.variance / fresh.variance if fresh.variance else torch.inf)
    worst, name = row["bias"][-1], f"{BASE}/stale={AGES[-1]}/at_reference"
    pairs = list(zip(AGES, row["bias"], row["variance"], strict=True))
    words = ", ".join(f"{short(b)} ({k} steps, variance x {short(v)})" for k, b, v in pairs if k in (1, 8))
    words = f"on completions of an older policy the expected update is off by {words}"
    return Property("offpolicy.bias", EXACT if worst < SAME else BIASED, row, 0.0, name, words)


def response(probe: Probe) -> list[Property]:
    """The derivative in the log-probability of a right and of a wrong completion, over its ratio to the old policy."""
    if not probe.takes("old_logp"):
        return [Property("offpolicy.clip", NONE, None, None, PAIR, "it takes no behaviour policy: there is no ratio")]
    row: dict[str, Any] = {"ratio": RATIOS.tolist()}
    for member, kind in enumerate(("right", "wrong")):
        pull = pulls(probe, member, RATIOS)
        row |= {kind: pull.tolist(), f"{kind}_live": live(probe, member, pull)}
    words = "; ".join(f"of a {kind} completion {_range(row[f'{kind}_live'])}" for kind in ("right", "wrong"))
    return [Property("offpolicy.clip", NOTE, row, None, PAIR, f"ratios that still have a gradient: {words}")]


def pulls(probe: Probe, member: int, ratios: Tensor) -> Tensor:
    """-d loss / d logp [R] of one member of a group (0 is right, 1 is wrong) whose ratio to the old policy is given."""
    p, n = problem(PAIR), len(ratios)
    groups = Groups(p, torch.tensor([[[0, 1]]]).expand(n, 1, 2), torch.ones(n))
    inputs = groups.inputs()
    moved = torch.zeros(n, 1, 2, 1, dtype=torch.float64)
    moved[:, 0, member, 0] = ratios.log()
    # Old and reference move as the policy stays, so that no number leaves its range and there is no KL.
    inputs["old_logp"] = inputs["logp"] - moved
    return -probe.call(inputs, groups).pull[:, 0, member, 0]


def live(probe: Probe, member: int, pull: Tensor) -> list[float | None] | None:
    """The least and the largest ratio with a gradient, None where it goes on; None where no ratio has one.

    A hole in the middle is not seen.
    """
    on = (pull.abs() > 1e-12 * pull.abs().max()).nonzero()[:, 0]
    if not len(on):
        return None
    first, last = int(on[0]), int(on[-1])
    low = None if first == 0 else _edge(probe, member, float(RATIOS[first]), float(RATIOS[first - 1]))
    high = None if last == len(RATIOS) - 1 else _edge(probe, member, float(RATIOS[last]), float(RATIOS[last + 1]))
    return [low, high]


def _edge(probe: Probe, member: int, inside: float, outside: float) -> float:
    """Where the gradient stops between a ratio that has one and a ratio that has none: each turn cuts by 16."""
    for _ in range(9):
        between = torch.linspace(inside, outside, 17, dtype=torch.float64)
        dead = int((pulls(probe, member, between) == 0).long().argmax())
        inside, outside = float(between[dead - 1]), float(between[dead])
    return (inside + outside) / 2


def _range(edges: list[float | None] | None) -> str:
    if edges is None:
        return "none"
    low, high = edges
    if low is None:
        return "all" if high is None else f"up to {number(high, 5)}"
    return f"from {number(low, 5)}" + ("" if high is None else f" to {number(high, 5)}")
