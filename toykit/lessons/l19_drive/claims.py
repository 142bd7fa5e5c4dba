"""The claims of lesson 19 on the exact rung, each a pure function of its results."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import fmean

from toykit.lessons.base import (
    Claim,
    Evidence,
    Results,
    at_most,
    below,
    difference,
    effect,
    printed,
    worst_units,
)
from toykit.lessons.l19_drive.sampled_claims import sampled

# What the card prints as seen when its own numbers were not: seeds 0 to 2, or the mean of seeds 0 to 4.
QUANTILES = (".00016", ".0019", ".0061", ".0189", ".075")
PER_STEP: dict[str, tuple[str, ...]] = {
    "uniform, G = 8": (".287", ".089", ".161"),
    "uniform, G = 64": (".330", ".658", ".327"),
    "hard, G = 8": (".397", ".302", ".238"),
    "hard, G = 64": (".571", ".575", ".575"),
}
EASY = (".008", ".027", ".023")
EQUAL: dict[str, tuple[str, ...]] = {
    "uniform, G = 8": (".803", ".510", ".826", ".178"),
    "uniform, G = 64": (".459", ".097", ".787", ".206"),
    "two stages": (".500", ".322", ".873", ".128"),
    "stage 2 only, the card's": (".098", ".226", ".590", ".417"),
}
FIGURES = ("pass@1", "hard", "pass@64", "unsolved")
BOTH, UNIFORM, ALONE = "two stages", "uniform, G = 8", "stage 2 only"


def counted(results: Results) -> Evidence:
    found = results["counts"]
    expected: Results = {"without error": 24_868, "one value": 903, "functions": 61, "prompts": 48, "programs": 472}
    expected |= {"fewest and most": [2, 52], "solved within five tokens": 9}
    return Evidence(found == expected, list(found.values()), list(expected.values()), tolerance=0.0)


def c1a(results: Results) -> Evidence:
    return at_most(results["groups"]["error"], 1e-12)


def c1b(results: Results) -> Evidence:
    return at_most(results["groups"]["limit"], 1e-6)


def c1c(results: Results) -> Evidence:
    found = results["groups"]
    return printed([*found["factor"], *found["informative"]], ("3.0000", "1.1250", "0.039", "0.274"))


def c1d(results: Results) -> Evidence:
    tries, advantage = results["groups"]["exercise"]
    numbers = printed([tries, advantage], ("138.3", "7.94"))
    return replace(numbers, holds=bool(numbers.holds) and math.ceil(tries) == 139)


def numbers(results: Results) -> Evidence:
    """All numbers that the card reports as seen, to one unit of the last digit that it prints."""
    steps, arms = results["per step"], results["arms"]
    pairs = list(zip(results["quantiles"], QUANTILES, strict=True))
    for name, there in PER_STEP.items():
        pairs += zip(steps[name]["hard"], there, strict=False)
    pairs += zip(steps["hard, G = 64"]["easy"], EASY, strict=False)
    for name, there in EQUAL.items():
        pairs += zip((fmean(arms[name][figure]) for figure in FIGURES), there, strict=True)
    return at_most(worst_units(*zip(*pairs, strict=True)), 1.0)


def arm(results: Results, first: str, second: str, figure: str, part: str = "arms") -> list[float]:
    """A figure of one arm less that of another, seed by seed."""
    return difference(results[part][first][figure], results[part][second][figure])


def more(results: Results, first: str, second: str, figure: str, above: float = 0.0) -> Evidence:
    return effect(arm(results, first, second, figure), above)


def less(results: Results, first: str, second: str, figure: str) -> Evidence:
    return below(arm(results, first, second, figure), 0.0)


def c2(results: Results, prompts: str) -> Evidence:
    """In the mean over seeds, and in every seed as on the card."""
    gains = arm(results, f"{prompts}, G = 64", f"{prompts}, G = 8", "hard", "per step")
    found = effect(gains, 0.0)
    return found if found.holds is None else replace(found, holds=found.holds and min(gains) > 0)


def gained(results: Results, third: str) -> list[float]:
    return difference(results["per step"][UNIFORM][third], results["base"][third])


def c3(results: Results, third: str) -> Evidence:
    """What the medium third gains in 360 uniform steps, less what another gains."""
    return effect(difference(gained(results, "medium"), gained(results, third)), 0.0)


def c3c(results: Results) -> Evidence:
    return effect(results["arms"][UNIFORM]["hard, unsolved"], 0.0)


def c4a(results: Results) -> Evidence:
    """An interval above 0, and a mean above the card's 0.03."""
    found = more(results, BOTH, UNIFORM, "pass@64")
    return found if found.holds is None else replace(found, holds=found.holds and found.measured > 0.03)


