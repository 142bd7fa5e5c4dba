"""The audit: every theme, whatever fails in one of them, then the diagnosis."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from toykit.audit import (
    difficulty,
    direction,
    edges,
    groups,
    interference,
    invariance,
    lengths,
    noise,
    offpolicy,
    target,
    winner,
)
from toykit.audit.diagnosis import diagnose
from toykit.audit.findings import FAULT, SAME, Property
from toykit.audit.measure import KINDS, Failure, Probe
from toykit.audit.objective import as_objective
from toykit.audit.report import Audit

THEMES: dict[str, Callable[[Probe], list[Property]]] = {
    "direction": direction.properties,
    "target": target.properties,
    "groups": groups.properties,
    "difficulty": difficulty.properties,
    "lengths": lengths.properties,
    "winner": winner.properties,
    "interference": interference.properties,
    "invariance": invariance.properties,
    "offpolicy": offpolicy.properties,
    "noise": noise.properties,
    "edges": edges.properties,
}


def audit(objective: Any, name: str | None = None) -> Audit:
    """The specification sheet of an objective: what `as_objective` takes, measured on every problem.

    A function runs because it was given, as any code that is called; what it does wrong (an error, a NaN, no scalar,
    no gradient) is a finding. Raises ValueError for an objective that is not there or has another signature.
    """
    given = as_objective(objective, name)
    probe = Probe(given)
    with suppress(Failure):  # the themes will say what it is
        probe.ordered = invariance.symmetric(probe) > SAME
    found: list[Property] = []
    for theme, properties in THEMES.items():
        try:
            found += properties(probe)
        except Failure as failure:
            found.append(Property(theme, FAULT, failure.kind, None, failure.where, failure.words))
    found = _once(found)
    return Audit(given.name, tuple(found), tuple(diagnose(found)), given.notes)


def _once(found: list[Property]) -> list[Property]:
    """Without the failures that say again, on another problem, what an earlier one has said."""
    seen: set[str] = set()
    kept = []
    for one in found:
        if one.verdict == FAULT and one.measured in KINDS:
            if one.detail in seen:
                continue
            seen.add(one.detail)
        kept.append(one)
    return kept
