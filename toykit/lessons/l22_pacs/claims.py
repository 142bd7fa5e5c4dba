"""The claims of lesson 22, each a pure function of its rung's results. C1 to C4 are the card's, X1 to X4 ours."""

from __future__ import annotations

from collections.abc import Callable

from toykit.lessons.base import Claim, Evidence, Results, at_most, printed
from toykit.lessons.l22_pacs.sampled_claims import SAMPLED

# The card's numbers, as it prints them: steps to an accuracy of 0.99, and entropy among the right answers there.
CARD = {
    "policy gradient": (153, "0.1249"),
    "GRPO": (28, "0.1261"),
    "GRPO, G = 3": (108, "0.1252"),
    "fixed": (1522, "0.7573"),
    "fixed, question": (1754, "0.7577"),
    "behaviour": (34, "0.1357"),
    "behaviour, unweighted": (39, "0.1338"),
}
CARD_LAW = ("0.7212", "0.1795", "0.0892", "0.0052", "0.0048")
CARD_NEAR = {
    "fixed": ([141, 167, 261], ("0.4202", "0.7115", "0.7568")),
    "behaviour": ([17, 9, 5], ("0.2826", "0.2882", "0.3415")),
}


def c1(results: Results) -> Evidence:
    """The largest difference, on the card's law and random ones, groups of 2, 3 and 5, both references."""
    return at_most(results["reference"]["unweighted"], 1e-12)


def c2(results: Results) -> Evidence:
    found = results["reference"]
    measured = {"error": found["question"], "coefficient": found["coefficient"]}
    holds = max(found["question"], abs(found["coefficient"] - 0.2784375)) <= 1e-12
    return Evidence(holds, measured, "0, 0.2784375", tolerance=1e-12)


def c3a(results: Results) -> Evidence:
    return at_most(results["group"]["error"], 1e-12)


def c3b(results: Results) -> Evidence:
    found = results["group"]
    return printed([*found["psi"], *found["left"]], ("0.55", "-0.65", "0.10", "0.3659", "0.6570", "0.4750"))


def c3c(results: Results) -> Evidence:
    """Jensen: the mean of softplus(-psi) is log 2 at least, because the mean of psi is 0."""
    found = results["group"]
    measured = {"least loss - log 2": found["least loss"], "of equal ratios": found["loss of equal ratios"]}
    return Evidence(found["least loss"] > 0 and found["loss of equal ratios"] <= 1e-12, measured, "> 0, 0", 1e-12)


def c4a(results: Results) -> Evidence:
    """All 14 numbers of the card's table; steps exactly, entropies as it rounds them."""
    found = results["flows"]
    rounded = printed([found[name]["entropy"] for name in CARD], [entropy for _, entropy in CARD.values()])
    steps, there = [found[name]["steps"] for name in CARD], [n for n, _ in CARD.values()]
    expected = {"steps": there, "entropy": rounded.expected}
    holds = bool(rounded.holds) and steps == there
    return Evidence(holds, {"steps": steps, "entropy": rounded.measured}, expected, tolerance=0.501)


def c4b(results: Results) -> Evidence:
    return printed(results["flows"]["fixed"]["law"], CARD_LAW)


def c4c(results: Results) -> Evidence:
    """The card's criterion at 0.99: the fixed reference within 0.01 of the start, all others below 0.2."""
    found = results["flows"]
    lost = {name: found["start"] - found[name]["entropy"] for name in CARD}
    kept = max(abs(lost[name]) for name in ("fixed", "fixed, question"))
    most = max(found[name]["entropy"] for name in CARD if not name.startswith("fixed"))
    return Evidence(kept < 0.01 and most < 0.2, {"lost, fixed": kept, "entropy, others": most}, "< 0.01, < 0.2", 0.0)


def c4d(results: Results) -> Evidence:
    """The card's twelve numbers at 0.95, more with the fixed reference for each beta, and rising with beta."""
    near, fixed, behaviour = (results["near"], *(results["near"][name]["entropy"] for name in CARD_NEAR))
    rounded = printed([*fixed, *behaviour], [x for _, row in CARD_NEAR.values() for x in row])
    steps = all(near[name]["steps"] == there for name, (there, _) in CARD_NEAR.items())
    ordered = fixed == sorted(fixed) and all(a > b for a, b in zip(fixed, behaviour, strict=True))
    return Evidence(
        bool(rounded.holds) and steps and ordered, {"fixed": fixed, "behaviour": behaviour}, CARD_NEAR, 0.501
    )


