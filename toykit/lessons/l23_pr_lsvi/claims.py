"""The claims of lesson 23, each a pure function of its rung's results."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from statistics import median

from toykit.diagnostics import interval, median_interval
from toykit.lessons.base import (
    Claim,
    Evidence,
    Results,
    at_most,
    below,
    difference,
    effect,
    printed,
    sampled_claims,
)
from toykit.lessons.compare import last, leads, trails

NEAR = 0.9  # of the way from the base's reward to the best


def asked_until(results: Results, arm: str) -> list[tuple[float, bool]]:
    """Comparisons at the first stop at which the policy is `NEAR` the best, and whether it was, a pair a seed."""
    found = []
    for reward, asked in zip(*(results["runs"][arm][name] for name in ("reward", "asked")), strict=True):
        there = [n for n, r in zip(asked, reward, strict=True) if r >= NEAR]
        found.append((there[0], True) if there else (asked[-1], False))
    return found


def sooner(results: Results, than: str) -> Evidence:
    """Where the other arm is not there at the end all that it asked counts; this arm must be there in all seeds."""
    ours, theirs = (asked_until(results, arm) for arm in ("eps 1", than))
    found = below(difference([n for n, _ in ours], [n for n, _ in theirs]), 0.0)
    return replace(found, holds=found.holds and all(there for _, there in ours))


def no_dearer(results: Results) -> Evidence:
    return below(difference(last(results, "eps 1", "regret"), last(results, "every pair", "regret")), 1.0)


def c1a(results: Results) -> Evidence:
    """To 1 %, on the card's pair and ten random ones."""
    return at_most(results["statistic"]["largest error"], 0.01)


def c1b(results: Results) -> Evidence:
    return printed([results["statistic"]["closed"], results["best"]], ("0.76678", "3.457"))


def c2a(results: Results) -> Evidence:
    """The largest share of what is allowed, over all seeds and eps, learners and greedy streams."""
    shares = [found["asked"] / found["bound"] for found in results["bounds"].values()]
    shares += [found["greedy"] / results["bounds"][eps]["bound"] for eps, found in results["silence"].items()]
    return Evidence(max(shares) <= 1, max(shares), "<= 1", tolerance=0.0)


def c2b(results: Results) -> Evidence:
    return printed([found["bound"] for found in results["bounds"].values()], ("3445", "660", "111", "80"))


def c3(results: Results) -> Evidence:
    """None after, and all streams got there."""
    found = results["silence"].values()
    after, reached = sum(one["after"] for one in found), all(one["quiet"] == len(one["before"]) for one in found)
    return Evidence(after == 0 and reached, {"asked after": after, "all quiet": reached}, "0, true", tolerance=0.0)


def arm(results: Results, name: str, figure: str = "regret") -> list[float]:
    """A figure of an arm of the exact rung, one a seed."""
    return results["runs"][name][figure]


def times(results: Results, name: str, other: str, factor: float) -> Evidence:
    """The median over seeds of the ratio of two regrets lies above 1 with its 95 % interval, and the ratio of the two
    medians (the card's gate) above `factor`."""
    pairs = list(zip(arm(results, name), arm(results, other), strict=True))
    expected = f"> 1; of the medians > {factor:g}"
    gate = median(a for a, _ in pairs) / median(b for _, b in pairs)
    if len(pairs) < 6:
        return Evidence(None, {"of the medians": gate}, f"{expected}, over 6 seeds or more")
    found = median_interval([a / b for a, b in pairs])
    measured = {"median ratio": found.mean, "of the medians": gate}
    return Evidence(found.low > 1 and gate > factor, measured, expected, interval=(found.low, found.high))


def c4d(results: Results) -> Evidence:
    """Greedy: 2 lost in every episode of every seed, and nothing asked. With noise every seed asks, and most learn."""
    greedy, noisy = (results["two_arms"][name] for name in ("no noise", "eps 0.25"))
    all_lost = 2.0 * greedy["episodes"]
    measured = {"lost": min(greedy["regret"]), "asked": max(greedy["queries"]), "with noise": median(noisy["regret"])}
    stuck = set(greedy["regret"]) == {all_lost} and measured["asked"] == 0
    holds = stuck and min(noisy["queries"]) > 0 and measured["with noise"] < all_lost / 4
    return Evidence(holds, measured, f"{all_lost:g}, 0, < {all_lost / 4:g}", tolerance=0.0)


def c4b(results: Results) -> Evidence:
    """What an episode loses at the end, without noise less with it."""
    return effect(difference(arm(results, "no noise", "late"), arm(results, "eps 0.25", "late")), above=0.0)


def falling(found: Results, figure: str, names: tuple[str, ...]) -> Evidence:
    """Each falls from one to the next; the evidence is that of the least certain step."""
    steps = [effect(difference(found[a][figure], found[b][figure]), above=0.0) for a, b in pairwise(names)]
    return min(steps, key=lambda one: -math.inf if one.interval is None else one.interval[0])


