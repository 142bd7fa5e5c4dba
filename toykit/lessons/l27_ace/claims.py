"""The claims of lesson 27, each a pure function of its rung's results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from toykit.lessons.base import (
    Claim,
    Evidence,
    Results,
    at_most,
    below,
    difference,
    effect,
    sampled_claims,
    worst_units,
)
from toykit.lessons.compare import leads, reaching, trails
from toykit.lessons.l27_ace.exact import KS, LEVELS

CLEAN = "GRPO, never misled"

# The card's numbers, as it prints them.
CARD_STEPS = {
    **{"GRPO": 33, "ACE 0.5": 29, "ACE 1": 27, "ACE 2": 23, "ACE 4": 19, "ReLU 1": 27, "ReLU 2": 24},
    **{"uniform ln 2": 31, "uniform 1.5": 29, "uniform 3": 27},
}
CARD_AT_A_TENTH = {  # of success: the spurious share, and the entropy of the wrong answers
    "GRPO": ("0.605", "1.315"),
    "ACE 1": ("0.543", "1.495"),
    "ACE 2": ("0.496", "1.620"),
    "uniform 2": ("0.605", "1.316"),
}
CARD_PASS = {  # at k = 1, 8 and 32
    "d = 16": {
        "start": ("0.449", "0.697", "0.825"),
        "GRPO": ("0.568", "0.741", "0.833"),
        "ACE": ("0.600", "0.755", "0.835"),
        "uniform": ("0.605", "0.732", "0.810"),
    },
    "d = 8": {
        "GRPO": ("0.532", "0.648", "0.698"),
        "ACE": ("0.551", "0.655", "0.696"),
        "uniform": ("0.540", "0.597", "0.628"),
    },
}
# At k = 1 and 256. GRPO's last is 0.76748 here; the card has 0.768.
CARD_CONTROL = {"GRPO": ("0.715", "0.767"), "ACE": ("0.715", "0.759")}


def c1a(results: Results) -> Evidence:
    found = results["decomposition"]
    return Evidence(found["error"] <= 1e-12 < found["residual"], found["error"], 0.0, tolerance=1e-12)


def c1b(results: Results) -> Evidence:
    return at_most(results["decomposition"]["difference"], 1e-9)


def c1c(results: Results) -> Evidence:
    return at_most(results["decomposition"]["attached"], 1e-12)


def c2(results: Results) -> Evidence:
    found = results["factor"]
    errors = {name: found[name] for name in ("left", "right", "at 0")}
    kept = results["trainer"]["right"]
    measured = errors | {"right answers": kept, "least rise": found["least rise"]}
    return Evidence(max(*errors.values(), kept) <= 1e-12 and found["least rise"] > 0, measured, "0, rise > 0", 1e-12)


def tenth(results: Results, name: str) -> tuple[float, float]:
    """(spurious share, entropy of the wrong answers) where success is 0.1."""
    place = LEVELS.index(0.1)
    return results["spurious"]["share"][name][place], results["spurious"]["entropy"][name][place]


def c3a(results: Results) -> Evidence:
    """The card's ten numbers of steps, and its eight numbers at a success of 0.1."""
    steps = {name: results["spurious"]["steps"][name] for name in CARD_STEPS}
    worst = max(worst_units(tenth(results, name), there) for name, there in CARD_AT_A_TENTH.items())
    return Evidence(steps == CARD_STEPS and worst <= 0.501, steps, CARD_STEPS, tolerance=0.501)


def c3b(results: Results) -> Evidence:
    (share, spread), (grpo_share, grpo_spread) = tenth(results, "ACE 2"), tenth(results, "GRPO")
    measured = {"share": share - grpo_share, "entropy": spread - grpo_spread}
    return Evidence(measured["share"] < -0.08 and measured["entropy"] > 0, measured, "< -0.08, > 0", tolerance=0.0)


def c3c(results: Results) -> Evidence:
    return at_most(results["spurious"]["uniform"], 1e-15)


def at(results: Results, arm: str, k: int, where: str = "d = 16") -> list[float]:
    """pass@k of an arm by seed, after a faulty verifier or in the "control"."""
    found = results["control"] if where == "control" else results["misled"][where]
    return [curve[KS.index(k)] for curve in found[arm]["pass"]]


