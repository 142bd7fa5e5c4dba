"""The claims of lesson 19 on the rungs that sample."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from toykit.lessons.base import Claim, Evidence, Results, difference, effect, sampled_claims
from toykit.lessons.compare import falls, last, leads, trails

UNIFORM, LARGE, SECOND, BOTH, SHORT = (
    "uniform, G = 8",
    "uniform, G = 64",
    "stage 2 only",
    "two stages",
    "two stages, short first",
)
FIRST = 2  # the stop at which stage 1 ends


def after_first(results: Results, arm: str, figure: str) -> list[float]:
    """A figure where stage 1 ends, one value a seed."""
    at = min(FIRST, len(results["stops"]) - 1)
    return [path[at] for path in results["runs"][arm][figure]]


def more_entropy(results: Results) -> Evidence:
    """Where stage 1 ends."""
    return effect(difference(*(after_first(results, arm, "token entropy") for arm in (SHORT, BOTH))), above=0.0)


def above_the_base(results: Results) -> Evidence:
    """The entropy where stage 1 ends, less that of the base."""
    before = [path[0] for path in results["runs"][SHORT]["token entropy"]]
    return effect(difference(after_first(results, SHORT, "token entropy"), before), above=0.0)


def gains_more(results: Results, third: str, other: str) -> Evidence:
    """What a third of the prompts gains under uniform training, less what another gains."""
    first, second = (
        difference(last(results, UNIFORM, name), [path[0] for path in results["runs"][UNIFORM][name]])
        for name in (third, other)
    )
    return effect(difference(first, second), above=0.0)


def sampled() -> tuple[Claim, ...]:
    """G1 to G3 and G6 to G8 are the directions of the card's toy; G4, G5, G9 and G11 to G15 those of the paper, of
    which G4 and G5 are against the card's toy; G10 is ours. All were set down before the first full run, but after
    pilots of seed 9 that chose the size of the base and the learning rate."""
    rows: list[tuple[str, Callable[[Results], Evidence]]] = [
        (
            "two stages end above uniform training at pass@64",
            partial(leads, method=BOTH, other=UNIFORM, figure="pass@64"),
        ),
        ("with fewer prompts below 0.01", partial(trails, method=BOTH, other=UNIFORM, figure="unsolved")),
        ("and above stage 2 only at pass@64", partial(leads, method=BOTH, other=SECOND, figure="pass@64")),
        (
            "two stages end above uniform training at pass@1",
            partial(leads, method=BOTH, other=UNIFORM, figure="pass@1"),
        ),
        ("and on the hard third", partial(leads, method=BOTH, other=UNIFORM, figure="hard")),
        (
            "stage 2 only ends below uniform training at pass@1",
            partial(trails, method=SECOND, other=UNIFORM, figure="pass@1"),
        ),
        (
            "uniform training in groups of 64 ends below that in groups of 8 at pass@1",
            partial(trails, method=LARGE, other=UNIFORM, figure="pass@1"),
        ),
        ("stage 2 only loses on the easy third", partial(falls, method=SECOND, figure="easy")),
        ("two stages end above stage 2 only at pass@1", partial(leads, method=BOTH, other=SECOND, figure="pass@1")),
        ("uniform training loses pass@64", partial(falls, method=UNIFORM, figure="pass@64")),
        ("after a shorter window in stage 1 the entropy is above that after the whole window", more_entropy),
        ("and above the base's", above_the_base),
        (
            "by uniform training the medium third gains more than the hard one",
            partial(gains_more, third="medium", other="hard"),
        ),
        ("and more than the easy one", partial(gains_more, third="medium", other="easy")),
        (
            "two stages with the shorter window end above those without it at pass@64",
            partial(leads, method=SHORT, other=BOTH, figure="pass@64"),
        ),
    ]
    return sampled_claims(rows)
