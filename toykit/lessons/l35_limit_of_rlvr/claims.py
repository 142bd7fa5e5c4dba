"""The exact claims of lesson 35, each a pure function of the results; the directions are those of the paper."""

from __future__ import annotations

import math
from functools import partial
from statistics import fmean

from toykit.lessons.base import Claim, Evidence, Results, at_most, below, difference, effect

AFTER = (200, 800, 2000)  # the steps at which the curves of every seed are to cross
FEW = 0.02  # the share of problems that RL may win and the set still counts as (almost) empty


def missed(results: Results, method: str, step: int) -> list[list[float]]:
    """1 - pass@k [seed][k] of a method at a step of the exact rung."""
    return results["missed"][method][results["steps"].index(step)]


def raised(results: Results, k: int, step: int = 2000) -> list[float]:
    """RL's pass@k minus the base's, seed by seed."""
    at = results["ks"].index(k)
    pairs = zip(missed(results, "RL", 0), missed(results, "RL", step), strict=True)
    return [before[at] - after[at] for before, after in pairs]


def c2a(results: Results) -> Evidence:
    return effect(raised(results, 1), above=0.0)


def c2b(results: Results) -> Evidence:
    return effect([-change for change in raised(results, 256)], above=0.0)


def c2c(results: Results) -> Evidence:
    """The share of the steps at which RL is above the base at k = 1 and below it at k = 256, seed by seed."""
    crossed = [
        [up > 0 > down for up, down in zip(raised(results, 1, t), raised(results, 256, t), strict=True)] for t in AFTER
    ]
    return effect([sum(steps) / len(AFTER) for steps in zip(*crossed, strict=True)], above=0.99)


def c1a(results: Results) -> Evidence:
    return at_most(results["estimator"]["unbiased_error"], 1e-12)


def c1b(results: Results) -> Evidence:
    found = results["estimator"]
    low, first = found["plug_in_log_ratio"], found["plug_in_error_at_1"]
    measured = {"least log ratio of misses, k >= 2": low, "error at k = 1": first}
    return Evidence(low > 1e-9 and first <= 1e-12, measured, "> 0, 0", tolerance=1e-12)


def shares(results: Results) -> dict[str, list[float]]:
    """The shares of problems in the four cells of the solvable-set table, seed by seed."""
    cells = results["solvable"]
    totals = [sum(of_seed) for of_seed in zip(*cells.values(), strict=True)]
    return {name: [c / t for c, t in zip(cell, totals, strict=True)] for name, cell in cells.items()}


def c3a(results: Results) -> Evidence:
    return below(shares(results)["only RL"], FEW)


def c3b(results: Results) -> Evidence:
    return effect(shares(results)["only base"], above=0.0)


def more_surprising(results: Results, more: str, less: str) -> Evidence:
    """The base's perplexity of one set of completions minus that of another, means over prompts, seed by seed."""
    more_of, less_of = ([*map(fmean, results["perplexity"]["prompt"][whose])] for whose in (more, less))
    return effect(difference(more_of, less_of), above=0.0)


def by_seed(gaps: dict[str, list[float]]) -> list[tuple[float, ...]]:
    return list(zip(*gaps.values(), strict=True))


def c5a(results: Results) -> Evidence:
    return effect([min(gaps) for gaps in by_seed(results["algorithms"]["gap"])], above=0.0)


def c5b(results: Results) -> Evidence:
    """The smallest gap minus the spread of the gaps, seed by seed."""
    return effect([min(gaps) - (max(gaps) - min(gaps)) for gaps in by_seed(results["algorithms"]["gap"])], above=0.0)


def log_ratios(base: list[list[float]], other: list[list[float]]) -> list[float]:
    """The least over k of log(the base's misses / the other's), seed by seed; 1e-300 stands for none."""
    return [
        min(math.log(max(a, 1e-300) / max(b, 1e-300)) for a, b in zip(mine, yours, strict=True))
        for mine, yours in zip(base, other, strict=True)
    ]


def c6(results: Results) -> Evidence:
    return effect(log_ratios(missed(results, "distilled", 0), missed(results, "distilled", 800)), above=0.0)


def c7a(results: Results) -> Evidence:
    found, at = results["algorithms"], results["ks"].index(256)
    pairs = zip(found["missed"]["GRPO"], found["large_groups"], strict=True)
    return effect([small[at] - large[at] for small, large in pairs], above=0.0)


def hot(results: Results) -> Evidence:
    at = results["ks"].index(256)
    pairs = zip(results["temperature"]["missed"], missed(results, "RL", 0), strict=True)
    return effect([after[at] - base[at] for after, base in pairs], above=0.0)


def orthogonal(results: Results) -> Evidence:
    """Along the whole path every p_x has risen between any two snapshots, and no curve is below the base's."""
    found = results["orthogonal"]
    measured = {"smallest rise of a p_x": found["smallest_rise"], "most missed more": found["largest_rise_missed"]}
    holds = found["smallest_rise"] > 0 and found["largest_rise_missed"] <= 0
    return Evidence(holds, measured, "> 0, <= 0", tolerance=0.0)


def s1(results: Results) -> Evidence:
    return at_most(max(results["trainer"]["errors"].values()), 1e-12)


THEOREM, EFFECT = "theorem", "effect"
EXACT = (
    ("C1a", THEOREM, "the estimate 1 - C(n-c, k) / C(n, k) of pass@k is unbiased for every n >= k", c1a),
    ("C1b", THEOREM, "the plug-in 1 - (1 - c/n)^k is biased low for every k >= 2", c1b),
    ("C2a", EFFECT, "RL ends with a higher pass@1 than the base", c2a),
    ("C2b", EFFECT, "RL ends with a lower pass@256 than the base", c2b),
    ("C2c", EFFECT, "the two curves cross in every seed, at steps 200, 800 and 2000", c2c),
    ("C3a", EFFECT, "at most 2 % of the problems are solvable (k = 1024) for RL and not for the base", c3a),
    ("C3b", EFFECT, "some are solvable for the base and no longer for RL", c3b),
    (
        "C4a",
        EFFECT,
        "RL's answers are less surprising to the base than its own: PPL_base(RL) < PPL_base(base)",
        partial(more_surprising, more="base(base)", less="base(RL)"),
    ),
    (
        "C4b",
        EFFECT,
        "the right answers are more surprising to it: PPL_base(right) > PPL_base(base)",
        partial(more_surprising, more="base(right)", less="base(base)"),
    ),
    ("C5a", EFFECT, "every algorithm leaves a gap: base pass@256 minus RL pass@1 is above 0", c5a),
    ("C5b", EFFECT, "the algorithms' gaps differ by less than the smallest of them", c5b),
    ("C6", EFFECT, "distillation misses fewer problems than the base at every k (log ratio)", c6),
    ("C7a", EFFECT, "groups of 32 instead of 8 raise GRPO's pass@256 at the same step", c7a),
    ("E1", EFFECT, "RL heated to the base's entropy is still below the base at k = 256", hot),
    ("X1", THEOREM, "without shared features every p_x rises and no curve crosses the base's", orthogonal),
    ("S1", THEOREM, "the Trainer takes the exact steps of RL and of distillation (same code)", s1),
)

EXACT_CLAIMS = tuple(Claim(name, text, kind, "exact", check) for name, kind, text, check in EXACT)