def lead(results: Results, k: int, other: str = "GRPO", arm: str = "ACE", where: str = "d = 16") -> list[float]:
    return difference(at(results, arm, k, where), at(results, other, k, where))


def ahead(results: Results, k: int, other: str = "GRPO", arm: str = "ACE", where: str = "d = 16") -> Evidence:
    return effect(lead(results, k, other, arm, where), above=0.0)


def c4a(results: Results) -> Evidence:
    """The card's 21 numbers, and by how much the mean of ACE leads where it must."""
    tables = [
        worst_units([mean(at(results, arm, k, where)) for k in (1, 8, 32)], there)
        for where, rows in CARD_PASS.items()
        for arm, there in rows.items()
    ]
    first, far = mean(lead(results, 1)), mean(lead(results, 32, "uniform"))
    measured = {"units of the last digit": max(tables), "k = 1": first, "k = 32": far}
    holds = max(tables) <= 0.501 and first > 0.02 and far > 0.015
    return Evidence(holds, measured, "<= 0.5, > 0.02, > 0.015", tolerance=0.501)


def c4d(results: Results) -> Evidence:
    """The least lead among all k, seed by seed."""
    return effect([min(of_seed) for of_seed in zip(*(lead(results, k) for k in KS), strict=True)], above=0.0)


def c4f(results: Results) -> Evidence:
    worst = max(
        worst_units([mean(at(results, arm, k, "control")) for k in (1, 256)], there)
        for arm, there in CARD_CONTROL.items()
    )
    return Evidence(worst <= 0.501, {"units of the last digit": worst}, "<= 0.5", tolerance=0.501)


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def more(results: Results, figure: str, sign: float = 1.0) -> Evidence:
    """ACE's figure less GRPO's at the end, after the faulty verifier; `sign` -1: it should be below."""
    found = results["misled"]["d = 16"]
    gap = difference(found["ACE"][figure], found["GRPO"][figure])
    return effect(gap, above=0.0) if sign > 0 else below(gap, 0.0)


def s1(results: Results) -> Evidence:
    return at_most(max(results["trainer"]["errors"].values()), 1e-12)


EXACT: tuple[tuple[str, str, str, Callable[[Results], Evidence]], ...] = (
    ("C1a", "theorem", "ACE's extra step is -α∇Ω + α E[1(wrong) |A| σ(c) ∇log π]", c1a),
    ("C1b", "theorem", "∇Ω agrees with central differences", c1b),
    ("C1c", "theorem", "with c attached it would be -α∇Ω alone: another algorithm", c1c),
    ("C2", "theorem", "the factor rises in c from 1 to 1 + αc, 1 + α ln 2 at 0; right answers keep theirs", c2),
    ("C3a", "theorem", "a spurious winner falls in just so many steps, with such a share and entropy at p = 0.1", c3a),
    ("C3b", "theorem", "at p = 0.1 ACE (α = 2) leaves it 0.08 less than GRPO, and more entropy to the others", c3b),
    ("C3c", "theorem", "a uniform factor 1 + u makes 1 + up of GRPO's step: the same way, only faster", c3c),
    ("C4a", "theorem", "pass@k after a faulty verifier; ACE leads GRPO by 0.02 at k = 1, uniform by 0.015 at 32", c4a),
    ("C4b", "effect", "ACE ends above the uniform penalty at k = 32", partial(ahead, k=32, other="uniform")),
    ("C4c", "effect", "ACE ends above GRPO at k = 1", partial(ahead, k=1)),
    ("C4d", "effect", "ACE ends above GRPO at every k to 256, as in the paper", c4d),
    (
        "C4e",
        "effect",
        "the uniform penalty pays: GRPO ends above it at k = 256",
        partial(ahead, k=256, arm="GRPO", other="uniform"),
    ),
    ("C4f", "theorem", "without a faulty verifier pass@1 is the same under ACE, pass@256 0.008 less", c4f),
    ("C4g", "effect", "there too ACE ends above GRPO at k = 256", partial(ahead, k=256, where="control")),
    (
        "C5a",
        "effect",
        "ACE ends with less mass on overconfident errors than GRPO",
        partial(more, figure="overconfident", sign=-1),
    ),
    ("C5b", "effect", "and they are less severe", partial(more, figure="severity", sign=-1)),
    ("C5c", "effect", "and with more entropy", partial(more, figure="entropy")),
    ("V1", "effect", "softplus ends above ReLU, of the same α, at k = 1", partial(ahead, k=1, other="ReLU")),
    ("V2", "effect", "and at k = 32", partial(ahead, k=32, other="ReLU")),
    ("S1", "theorem", "the Trainer on enumerated answers takes the steps of the flow (same code)", s1),
)