def c4c(results: Results, figure: str) -> Evidence:
    """The least lead of the three others over stage 2 only, seed by seed."""
    others = (BOTH, UNIFORM, "uniform, G = 64")
    leads = [arm(results, other, ALONE, figure) for other in others]
    return effect([min(values) for values in zip(*leads, strict=True)], 0.0)


def c4d(results: Results, third: str) -> Evidence:
    """A third of the prompts after 360 steps on the hardest twelve in groups of 64, less its start."""
    return below(difference(results["per step"]["hard, G = 64"][third], results["base"][third]), 0.0)


def c6(results: Results, other: str) -> Evidence:
    return effect(difference(results["entropy"]["short window"], results["entropy"][other]), 0.0)


def s1(results: Results) -> Evidence:
    found = results["trainer"]
    return Evidence(found["error"] <= 1e-12 and found["same prompts"], found["error"], 0.0, tolerance=1e-12)


def s2(results: Results) -> Evidence:
    return at_most(max(results["gradient"].values()), 1e-12)


Row = tuple[str, str, str, Callable[[Results], Evidence]]
EXACT: tuple[Row, ...] = (
    (
        "C0",
        "of six tokens 24,868 programs make no error, 903 leave one value, 472 of them answer 48 prompts",
        "theorem",
        counted,
    ),
    (
        "C1a",
        "P(informative) and h_G(p) are those of all groups, with and without the standard deviation",
        "theorem",
        c1a,
    ),
    ("C1b", "h_G(p) is p sqrt(G - 1) where p is small", "theorem", c1b),
    ("C1c", "8 to 64: 3 times the step, without std 1.125 times; p = .005 shows in 3.9 % and 27.4 %", "theorem", c1c),
    ("C1d", "139 rollouts for an even chance at p = .005, and an advantage of 7.94", "theorem", c1d),
    (
        "C2a",
        "uniform training: after 360 steps G = 64 is ahead on hard prompts, in every seed",
        "effect",
        partial(c2, prompts="uniform"),
    ),
    ("C2b", "so it is on hard prompts only", "effect", partial(c2, prompts="hard")),
    (
        "C2c",
        "at equal rollouts G = 64 ends below G = 8 at pass@1",
        "effect",
        partial(less, first="uniform, G = 64", second=UNIFORM, figure="pass@1"),
    ),
    ("C3a", "uniform training: medium prompts gain more than hard ones", "effect", partial(c3, third="hard")),
    ("C3b", "and more than easy ones", "effect", partial(c3, third="easy")),
    ("C3c", "some hard prompts stay below .01 through all 840 steps", "effect", c3c),
    ("C4a", "two stages end above uniform training at pass@64, by .03 or more in the mean", "effect", c4a),
    (
        "C4b",
        "and leave fewer prompts below .01",
        "effect",
        partial(less, first=BOTH, second=UNIFORM, figure="unsolved"),
    ),
    (
        "C4c",
        "and above it at pass@1 (the paper; the card's toy says no)",
        "effect",
        partial(more, first=BOTH, second=UNIFORM, figure="pass@1"),
    ),
    (
        "C4d",
        "stage 2 only ends below pass@1 = .2, with the card's 138,240 rollouts",
        "effect",
        lambda r: below(r["arms"]["stage 2 only, the card's"]["pass@1"], 0.2),
    ),
    (
        "C4e",
        "and with as many rollouts as the others below each of them at pass@1",
        "effect",
        partial(c4c, figure="pass@1"),
    ),
    ("C4f", "and at pass@64", "effect", partial(c4c, figure="pass@64")),
    ("C4g", "on hard prompts only, easy ones end below their start", "effect", partial(c4d, third="easy")),
    (
        "C5",
        "twelve more prompts in the pool of stage 2 raise pass@1",
        "effect",
        partial(more, first="two stages, more hard prompts", second=BOTH, figure="pass@1"),
    ),
    (
        "C6a",
        "after a stage 1 within five tokens the entropy is above that after six",
        "effect",
        partial(c6, other="whole window"),
    ),
    ("C6b", "and above the base's", "effect", partial(c6, other="base")),
    (
        "C6c",
        "and two stages then end higher at pass@64",
        "effect",
        partial(more, first="two stages, short first", second=BOTH, figure="pass@64"),
    ),
    ("X1", "the numbers that the card reports as seen, to one unit of their last digit", "theorem", numbers),
    (
        "X2",
        "phases that rank what the one before has kept end below those that rank all, at pass@64",
        "effect",
        partial(less, first="two stages, nested", second=BOTH, figure="pass@64"),
    ),
    ("S1", "the Trainer's Curriculum on enumerated programs takes the steps of the flow", "theorem", s1),
    ("S2", "the step from right programs alone is that over all completions", "theorem", s2),
)

CLAIMS = (*(Claim(name, text, kind, "exact", check) for name, text, kind, check in EXACT), *sampled())
