"""The claims of lesson 02, each a pure function of its rung's results."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

from toykit.lessons.base import Claim, Evidence, Results, at_most, below, difference, effect
from toykit.lessons.compare import last

CARD_STEPS = {
    "exact policy gradient": [23, 47, 124, 480],
    "GRPO": [11, 23, 54, 191],
    "log-likelihood": [18, 23, 26, 29],
}


def c1(results: Results) -> Evidence:
    """The error per unit of step falls tenfold with the step, in every world."""
    errors = results["identity"]["errors"]
    ratios = [a / b for larger, smaller in pairwise(errors) for a, b in zip(larger, smaller, strict=True)]
    worst = max(abs(ratio - 10) for ratio in ratios)
    measured = {"|ratio - 10|": worst, "error / step at the least": max(errors[-1])}
    return Evidence(worst <= 1 and max(errors[-1]) < 1e-6, measured, "<= 1, < 1e-6", tolerance=1.0)


def c2(results: Results) -> Evidence:
    return at_most(max(results["groups"]["errors"].values()), 1e-12)


def at(results: Results, method: str, k: int, when: str = "pass") -> list[float]:
    """pass@k of a method by seed, at the end or (`when` "pass_before") at the base."""
    return [curve[results["ks"].index(k)] for curve in results["runs"][method][when]]


def ratio(part: list[float], whole: list[float]) -> list[float]:
    """part / whole, seed by seed; infinite where there is no whole, so that nothing is decided."""
    return [p / w if w > 0 else math.inf for p, w in zip(part, whole, strict=True)]


def restored(results: Results, method: str, k: int = 256) -> list[float]:
    """The share of the pass@k lost by GRPO that a method keeps, by seed: 0 for GRPO, 1 for the base."""
    grpo = at(results, "GRPO", k)
    lost = difference(at(results, "GRPO", k, "pass_before"), grpo)
    return ratio(difference(at(results, method, k), grpo), lost)


def c3a(results: Results) -> Evidence:
    return effect(difference(at(results, "GRPO", 1), at(results, "GRPO", 1, "pass_before")), above=0.2)


def c3b(results: Results) -> Evidence:
    return effect(difference(at(results, "GRPO", 256, "pass_before"), at(results, "GRPO", 256)), above=0.1)


def c3c(results: Results) -> Evidence:
    return below(results["runs"]["GRPO"]["delta_plus"], 0.0)


def c4a(results: Results) -> Evidence:
    return effect(results["runs"]["GRPO"]["rank"], above=0.5)


def c4b(results: Results) -> Evidence:
    """Steps for each further unit of 1/p_0, between the two rarest prompts: 7/8 over the step size times w'(0),
    which is 1 for the exact gradient and sqrt(7) for groups of 8."""
    found = results["independent"]
    further = 1 / found["p"][-1] - 1 / found["p"][-2]
    slopes = {rule: (found["steps"][rule][-1] - found["steps"][rule][-2]) / further for rule in found["steps"]}
    expected = {"exact policy gradient": 1.75, "GRPO": 1.75 / math.sqrt(7)}
    worst = max(abs(slopes[rule] / value - 1) for rule, value in expected.items())
    return Evidence(worst <= 0.05, {rule: slopes[rule] for rule in expected}, expected, tolerance=0.05)


def c4c(results: Results) -> Evidence:
    return effect(results["runs"]["GRPO, nothing shared"]["rank"], above=0.5)


def c5a(results: Results) -> Evidence:
    return effect(difference(at(results, "SELF", 256), at(results, "GRPO", 256)), above=0.1)


def c5b(results: Results) -> Evidence:
    kept = [a / b for a, b in zip(at(results, "SELF", 1), at(results, "GRPO", 1), strict=True)]
    return effect(kept, above=0.9)


def c6a(results: Results) -> Evidence:
    return below(restored(results, "GRPO + reverse KL"), 0.1)


def c6b(results: Results) -> Evidence:
    return effect(restored(results, "GRPO + forward KL"), above=0.0)


def c6c(results: Results) -> Evidence:
    return effect(difference(restored(results, "SELF"), restored(results, "GRPO + forward KL")), above=0.0)


def c6d(results: Results) -> Evidence:
    return effect(difference(restored(results, "SELF"), restored(results, "filter")), above=0.0)


def c7(results: Results) -> Evidence:
    """Orthogonal features, from the card's own base and from that of the shared worlds."""
    found = (results["orthogonal"], results["runs"]["GRPO, nothing shared"])
    least, of_pass = (min(run[name] for run in found) for name in ("least_rise", "least_rise_of_pass"))
    measured = {"least rise of p": least, "of pass@k": of_pass}
    return Evidence(least > 0 and of_pass >= -1e-12, measured, "> 0, >= 0", tolerance=1e-12)


def c8(results: Results) -> Evidence:
    """The card's table: every prompt is solved, the rare ones late; with the weight 1 - p the delay all but ends."""
    found = results["independent"]
    off = max(
        abs(a - b) for rule, steps in CARD_STEPS.items() for a, b in zip(found["steps"][rule], steps, strict=True)
    )
    solved = min(min(steps) for steps in found["steps"].values()) >= 0
    return Evidence(off == 0 and solved and found["least_rise"] > 0, found["steps"], CARD_STEPS, tolerance=0.0)


def s1(results: Results) -> Evidence:
    return at_most(max(results["trainer"]["errors"].values()), 1e-12)