def x1(results: Results) -> Evidence:
    """It falls first, below what it is at 0.95, and has come back to within 0.01 of the start after 2,000 steps."""
    found, start = results["near"]["fixed"], results["flows"]["start"]
    rounded = printed(found["least"], ("0.4097", "0.5352", "0.6246"))
    back = [start - last for last in found["last"]]
    holds = bool(rounded.holds) and max(back) < 0.01
    return Evidence(holds, {"least": found["least"], "lost at the end": back}, "0.4097, 0.5352, 0.6246; < 0.01", 0.501)


def x2(results: Results) -> Evidence:
    found = results["end"]
    zero = max(found["step at home"], found["behaviour moved"]) <= 1e-12
    holds = zero and found["step elsewhere"] > 0.01 and found["after"] < 1e-12
    return Evidence(holds, found, "0, > 0, , 0, 0", tolerance=1e-12)


def x3(results: Results) -> Evidence:
    """Of 1/2 at the start: with 128 tokens, with the paper's 4,096, and with beta = 1 / length at any."""
    found = results["long"]
    left, scaled = (dict(zip(found["lengths"], found["left"][name], strict=True)) for name in ("1", "1 / length"))
    rounded = printed([left[128], scaled[1], scaled[4096]], ("0.0718", "0.4950", "0.4950"))
    measured = {"128": left[128], "4096": left[4096], "1 / length": list(scaled.values())[-1]}
    return Evidence(bool(rounded.holds) and left[4096] < 1e-35, measured, "0.0718, < 1e-35, 0.4950", tolerance=0.501)


def x4(results: Results) -> Evidence:
    """With question weights, at each beta; beside the card's 0.7577 for groups of three at beta = 1."""
    found = results["large"]
    rounded = printed(found["question"]["entropy"], ("0.1406", "0.5623", "0.7520"))
    lower = found["question"]["entropy"][1] < results["flows"]["fixed, question"]["entropy"] - 0.1
    measured = {name: row["entropy"] for name, row in found.items()}
    return Evidence(bool(rounded.holds) and lower, measured, "0.1406, 0.5623, 0.7520", tolerance=0.501)


def s1(results: Results) -> Evidence:
    return at_most(max(results["trainer"].values()), 1e-12)


EXACT: tuple[tuple[str, str, Callable[[Results], Evidence]], ...] = (
    ("C1", "at the reference the unweighted step is β times the policy gradient, for every group size", c1),
    ("C2", "with question weights it is β G / (4 (G - 1)) P(mixed) (μ+ - μ-), here 0.2784375 (μ+ - μ-)", c2),
    (
        "C3a",
        "in a group that is all right an answer is pushed by what is left of it less that of the others",
        c3a,
    ),
    ("C3b", "the card's logits and residuals of such a group", c3b),
    ("C3c", "its loss is least where all log-ratios are equal", c3c),
    ("C4a", "steps to an accuracy of 0.99 and the entropy among the right answers, for seven methods", c4a),
    ("C4b", "the fixed reference ends at the start's proportions", c4b),
    ("C4c", "it keeps the entropy to within 0.01; behaviour reference and policy gradients end below 0.2", c4c),
    ("C4d", "at 0.95 it keeps more than the behaviour reference at each β, and the more the larger β", c4d),
    ("X1", "on the way there the entropy falls, to 0.54 with β = 1, and comes back", x1),
    ("X2", "of all policies that are always right the fixed reference holds one alone, the reference given right", x2),
    ("X3", "where each of 128 tokens has moved by 0.01 nats a seventh of the push is left, unless β is 1 / length", x3),
    ("X4", "in large groups the question weights let it fall: at 0.99 it is 0.56 with β = 1 and 0.14 with 0.5", x4),
    ("S1", "the flow is PACS over all groups, and the Trainer's on enumerated answers its large-group limit", s1),
)
CLAIMS = (*(Claim(name, text, "theorem", "exact", check) for name, text, check in EXACT), *SAMPLED)