def overlap(found: Results, name: str, other: str) -> Evidence:
    """The 95 % intervals of the two mean regrets overlap (the card's gate); the evidence is the paired difference's."""
    gap = effect(difference(found[name]["regret"], found[other]["regret"]), above=0.0)
    if gap.interval is None:
        return replace(gap, holds=None, expected="intervals overlap, over 5 seeds or more")
    one, two = (interval(found[which]["regret"]) for which in (name, other))
    return replace(gap, holds=one.low <= two.high and two.low <= one.high, expected="intervals overlap")


def c5c(results: Results) -> Evidence:
    """What eps 0 asks, less three times what eps 0.5 asks."""
    every, few = (arm(results, f"eps {eps}", "queries") for eps in ("0", "0.5"))
    found = effect([a - 3 * b for a, b in zip(every, few, strict=True)], above=0.0)
    same = overlap(results["runs"], "eps 0.5", "eps 0").holds
    return replace(found, holds=None if found.holds is None else found.holds and bool(same))


def p3(results: Results) -> Evidence:
    return effect(difference(*(results["thompson"][eps]["mass"] for eps in ("0", "2"))), above=0.0)


EPS = ("0", "0.25", "0.5", "1", "1.5")
# C1 to C3, C4a, C5a, C5b and C6 are the card's, with its gates, and C7 is its direction; the others are our own.
EXACT: tuple[tuple[str, str, str, Callable[[Results], Evidence]], ...] = (
    ("C1a", "theorem", "the query statistic is 2 sigma |x| / sqrt(pi), in the norm of the inverse precision", c1a),
    ("C1b", "theorem", "the card's numbers of the statistic, and of the best value", c1b),
    ("C2a", "theorem", "no learner and no stream of pairs asks more than the elliptical potential allows", c2a),
    ("C2b", "theorem", "the bound's numbers for eps 0.25, 0.5, 1 and 1.5", c2b),
    ("C3", "theorem", "once no pair that can happen is worth asking, none is asked again", c3),
    (
        "C4a",
        "effect",
        "greedy learning, without noise or truncation, has five times the regret",
        partial(times, name="no noise", other="eps 0.25", factor=5.0),
    ),
    ("C4b", "effect", "and its last 100 episodes still lose more: some seeds are stuck", c4b),
    (
        "C4c",
        "effect",
        "the optimistic truncation alone, without noise, takes part of that away",
        partial(times, name="no noise", other="no noise, truncated", factor=1.0),
    ),
    ("C4d", "theorem", "with two actions and one step, greedy learning never asks and loses for ever", c4d),
    (
        "C5a",
        "effect",
        "a larger eps asks less, at every step from 0 to 1.5",
        lambda r: falling(r["runs"], "queries", tuple(f"eps {eps}" for eps in EPS)),
    ),
    (
        "C5b",
        "effect",
        "the regret with eps 0.25 is that with eps 0, as far as 20 seeds can tell",
        lambda r: overlap(r["runs"], "eps 0.25", "eps 0"),
    ),
    ("C5c", "effect", "eps 0.5 asks less than a third of what eps 0 asks, at no clear cost", c5c),
    (
        "C6",
        "effect",
        "asking one pair in twenty at random has more regret than eps 1, with about as many queries",
        partial(times, name="passive 0.05", other="eps 1", factor=1.0),
    ),
    (
        "C7",
        "effect",
        "comparing two trajectories of one policy has more regret than comparing with the policy before",
        partial(times, name="same policy", other="eps 0.25", factor=1.0),
    ),
    (
        "P1",
        "effect",
        "Thompson sampling: a larger eps asks less, at every step from 0 to 2",
        lambda r: falling(r["thompson"], "queries", ("0", "0.05", "0.2", "0.5", "1", "2")),
    ),
    (
        "P2",
        "effect",
        "Thompson sampling: the regret with eps 0.05 is that with eps 0, as far as 60 seeds can tell",
        lambda r: overlap(r["thompson"], "0.05", "0"),
    ),
    ("P3", "effect", "Thompson sampling: with eps 2 the truth has less posterior mass at the end", p3),
)


# The first two are the card's; the others were set down with them, before the first full run.
SAMPLED: tuple[tuple[str, Callable[[Results], Evidence]], ...] = (
    (
        "with eps 1 the policy is 90 % of the way to the best after fewer comparisons than with every pair asked",
        partial(sooner, than="every pair"),
    ),
    ("and than with one pair in ten asked at random", partial(sooner, than="passive 0.1")),
    (
        "its regret is lower than with one pair in ten at random",
        partial(trails, method="eps 1", other="passive 0.1", figure="regret"),
    ),
    ("its regret is at most 1 above that of asking every pair", no_dearer),
    (
        "without noise the regret is higher",
        partial(leads, method="no noise", other="eps 1", figure="regret"),
    ),
    (
        "a larger eps asks less: 2 against 0.5",
        partial(trails, method="eps 2", other="eps 0.5", figure="asked"),
    ),
    ("with eps 1 the policy ends more than 90 % of the way", lambda r: effect(last(r, "eps 1", "reward"), NEAR)),
)

CLAIMS = (
    *(Claim(name, text, kind, "exact", check) for name, kind, text, check in EXACT),
    *sampled_claims(SAMPLED),
)