EXACT: tuple[tuple[str, str, str, Callable[[Results], Evidence]], ...] = (
    ("C1", "theorem", "the influences add up to the change of log p, with an error of second order", c1),
    ("C2", "theorem", "the expected group update is w(p) times the policy gradient over p(1 - p)", c2),
    ("C3a", "effect", "GRPO raises pass@1 by more than 0.2", c3a),
    ("C3b", "effect", "GRPO lowers pass@256 by more than 0.1", c3b),
    ("C3c", "effect", "GRPO makes right base answers less likely: Δ+ < 0", c3c),
    ("C4a", "effect", "who was likely wins: rank correlation of base and final success above 0.5", c4a),
    ("C4b", "theorem", "on policy the time to solve a prompt grows like 1/p0", c4b),
    ("C4c", "effect", "the order stays without sharing too (same correlation above 0.5): order alone is no loss", c4c),
    ("C5a", "effect", "SELF's pass@256 is above GRPO's by more than 0.1", c5a),
    ("C5b", "effect", "SELF keeps more than 90 % of GRPO's pass@1, as in the paper", c5b),
    ("C6a", "effect", "reverse KL restores less than a tenth of the pass@256 that GRPO loses", c6a),
    ("C6b", "effect", "forward KL restores a part of it", c6b),
    ("C6c", "effect", "filter and forward KL restore more than forward KL alone", c6c),
    ("C6d", "effect", "filter and forward KL restore more than the filter alone", c6d),
    ("C7", "theorem", "without sharing no success rate and no pass@k ever falls", c7),
    ("C8", "theorem", "independent prompts are all solved, the rare ones late, in just so many steps", c8),
    ("S1", "theorem", "the Trainer on enumerated rollouts takes SELF's exact steps (same code)", s1),
)


def drop(results: Results, method: str, figure: str) -> list[float]:
    """How much a figure has fallen since the first stop, seed by seed."""
    return [path[0] - path[-1] for path in results["runs"][method][figure]]


def gains(results: Results) -> Evidence:
    return effect([-x for x in drop(results, "GRPO", "train pass@1")], above=0.0)


def loses(results: Results, split: str) -> Evidence:
    return effect(drop(results, "GRPO", f"{split} pass@256"), above=0.1)


def surprised(results: Results) -> Evidence:
    return below(last(results, "GRPO", "train delta plus"), 0.0)


def keeps(results: Results, method: str, split: str, above: float) -> Evidence:
    """By how much less pass@256 falls than under GRPO."""
    name = f"{split} pass@256"
    return effect(difference(drop(results, "GRPO", name), drop(results, method, name)), above=above)


def ranks(results: Results) -> Evidence:
    return effect(last(results, "GRPO", "train rank"), above=0.5)


def reverse(results: Results, other: str) -> Evidence:
    """By how much less the held-out pass@256 falls under another penalty than under reverse KL."""
    a, b = (drop(results, f"GRPO + {way}", "test pass@256") for way in ("reverse KL", other))
    return effect(difference(a, b), above=0.0)


def reverse_alone(results: Results) -> Evidence:
    """The share that reverse KL restores of the held-out pass@256 that GRPO loses."""
    grpo, held = (drop(results, m, "test pass@256") for m in ("GRPO", "GRPO + reverse KL"))
    return below(ratio(difference(grpo, held), grpo), 0.1)


def both(results: Results) -> Evidence:
    a, b = (drop(results, m, "test pass@256") for m in ("filter", "SELF"))
    return effect(difference(a, b), above=0.0)


def cheap(results: Results) -> Evidence:
    own, grpo = (last(results, m, "train pass@1") for m in ("SELF", "GRPO"))
    return effect([a / b for a, b in zip(own, grpo, strict=True)], above=0.9)


def alone(results: Results) -> Evidence:
    """The fall of the table's pass@256 as a share of the network's."""
    table, network = (drop(results, m, "train pass@256") for m in ("GRPO, nothing shared", "GRPO"))
    return below(ratio(table, network), 0.1)


def sampled(rung: str, letter: str) -> tuple[Claim, ...]:
    """The claims of a rung that samples; their directions are the card's or were set down before the first run."""
    rows: list[tuple[str, Callable[[Results], Evidence]]] = [
        ("GRPO raises the training prompts' pass@1", gains),
        ("GRPO lowers the training prompts' pass@256 by more than 0.1", partial(loses, split="train")),
        ("GRPO lowers the held-out prompts' pass@256 by more than 0.1", partial(loses, split="test")),
        ("GRPO makes right base answers less likely: Δ+ < 0", surprised),
        ("who was likely wins: rank correlation of base and final success above 0.5", ranks),
        ("held out, SELF loses less pass@256 by more than 0.1", partial(keeps, method="SELF", split="test", above=0.1)),
        (
            "held out, GRPO with forward KL loses less pass@256 than GRPO",
            partial(keeps, method="GRPO + forward KL", split="test", above=0.0),
        ),
        (
            "held out, GRPO with reverse KL loses more pass@256 than with forward KL",
            partial(reverse, other="forward KL"),
        ),
        (
            "held out, reverse KL loses more than GRPO's k3 of the same weight, whose gradient is a forward KL's",
            partial(reverse, other="k3"),
        ),
        (
            "held out, the filter alone loses less pass@256 than GRPO",
            partial(keeps, method="filter", split="test", above=0.0),
        ),
        ("held out, filter and forward KL lose less pass@256 than the filter alone", both),
        ("held out, reverse KL restores less than a tenth of the pass@256 that GRPO loses", reverse_alone),
        ("SELF keeps more than 90 % of GRPO's pass@1 on the training prompts, as in the paper", cheap),
        ("in a table, where prompts share nothing, GRPO's pass@256 falls less than a tenth as far", alone),
    ]
    return tuple(Claim(f"{letter}{i}", text, "effect", rung, check) for i, (text, check) in enumerate(rows, start=1))


CLAIMS = (
    *(Claim(name, text, kind, "exact", check) for name, kind, text, check in EXACT),
    *sampled("gpt", "G"),
    *sampled("llm", "L"),
)
