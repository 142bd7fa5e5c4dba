"""The claims of lesson 04, each a pure function of its rung's results."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from toykit.lessons.base import Claim, Evidence, Results, at_most, difference, effect

Check = Callable[[Results], Evidence]

MAIN = "8,16"  # the pendulum's setting that the claims are about: 8 distractors, layers of 16


def c1(results: Results) -> Evidence:
    return at_most(results["identities"]["linear_value"], 1e-12)


def c2(results: Results) -> Evidence:
    """At most 1 everywhere, and 1 where all g_i e_i are equal."""
    found = results["identities"]["bound"]
    holds = found["largest"] <= 1 + 1e-12 and found["at_equality"] <= 1e-12
    return Evidence(holds, {"largest ratio": found["largest"], "error": found["at_equality"]}, "<= 1, 0", 1e-12)


def c3(results: Results) -> Evidence:
    found = results["identities"]["constant"]
    return at_most(max(found["loss"], found["minimiser"]), 1e-9)


def c4a(results: Results) -> Evidence:
    """IterVAML and its gradient are 0 at the truth and at the mirror, VaGraM is 184.3552 at the mirror."""
    losses, slopes = (results["mirror"][name] for name in ("losses", "gradients"))
    zero = max(x[where]["IterVAML"] for x in (losses, slopes) for where in ("truth", "mirror"))
    mirror = losses["mirror"]["VaGraM"]
    holds = zero <= 1e-12 and abs(mirror - 184.3552) < 1e-4
    return Evidence(holds, {"IterVAML": zero, "VaGraM at the mirror": mirror}, "0, 184.3552", tolerance=1e-12)


def c4b(results: Results) -> Evidence:
    """The loss is quadratic and its Hessian positive, so that its zero at the truth is the only one."""
    found = results["mirror"]
    least, loss = found["curvature"]["VaGraM"], found["losses"]["truth"]["VaGraM"]
    return Evidence(least > 1 and loss <= 1e-12, {"loss": loss, "least curvature": least}, "0, > 1", tolerance=1e-12)


def c4c(results: Results) -> Evidence:
    """1 for a start from which IterVAML misses the truth and VaGraM does not, -1 for the other way round."""
    ends = results["mirror"]["ends"]
    found = larger(*(list(map(float, ends[method]["truth"])) for method in ("VaGraM", "IterVAML")))
    return replace(found, holds=found.holds and any(ends["IterVAML"]["mirror"]))


def c4d(results: Results) -> Evidence:
    moved = results["mirror"]["moved"]
    measured = {"value error": moved["value_error"], **moved["controls"]}
    error = max(abs(a - b) for a, b in zip(measured.values(), (80.4, -2.12, 3.88), strict=True))
    return Evidence(error <= 1e-9, measured, "80.4, -2.12, 3.88", tolerance=1e-9)


def at(results: Results, figure: str, sweep: str, method: str, point: float) -> list[float]:
    """A figure of the linear models at a point of a sweep, one a seed."""
    place = results["linear"]["points"][sweep].index(point)
    return [path[place] for path in results["linear"][figure][sweep][method]]


def larger(first: Sequence[float], second: Sequence[float]) -> Evidence:
    """The first exceeds the second, seed by seed."""
    return effect(difference(first, second), above=0.0)


def c5a(results: Results) -> Evidence:
    return larger(*(at(results, "cost", "rank", method, 2) for method in ("MSE", "VaGraM")))


def c5b(results: Results) -> Evidence:
    """VaGraM from rank 2 on, whatever the distractors; MSE with rank 4, which is enough for two of them."""
    best = results["linear"]["optimum"]
    paths = results["linear"]["cost"]
    needs = [c for path in paths["rank"]["VaGraM"] for c in path[1:]]
    needs += [c for name in ("distractors", "std") for path in paths[name]["VaGraM"] for c in path]
    measured = {
        "VaGraM": max(abs(c - best) for c in needs),
        "MSE with rank 4": max(abs(c - best) for c in at(results, "cost", "rank", "MSE", 4)),
    }
    return Evidence(max(measured.values()) <= 1e-3, measured, 0.0, tolerance=1e-3)


def c5c(results: Results) -> Evidence:
    return larger(*(at(results, "cost", "rank", method, 2) for method in ("scaled MSE", "VaGraM")))


def c6a(results: Results) -> Evidence:
    """By how much the cost rises from no distractor to four, for MSE more than for VaGraM."""
    rises = [
        difference(*(at(results, "cost", "distractors", method, m) for m in (4, 0))) for method in ("MSE", "VaGraM")
    ]
    return larger(*rises)


def c6b(results: Results) -> Evidence:
    gaps = difference(*(at(results, "cost", "distractors", method, 0) for method in ("MSE", "VaGraM")))
    return at_most(max(map(abs, gaps)), 1e-6)


def c6c(results: Results) -> Evidence:
    """log of the ratio of the two models' squared errors, where VaGraM's controls better."""
    errors = [at(results, "mse", "distractors", method, 2) for method in ("VaGraM", "MSE")]
    return effect([math.log(a / b) for a, b in zip(*errors, strict=True)], above=0.0)


def c6d(results: Results) -> Evidence:
    return larger(*(at(results, "cost", "std", "MSE", std) for std in (4.0, 0.25)))


def c7(results: Results) -> Evidence:
    """The cost of control with IterVAML's models, whose loss is 0, above VaGraM's; the mean over starts, a seed."""
    found = results["linear"]["value_aware"]
    costs = [sum(one["cost"]) / len(one["cost"]) for one in found]
    measured = larger(costs, at(results, "cost", "distractors", "VaGraM", 2))
    return replace(measured, holds=measured.holds and max(max(one["loss"]) for one in found) < 1e-20)


def p1(results: Results) -> Evidence:
    found = results["identities"]["turned"]
    others = max(found[method] for method in ("MSE", "IterVAML", "Taylor"))
    holds = others <= 1e-12 and found["VaGraM"] > 0.1
    return Evidence(holds, {"others": others, "VaGraM": found["VaGraM"]}, "0, > 0.1", tolerance=1e-12)


def pendulum(results: Results, setting: str, method: str, figure: str = "shooting") -> list[float]:
    """A figure of the pendulum's models, one a seed."""
    return results["pendulum"][setting][method][figure]


