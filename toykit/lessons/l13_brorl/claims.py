"""The claims of lesson 13, each a pure function of its rung's results."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

from toykit.lessons.base import Claim, Evidence, Results, at_most, difference, effect
from toykit.lessons.compare import last
from toykit.lessons.l13_brorl.sampled import BROAD, NARROW


def c1(results: Results) -> Evidence:
    return at_most(results["identity"]["sets"], 1e-9)


def c2a(results: Results) -> Evidence:
    least = results["signs"]["smallest_sampled"]
    return Evidence(least >= -1e-15, least, ">= 0", tolerance=1e-15)


def c2b(results: Results) -> Evidence:
    """There are draws that lower Q_pos, and in each the unsampled term is negative."""
    found = results["signs"]
    guilty, here = found["largest_unsampled_in_harm"], results["chance"]["path"][0]
    measured = {"harmful sets": found["harmful_sets"], "largest unsampled term in them": guilty, "P at N = 1": here}
    return Evidence(found["harmful_sets"] > 0 and guilty < 0 and here > 0, measured, "> 0, < 0, > 0", tolerance=0.0)


def c3a(results: Results) -> Evidence:
    found = results["lemma"]
    falls = all(a > b for a, b in pairwise(found["values"]))
    return Evidence(falls and found["error"] <= 1e-12, found["error"], 0.0, tolerance=1e-12)


def c3b(results: Results) -> Evidence:
    """Strictly falling from N = 1 to 12, by the law of the drawn set, which agrees with all draws."""
    found = results["chance"]
    falls = all(a > b for a, b in pairwise(found["path"]))
    measured = {"N = 1": found["path"][0], "N = 5": found["path"][4], "N = 12": found["path"][-1]}
    return Evidence(falls and found["error"] <= 1e-12, measured, "falling", tolerance=1e-12)


def c3c(results: Results) -> Evidence:
    """P = (.10, .44, .45) correct and .01 wrong: 0.1 with one draw, 0.19 with two."""
    path = results["chance"]["rising_path"]
    error = max(abs(path[0] - 0.1), abs(path[1] - 0.19))
    return Evidence(error <= 1e-12 and path[-1] < path[0], path[:2], [0.1, 0.19], tolerance=1e-12)


def c6(results: Results) -> Evidence:
    least = results["informative"]["least_growth"]
    return Evidence(least > 0, least, "> 0", tolerance=0.0)


def d1(results: Results) -> Evidence:
    """Rule and step agree on each of the 100 tokens of each start; the counts are the card's."""
    found = results["losers"]
    wrong = sum(part["disagree"] for parts in found.values() for part in parts.values())
    counts = {name: found[name]["ratio"]["by step"] for name in ("spread 0.3", "spread 1")}
    measured = {"tokens on which they disagree": wrong} | {f"losers, {name}": n for name, n in counts.items()}
    return Evidence(wrong == 0 and list(counts.values()) == [8, 78], measured, "0, 8, 78", tolerance=0.0)


def d2(results: Results) -> Evidence:
    found = results["multiplicity"]
    error = max(abs(found["counts"] + 0.02), results["identity"]["counts"])
    return Evidence(error <= 1e-9 and found["sets"] > 0, found, "-0.02, > 0", tolerance=1e-9)


def of(results: Results, start: str, figure: str, draws: int) -> list[Any]:
    """A figure of the sampled runs with this number of draws, one value a seed (the mass: at the end)."""
    found = results["sampled"][start]
    values = found[figure][found["draws"].index(draws)]
    return [v[-1] for v in values] if figure == "mass" else values


def c4a(results: Results) -> Evidence:
    """The least gain in final Q_pos from one N to the next, seed by seed."""
    masses = [of(results, "equal", "mass", n) for n in results["sampled"]["equal"]["draws"]]
    gains = [difference(b, a) for a, b in pairwise(masses)]
    return effect([min(step) for step in zip(*gains, strict=True)], above=0.0)


def c4b(results: Results) -> Evidence:
    """The least share that improves with N >= 16 minus the one with N = 4; every token improves with N >= 16."""
    broad = [of(results, "equal", "improved", n) for n in results["sampled"]["equal"]["draws"] if n >= 16]
    least = [min(shares) for shares in zip(*broad, strict=True)]
    found = effect(difference(least, of(results, "equal", "improved", 4)), above=0.0)
    return _and(found, min(least) == 1)