def recovery(results: Results, arm: str) -> list[float]:
    """Steps, by seed, until half of the mass is gone that the faulty verifier gave the spurious answers.

    Linear between the stops; a run that does not get there counts as its last stop.
    """
    found = []
    for path, clean in zip(results["runs"][arm]["spurious"], results["runs"][CLEAN]["spurious"], strict=True):
        half, stops = (path[0] + clean[0]) / 2, results["stops"]
        found.append(reaching([-x for x in path], -half, stops, never=stops[-1]))
    return found


def misled(results: Results) -> Evidence:
    """Success on the misled prompts after the faulty phase, less the base's."""
    after, base = ([path[0] for path in results["runs"][arm]["misled pass@1"]] for arm in ("GRPO", CLEAN))
    return below(difference(after, base), 0.0)


def sooner(results: Results, arm: str) -> Evidence:
    return below(difference(recovery(results, arm), recovery(results, "GRPO")), 0.0)


def as_far(results: Results, arm: str, other: str, figure: str) -> Evidence:
    """A figure at an arm's end, less the other's where that first had the same pass@1 (or at its end, if never)."""
    found = []
    ours, theirs = results["runs"][arm], results["runs"][other]
    for seed, path in enumerate(theirs["train pass@1"]):
        values = theirs[figure][seed]
        then = reaching(path, ours["train pass@1"][seed][-1], values, never=values[-1])
        found.append(ours[figure][seed][-1] - then)
    return effect(found, above=0.0)


def sampled() -> tuple[Claim, ...]:
    """The claims of the rungs that sample; their directions are the card's or were set down before the first run, those
    of the last two after the ones before them were seen."""
    ace = partial(leads, method="ACE", other="GRPO")
    less = partial(trails, method="ACE", other="GRPO")
    clean = partial(leads, method="ACE, never misled", other=CLEAN)
    rows: list[tuple[str, Callable[[Results], Evidence]]] = [
        ("the faulty verifier makes the misled prompts' right answers rarer than in the base", misled),
        ("ACE loses half of the spurious mass in fewer steps than GRPO", partial(sooner, arm="ACE")),
        ("so does the uniform penalty", partial(sooner, arm="uniform")),
        ("ACE ends above GRPO at k = 16", partial(ace, figure="train pass@16")),
        ("ACE ends above the uniform penalty at k = 16", partial(ace, other="uniform", figure="train pass@16")),
        ("ACE ends above GRPO at k = 16, held out", partial(ace, figure="test pass@16")),
        ("ACE ends above GRPO at k = 1", partial(ace, figure="train pass@1")),
        ("ACE ends with less mass on overconfident errors than GRPO", partial(less, figure="overconfident")),
        ("and they are less severe", partial(less, figure="severity")),
        ("ACE ends with more entropy among the wrong answers than GRPO", partial(ace, figure="entropy")),
        ("softplus ends above ReLU at k = 16", partial(ace, other="ReLU", figure="train pass@16")),
        ("never misled: ACE ends above GRPO at k = 64", partial(clean, figure="train pass@64")),
        ("never misled: ACE ends above GRPO at k = 64, held out", partial(clean, figure="test pass@64")),
        (
            "never misled: with α = 1 too",
            partial(clean, method="ACE 1, never misled", figure="train pass@64"),
        ),
        (
            "never misled: ACE ends above what GRPO had at k = 64 when it had the same pass@1",
            partial(as_far, arm="ACE, never misled", other=CLEAN, figure="train pass@64"),
        ),
    ]
    return sampled_claims(rows)


CLAIMS = (
    *(Claim(name, text, kind, "exact", check) for name, kind, text, check in EXACT),
    *sampled(),
)
