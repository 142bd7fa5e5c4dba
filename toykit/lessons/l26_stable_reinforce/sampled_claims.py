"""The claims of lesson 26 on the gpt and llm rungs; their directions were set down before the first full run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from toykit.lessons.base import Evidence, Results, below, difference, effect, sampled_claims
from toykit.lessons.compare import falls, last, leads, trails

WHOLE, PLAIN = "StableReinforce", "Reinforce++"
SIZES = (16, 64, 256)


def most(results: Results, method: str, figure: str) -> list[float]:
    """The largest value of a figure over the stops, one a seed."""
    return [max(path) for path in results["runs"][method][figure]]


def bounded(results: Results) -> Evidence:
    """The largest of all seeds, sizes and stops, of both arms with the filter."""
    arms = ("+ filter", WHOLE)
    by_seed = zip(*(most(results, arm, f"largest |A|, n = {n}") for arm in arms for n in SIZES), strict=True)
    return below([max(of_seed) for of_seed in by_seed], 3 + 1e-4)


def unbounded(results: Results) -> Evidence:
    return effect(most(results, PLAIN, "largest |A|, n = 256"), above=3.0)


def finite(results: Results, arms: Sequence[str]) -> Evidence:
    """1 where the loss was finite at all stops."""
    figures = ("step, finite", "shock, finite")
    paths = zip(*(results["runs"][arm][figure] for arm in arms for figure in figures), strict=True)
    return effect([min(x for path in of_seed for x in path) for of_seed in paths], above=0.5)


def calmer(results: Results, figure: str, arm: str) -> Evidence:
    """The largest loss on the way, as log10(1 + |loss|), below that of Reinforce++."""
    return below(difference(most(results, arm, figure), most(results, PLAIN, figure)), 0.0)


def voting(results: Results) -> Evidence:
    return effect(difference(last(results, WHOLE, "vote"), last(results, WHOLE, "success")), above=-0.005)


# G1, G3, G5 are what the card lets pass; G6, G8 and G10 the paper's; G2, G4, G7 and G9 what the exact rung expects.
ROWS: list[tuple[str, Callable[[Results], Evidence]]] = [
    ("with the filter no |A| is above 3, in batches of 16, 64 and 256", bounded),
    ("without it some are, in batches of 256", unbounded),
    (
        "with the pre-clip the loss is finite, also after a step of 100 times the size",
        partial(finite, arms=("+ pre-clip", WHOLE)),
    ),
    (
        "after that step the pre-clip's largest loss is lower than Reinforce++'s",
        partial(calmer, figure="shock, loss", arm="+ pre-clip"),
    ),
    ("a vote of 15 ends not lower than a single answer, by more than 0.005", voting),
    (
        "with false labels StableReinforce's success ends above Reinforce++'s",
        partial(leads, method=WHOLE, other=PLAIN, figure="success"),
    ),
    (
        "with the filter alone success ends below Reinforce++'s",
        partial(trails, method="+ filter", other=PLAIN, figure="success"),
    ),
    (
        "after usual steps StableReinforce's largest loss is lower than Reinforce++'s",
        partial(calmer, figure="step, loss", arm=WHOLE),
    ),
    (
        "the reward with consistency ends at more consistent completions than results alone",
        partial(leads, method=WHOLE, other="result only", figure="consistency"),
    ),
    ("StableReinforce's completions get shorter", partial(falls, method=WHOLE, figure="length")),
]
SAMPLED = sampled_claims(ROWS)