def c4c(results: Results) -> Evidence:
    """The worst change at N = 8192, seed by seed."""
    return effect(of(results, "equal", "worst", 8192), above=0.0)


def x_falls(results: Results, figure: str) -> Evidence:
    """The unequal start: the figure with N = 16 minus the one with N = 8192."""
    return effect(difference(of(results, "unequal", figure, 16), of(results, "unequal", figure, 8192)), above=0.0)


def x3(results: Results) -> Evidence:
    return effect(difference(of(results, "unequal", "mass", 8192), of(results, "unequal", "mass", 16)), above=0.0)


def x4(results: Results) -> Evidence:
    """The share that loses in the limit, one value for each of five draws of the logits."""
    return effect(results["limit"]["p"]["losing_by_draw"], above=0.0)


def x5(results: Results) -> Evidence:
    """The worst change of a correct token in the limit with the ratio, one value for each draw of the logits."""
    return effect(results["limit"]["ratio"]["worst_by_draw"], above=0.0)


def _and(found: Evidence, also: bool) -> Evidence:
    holds = None if found.holds is None else found.holds and also
    return Evidence(holds, found.measured, found.expected, interval=found.interval)


THEOREMS = (
    ("C1", "the mass balance is the derivative of Q_pos, term by term, for every draw", c1),
    ("C2a", "the terms of the sampled tokens are >= 0 for every set of sampled tokens, if R_w <= 0 <= R_c", c2a),
    ("C2b", "the term of the unsampled tokens alone can make dQ_pos < 0, and does", c2b),
    ("C3a", "E of the unsampled second moment is sum p^2 (1 - p)^N, strictly decreasing in N", c3a),
    ("C3b", "P(dQ_pos < 0) falls with every further draw in the example of six tokens", c3b),
    ("C3c", "but not at every policy: it can rise from N = 1 to N = 2", c3c),
    ("C6", "a larger group has both right and wrong answers more often, at every success rate 0 < p < 1", c6),
    ("D1", "a correct token loses in the limit iff p_j (R_j - J) < sum p_k^2 (R_k - J)", d1),
    ("D2", "with multiplicities the first term can be negative; the balance stays exact", d2),
)
EFFECTS = (
    ("C4a", "equal correct tokens: Q_pos grows faster with every larger N", c4a),
    ("C4b", "equal correct tokens: from N = 16 on all of them improve, with N = 4 not", c4b),
    ("C4c", "equal correct tokens: with N = 8192 even the worst of them gains", c4c),
    ("X1", "unequal correct tokens: fewer improve with N = 8192 than with N = 16", partial(x_falls, figure="improved")),
    ("X2", "unequal correct tokens: the worst falls deeper with N = 8192", partial(x_falls, figure="worst")),
    ("X3", "while Q_pos still grows faster with N = 8192", x3),
    ("X4", "unequal correct tokens: some lose with N = inf (the surrogate with p, Adam)", x4),
    ("X5", "with the ratio of PPO and GRPO in place of p, even the worst gains in Adam's limit", x5),
)


def spreads(results: Results, arm: str) -> Evidence:
    """The share of informative groups at the end, minus the one of the narrow arm, seed by seed."""
    return effect(difference(last(results, arm, "informative"), last(results, NARROW, "informative")), above=0.0)


def wins(results: Results, arm: str) -> Evidence:
    """Held-out pass@1 at the end, minus the one of the narrow arm, seed by seed."""
    return effect(difference(last(results, arm, "test_1"), last(results, NARROW, "test_1")), above=0.0)


def sampled(rung: str, letter: str) -> tuple[Claim, ...]:
    """The claims of a rung that samples.

    The direction of the first two is the card's; the others test C5 in the paper's direction, which the card does not
    assume. None was chosen after a run. What else was measured is reported with its interval (`sampled.reported`).
    """
    rows = [(f"a larger group is informative more often, after equal samples: {arm}", spreads, arm) for arm in BROAD]
    rows += [(f"as in the paper, held-out pass@1 ends higher: {arm}", wins, arm) for arm in BROAD]
    return tuple(
        Claim(f"{letter}{i}", text, "effect", rung, partial(check, arm=arm))
        for i, (text, check, arm) in enumerate(rows, start=1)
    )


CLAIMS = (
    *(Claim(name, text, "theorem", "exact", check) for name, text, check in THEOREMS),
    *(Claim(name, text, "effect", "exact", check) for name, text, check in EFFECTS),
    *sampled("gpt", "G"),
    *sampled("llm", "L"),
)
