"""The claims of lesson 20, each a pure function of its rung's results."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

from toykit.lessons.base import Claim, Evidence, Results, at_most, difference, effect, printed, sampled_claims, units
from toykit.lessons.compare import leads, reaching

# The card's numbers, as it prints them: entropies of the right answers at an accuracy of 0.95, by slope from 1 to 0.
CARD = {
    "1": ("1.3090", "1.3225", "1.3412", "1.3518", "1.3712"),
    "0.1": ("1.3091", "1.3114", "1.3150", "1.3175", "1.3212"),
    "5": ("1.3094", "1.3320", "1.3602", "1.3737", "1.3736"),
    "small steps": ("1.37344", "1.37351"),
    "attached": ("1.3090", "1.3168", "1.3261", "1.3315", "1.3355"),
    "frozen": ("1.3090", "1.3174", "1.3323", "1.3446", "1.3558"),
}
SLOPES = {name: ("0.3", "0") if name == "small steps" else ("1", "0.8", "0.5", "0.3", "0") for name in CARD}
STEPS = {"GRPO": 514, "1, 1": 257, "1, 0.8": 285, "1, 0.5": 342, "1, 0.3": 394, "1, 0": 509, "imitation": 360}
FACTORS = {  # g of the answers 0, 1 0, 1 1, 1 2 (wrong) and 2 (wrong), for slope 1/2: 0 where there is no token
    "long": {
        "token": [[1, 0], [0.5, 0.5], [0.5, 1], [0.5, 1], [0.5, 0]],
        "sequence_sum": [[0.5, 0], [0.5, 0.5], [1, 1], [1, 1], [0.5, 0]],
        "sequence_mean": [[1, 0], [0.5, 0.5], [1, 1], [1, 1], [0.5, 0]],
    },
    "short": {
        "token": [[0.5, 0], [0.5, 1], [0.5, 1], [1, 0.5], [0.5, 0]],
        "sequence_sum": [[0.5, 0], [1, 1], [1, 1], [1, 1], [0.5, 0]],
        "sequence_mean": [[0.5, 0], [0.5, 0.5], [0.5, 0.5], [1, 1], [0.5, 0]],
    },
}


def entropies(results: Results, name: str) -> list[float]:
    """By slope, of the gate with a weight, or of a variant."""
    return [results["table"]["entropy"][f"{name}, {slope}"] for slope in SLOPES[name]]


def c1a(results: Results) -> Evidence:
    return at_most(results["gradient"]["error"], 1e-9)


def c1b(results: Results) -> Evidence:
    return printed([results["gradient"]["whole"]], ("0.044",))


def c2a(results: Results) -> Evidence:
    return at_most(results["same path"]["apart"], 1e-12)


def c2b(results: Results) -> Evidence:
    found = results["table"]
    ratio = found["steps"]["GRPO"] / found["steps"]["1, 1"]
    apart = abs(found["entropy"]["GRPO"] - found["entropy"]["1, 1"])
    return Evidence(abs(ratio - 2) <= 0.01 and apart <= 1e-3, {"ratio": ratio, "apart": apart}, "2, 0", tolerance=1e-2)


def c3(results: Results, names: tuple[str, ...]) -> Evidence:
    return printed([x for name in names for x in entropies(results, name)], [x for name in names for x in CARD[name]])


def c3b(results: Results) -> Evidence:
    """The least gain from a slope to the next lower one."""
    least = min(b - a for name in ("0.1", "1", "attached", "frozen") for a, b in pairwise(entropies(results, name)))
    return Evidence(least > 0, least, "> 0", tolerance=0.0)


def c3d(results: Results) -> Evidence:
    steps = {name: results["table"]["steps"][name] for name in STEPS}
    start = units(results["table"]["start"], "1.3635")
    return Evidence(steps == STEPS and start <= 0.501, steps, STEPS, tolerance=0.0)


def first_draw(results: Results, names: tuple[str, ...], card: list[int]) -> Evidence:
    """Counts among the first 40 starts; a tolerance of 0."""
    found = [results["starts"]["counts"][name][0] for name in names]
    return Evidence(found == card, found, card, tolerance=0.0)


def always(results: Results, name: str, among: str | None = None) -> Evidence:
    """Whether it is so for every start of every draw (or of those that are counted by `among`)."""
    counts, each = results["starts"]["counts"], results["starts"]["each"]
    found = sum(counts[name])
    of = sum(counts[among]) if among else each * len(counts[name])
    return Evidence(found == of, {"starts": found, "of": of}, "all")


def gained(results: Results, where: str) -> Evidence:
    """Over the random starts of a kind: what α = 0 has more entropy than α = 1."""
    return effect(results["starts"]["gain"][where], above=0.0)


def c4a(results: Results) -> Evidence:
    """Below every other column, but for the stronger imitation, which is further below: entropies 0.98 and 0.60."""
    found, law = results["table"]["entropy"], results["table"]["law"]["strong imitation"]
    others = min(x for name, x in found.items() if "imitation" not in name)
    measured = [found["imitation"], found["strong imitation"], law[3]]
    holds = found["imitation"] < others and printed(measured, ("0.9814", "0.60", "0.84")).holds
    return Evidence(bool(holds), measured, [0.9814, 0.60, 0.84], tolerance=0.501)


def x1(results: Results) -> Evidence:
    """By hand, from log-probabilities 0.3, 0.6 x 0.3, 0.6 x 0.2, 0.6 x 0.5 and 0.1."""
    found = results["tree"]["factors"]
    return Evidence(found == FACTORS, found["long"], FACTORS["long"], tolerance=0.0)


def x2(results: Results) -> Evidence:
    found = results["tree"]["path"]
    falls = all(a > b for a, b in pairwise(found["token"]))
    grows = all(a < b for a, b in pairwise(found["sequence_sum"]))
    measured = {name: [found[name][0], found[name][-1]] for name in ("token", "sequence_sum", "sequence_mean")}
    return Evidence(falls and grows, measured, "falls, rises", tolerance=0.0)


def gains(results: Results, level: str, than: str | None = None) -> Evidence:
    """Over random starts: what slope 0 has more entropy than slope 1 (less what another level has)."""
    found = results["tree"]["random"]
    return effect(difference(found[level], found[than]) if than else found[level], above=0.0)


def s1(results: Results) -> Evidence:
    return at_most(max(results["trainer"].values()), 1e-12)


THEOREM, EFFECT = "theorem", "effect"
EXACT: tuple[tuple[str, str, str, Callable[[Results], Evidence]], ...] = (
    ("C1a", THEOREM, "with level, |A| and sampling law held, the term's gradient is that of advantages A g", c1a),
    ("C1b", THEOREM, "with these differentiated too it is another, by 0.044", c1b),
    ("C2a", THEOREM, "α = 1 is GRPO with steps 1 + λ times as large: one path", c2a),
    ("C2b", THEOREM, "with steps of one size it arrives in half of them, at the same entropy", c2b),
    ("C3a", THEOREM, "right answers' entropies at accuracy 0.95, for λ = 1 and 0.1", partial(c3, names=("1", "0.1"))),
    ("C3b", THEOREM, "they rise from each α to the next lower one, also with a level attached or frozen", c3b),
    (
        "C3c",
        THEOREM,
        "λ = 5, where a step jumps across the kink, and both variants",
        partial(c3, names=("5", "small steps", "attached", "frozen")),
    ),
    ("C3d", THEOREM, "steps until then: GRPO 514, from 257 (α = 1) to 509 (α = 0), imitation 360", c3d),
    (
        "C3e",
        THEOREM,
        "of the card's 40 random starts 15 have the expert between right answers, all rising; 11 of the others",
        partial(first_draw, names=("between", "rising, between", "rising, else"), card=[15, 15, 11]),
    ),
    (
        "C3f",
        THEOREM,
        "there α = 0 ends above α = 1 in 15 and in 19",
        partial(first_draw, names=("0 above 1, between", "0 above 1, else"), card=[15, 19]),
    ),
    (
        "C3g",
        EFFECT,
        "α = 0 ends above α = 1 wherever the expert is between, in five draws",
        partial(always, name="0 above 1, between", among="between"),
    ),
    (
        "C3h",
        EFFECT,
        "and there it rises with every step of α",
        partial(always, name="rising, between", among="between"),
    ),
    (
        "C3i",
        EFFECT,
        "α = 0 ends above α = 1 where the expert is the likeliest right answer, too",
        partial(gained, where="likeliest"),
    ),
    ("C4a", THEOREM, "imitation ends at 0.9814, below all else; five times as strong at 0.60, expert 0.84", c4a),
    (
        "C4b",
        THEOREM,
        "of the card's 40 starts it raises the expert's share in 40; entropy falls in 25, below GRPO's in 15",
        partial(first_draw, names=("expert's share above GRPO's", "below the start", "below GRPO"), card=[40, 25, 15]),
    ),
    (
        "C4c",
        EFFECT,
        "imitation raises the expert's share everywhere, in five draws",
        partial(always, name="expert's share above GRPO's"),
    ),
    ("X1", THEOREM, "which tokens are past the expert, by token, by sum and by mean: three different answers", x1),
    ("X2", THEOREM, "a lower α then lowers the entropy by token, and raises it by sum", x2),
    ("X3", EFFECT, "by sum it raises it from random starts", partial(gains, level="sequence_sum")),
    ("X4", EFFECT, "by more than by token", partial(gains, level="sequence_sum", than="token")),
    ("X5", EFFECT, "and by token too", partial(gains, level="token")),
    ("S1", THEOREM, "the Trainer takes the steps of both flows, at all three levels", s1),
)


def at_level(results: Results, arm: str, figure: str) -> list[float]:
    """A figure of an arm where its success first reaches the level, by seed; NaN where it never does."""
    runs, level = results["runs"][arm], results["level"]
    return [reaching(success, level, path) for success, path in zip(runs["success"], runs[figure], strict=True)]


def above(results: Results, method: str, other: str, figure: str) -> Evidence:
    """An effect: at the level of success a method's figure is above another's, seed by seed."""
    return effect(difference(at_level(results, method, figure), at_level(results, other, figure)), above=0.0)


def sampled() -> list[tuple[str, Callable[[Results], Evidence]]]:
    """Effects of the rungs that sample, their directions set down before the first full run.

    1 to 4 and 9 are the card's, 11 and 12 the paper's (its tables), the others ours.
    """
    right, low, whole, rows = "entropy, right", "α = 0.3", "α = 0.3, whole answers", "expert rows"
    return [
        (
            "at success 0.3 completions have more entropy with α = 0.3 than with α = 1",
            partial(above, method=low, other="α = 1", figure="entropy"),
        ),
        ("and so have the right ones among them", partial(above, method=low, other="α = 1", figure=right)),
        (
            "with the expert's answers as rows completions have less there than under GRPO",
            partial(above, method="GRPO", other=rows, figure="entropy"),
        ),
        ("and so have the right ones", partial(above, method="GRPO", other=rows, figure=right)),
        (
            "right ones have more there with α = 0.5 than with α = 1",
            partial(above, method="α = 0.5", other="α = 1", figure=right),
        ),
        (
            "and more as released (λ = 0.1, α = 0.5) than under GRPO",
            partial(above, method="as released", other="GRPO", figure=right),
        ),
        (
            "and more where whole answers are compared, α = 0.3, than with α = 1",
            partial(above, method=whole, other="α = 1", figure=right),
        ),
        ("and more so than token by token", partial(above, method=whole, other=low, figure=right)),
        (
            "α = 0.3 ends with more different right answers in 16 draws than α = 1",
            partial(leads, method=low, other="α = 1", figure="different right ones"),
        ),
        (
            "the expert's share of the right answers ends higher with its rows than under GRPO",
            partial(leads, method=rows, other="GRPO", figure="expert's share"),
        ),
        (
            "success ends higher as released than under GRPO",
            partial(leads, method="as released", other="GRPO", figure="success"),
        ),
        (
            "success ends higher with α = 0.5 than with α = 1",
            partial(leads, method="α = 0.5", other="α = 1", figure="success"),
        ),
    ]


CLAIMS = (
    *(Claim(name, text, kind, "exact", check) for name, kind, text, check in EXACT),
    *sampled_claims(sampled()),
)