def returns_more(results: Results, setting: str, than: str, planner: str = "shooting") -> Evidence:
    return larger(*(pendulum(results, setting, method, planner) for method in ("VaGraM", than)))


def as_much(results: Results) -> Evidence:
    """The interval of the difference holds 0."""
    found = returns_more(results, "0,16", "MSE")
    if found.interval is None:
        return replace(found, expected="about 0, over 5 seeds or more")
    return replace(found, holds=found.interval[0] <= 0 <= found.interval[1], expected="interval holds 0")


def loses_more(results: Results) -> Evidence:
    """What 8 distractors cost MSE, less what they cost VaGraM."""
    lost = [difference(*(pendulum(results, at, method) for at in ("0,16", MAIN))) for method in ("MSE", "VaGraM")]
    return larger(*lost)


def learns_sooner(results: Results, figure: str) -> Evidence:
    """The difference of the two methods, averaged over the numbers of steps at which they were measured."""
    runs = results["rows"]["runs"]
    means = [[sum(path[1:]) / len(path[1:]) for path in runs[method][figure]] for method in ("weighted", "plain")]
    return larger(*means)


EXACT = (
    ("C1", "theorem", "for a linear V, IterVAML is the Taylor loss for every model", c1),
    ("C2", "theorem", "Taylor <= d VaGraM everywhere, with equality where all g_i e_i are equal", c2),
    ("C3", "theorem", "where g_i^2 is constant VaGraM is c MSE, with the same fitted model", c3),
    ("C4a", "theorem", "IterVAML is 0 with gradient 0 at a mirror of the truth, where VaGraM is not", c4a),
    ("C4b", "theorem", "the truth is VaGraM's only zero where no gradient vanishes", c4b),
    ("C4c", "effect", "descent on IterVAML ends away from the truth more often than on VaGraM (40 starts)", c4c),
    ("C4d", "theorem", "when the goal moves, the mirror's values and control are wrong", c4d),
    ("C5a", "effect", "a rank-2 model among two loud distractors controls better by VaGraM than by MSE", c5a),
    ("C5b", "theorem", "VaGraM reaches the optimum from rank 2 on; MSE does once the rank is enough for all", c5b),
    ("C5c", "effect", "with rank 2, MSE in units of each dimension's spread controls worse than VaGraM too", c5c),
    ("C6a", "effect", "four distractors raise the cost more for MSE than for VaGraM", c6a),
    ("C6b", "theorem", "without distractors both cost the same", c6b),
    ("C6c", "effect", "the model that controls better has the larger squared error", c6c),
    ("C6d", "effect", "louder distractors raise the cost of MSE", c6d),
    ("C7", "effect", "models with an IterVAML loss of 0 control worse than VaGraM's", c7),
    ("P1", "theorem", "turning the state's coordinates changes VaGraM and none of the three other losses", p1),
)

PLANNING = "planning with VaGraM's model returns more than with"
GPT: tuple[tuple[str, Check], ...] = (
    (f"8 distractors: {PLANNING} MSE's", partial(returns_more, setting=MAIN, than="MSE")),
    ("no distractors: planning returns the same with VaGraM's model and with MSE's", as_much),
    ("8 distractors cost MSE more of its return than VaGraM", loses_more),
    (f"no distractors, a small model: {PLANNING} MSE's", partial(returns_more, setting="0,5", than="MSE")),
    (f"8 distractors: {PLANNING} IterVAML's", partial(returns_more, setting=MAIN, than="IterVAML")),
    (f"no distractors: {PLANNING} IterVAML's", partial(returns_more, setting="0,16", than="IterVAML")),
    (
        f"8 distractors: {PLANNING} that of MSE with each dimension in units of its spread",
        partial(returns_more, setting=MAIN, than="scaled MSE"),
    ),
    (
        "8 distractors, one step ahead: choosing torques with VaGraM's model returns more than with MSE's",
        partial(returns_more, setting=MAIN, than="MSE", planner="greedy"),
    ),
)
ROWS: tuple[tuple[str, Check], ...] = (
    (
        "at equal steps the weighted loss predicts more of the tokens that matter",
        partial(learns_sooner, figure="dials"),
    ),
    ("at equal steps planning with its model reaches the goal more often", partial(learns_sooner, figure="goal")),
)


def sampled(rung: str, letter: str) -> tuple[Claim, ...]:
    """The effects of a rung that samples; their directions were set down before the first recorded run."""
    rows = (*GPT, *ROWS) if rung == "gpt" else ROWS
    return tuple(Claim(f"{letter}{i}", text, "effect", rung, check) for i, (text, check) in enumerate(rows, start=1))


CLAIMS = (
    *(Claim(name, text, kind, "exact", check) for name, kind, text, check in EXACT),
    *sampled("gpt", "G"),
    *sampled("llm", "L"),
)
