"""The claims of lesson 31, each a pure function of its rung's results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from toykit.diagnostics import interval
from toykit.lessons.base import Claim, Evidence, Results, below, difference, effect
from toykit.lessons.compare import last
from toykit.lessons.l31_survey.sampled import LLM_ARMS, METHODS, slope


def gain(results: Results, name: str) -> list[float]:
    """Held-out accuracy of a method at the end less that of the base policy, seed by seed."""
    return [end - results["base"] for end in last(results, name, "accuracy")]


def improves(results: Results, name: str) -> Evidence:
    return effect(gain(results, name), above=0.0)


def leads(results: Results, name: str, other: str) -> Evidence:
    return effect(difference(gain(results, name), gain(results, other)), above=0.0)


def agree(results: Results, name: str, other: str) -> Evidence:
    """The interval of the difference holds 0."""
    values = difference(gain(results, name), gain(results, other))
    if len(values) < 5:
        return Evidence(None, sum(values) / len(values), "interval holds 0, over 5 seeds or more")
    found = interval(values)
    return Evidence(found.low <= 0 <= found.high, found.mean, "interval holds 0", interval=(found.low, found.high))


def exponent(results: Results, bound: Callable[..., Evidence], at: float) -> Evidence:
    return bound([slope(stds) for stds in results["noise"]], at)


def sampled(rung: str, letter: str, names: Sequence[str]) -> tuple[Claim, ...]:
    """The claims of a rung that samples; all were set down before its first run.

    That every method improves on the base, and that RLOO and Dr. GRPO agree, is the card's; a judge's errors and the
    group's noise have the direction that theory gives. What else was measured is told with its interval
    (`sampled.reported`).
    """
    found: list[tuple[str, Callable[[Results], Evidence]]] = [
        (f"{name} ends more accurate than the base policy, held out", partial(improves, name=name)) for name in names
    ]
    if rung == "gpt":
        found += [
            (
                "RLOO and Dr. GRPO, whose expected gradients are parallel, end alike",
                partial(agree, name="RLOO", other="Dr. GRPO"),
            ),
            (
                "a judge that errs in a fifth of the pairs costs accuracy: BT + PPO ends above RLAIF",
                partial(leads, name="BT + PPO", other="RLAIF"),
            ),
            (
                "ILQL gains by its rewards: it ends above the same decoding learned without them",
                partial(leads, name="ILQL", other="ILQL, no rewards"),
            ),
            ("the noise of RLOO's gradient falls at least as G^-0.4", partial(exponent, bound=below, at=-0.4)),
            ("and not faster than G^-0.6", partial(exponent, bound=effect, at=-0.6)),
        ]
    return tuple(Claim(f"{letter}{i}", text, "effect", rung, check) for i, (text, check) in enumerate(found, start=1))


CLAIMS = (
    *sampled("gpt", "G", METHODS),
    *sampled("llm", "L", LLM_ARMS),
)
