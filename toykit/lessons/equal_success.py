"""Runs of a comparison where they are equally good: a figure where success first reaches a level."""

from __future__ import annotations

import math
from collections.abc import Sequence

from toykit.lessons.base import Evidence, Results, effect
from toykit.lessons.compare import reaching


def at_equal_success(results: Results, method: str, other: str, figure: str, most: float = math.inf) -> list[float]:
    """A method's figure less another's, seed by seed, where both first reach the best pass@1 that both reach.

    Where both get beyond `most`, at that level.
    """
    found = []
    one, two = results["runs"][method], results["runs"][other]
    for a, b, x, y in zip(one["pass@1"], two["pass@1"], one[figure], two[figure], strict=True):
        level = min(max(a), max(b), most)
        found.append(reaching(a, level, x) - reaching(b, level, y))
    return found


def not_told_apart(differences: Sequence[float]) -> Evidence:
    """The interval of the differences has 0 in it, which says no more than that these seeds do not tell them apart."""
    found = effect(differences, above=0.0)
    if found.interval is None:
        return found
    low, high = found.interval
    return Evidence(low <= 0 <= high, found.measured, "0 in the interval", interval=found.interval)
