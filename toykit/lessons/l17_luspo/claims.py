"""The claims of lesson 17, each a pure function of its rung's results."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from toykit.lessons.base import Claim, Evidence, Results, at_most, effect, printed, sampled_claims, units
from toykit.lessons.compare import falls, last, leads, rises

# The card's numbers, as it prints them.
CARD = {
    "LUSPO": ("0.9892", "2.500000", "2.500000", "0", "0"),
    "GSPO": ("0.9835", "1.125565", "3.216562", "3.130790", "-1.040021"),
}
ROWS = ("accuracy", "right", "wrong", "log-ratio, right", "log-ratio, wrong")


def c1(results: Results, names: tuple[str, ...]) -> Evidence:
    """The largest difference, on the card's group and on all groups of four."""
    return at_most(max(x for name in names for x in results["gradients"][name]), 1e-12)


def c1c(results: Results) -> Evidence:
    return printed(results["gradients"]["GRPO - GSPO, off policy"][:1], ("6.9e-4",))


def c2a(results: Results) -> Evidence:
    return at_most(results["expected"]["LUSPO"], 1e-12)


def c2b(results: Results) -> Evidence:
    """Both are the gradient for rewards over lengths; on the four answers its cosine with grad J is 5 / sqrt(34)."""
    found = results["expected"]
    holds = max(found["GSPO"], found["GRPO"]) <= 1e-12 and abs(found["cosine"] - 5 / 34**0.5) <= 1e-12
    return Evidence(holds, {name: found[name] for name in ("GSPO", "GRPO", "cosine")}, "0, 0, 0.8575", tolerance=1e-12)


def c3a(results: Results) -> Evidence:
    """Along 200 steps from the uniform policy, and the speed on random bandits."""
    path = results["table"]["LUSPO"]
    ratios = [abs(x) for kind in ("right", "wrong") for x in path[f"log-ratio, {kind}"]]
    return at_most(max(*ratios, results["pairs"]["LUSPO"]), 1e-12)


def c3b(results: Results) -> Evidence:
    found = results["pairs"]
    holds = found["GSPO, error"] <= 1e-12 and found["GSPO, to the shorter if right"]
    return Evidence(holds and abs(found["exercise"] - 3 / 32) <= 1e-12, found, "0, 0, true, 3/32", tolerance=1e-12)


def c3c(results: Results) -> Evidence:
    """All ten numbers of the card's table, rounded as it rounds them."""
    measured = [results["table"][name][row][-1] for name in CARD for row in ROWS]
    return printed(measured, CARD["LUSPO"] + CARD["GSPO"])


def c3d(results: Results) -> Evidence:
    return printed(results["table"]["faster"], ("1.048", "3.294"))


def c4a(results: Results) -> Evidence:
    """-9/256 and 9/256 at p = 1/2; the card's 0.025554 below it and -0.025554 above; LUSPO 0 in all nine."""
    gspo, luspo = results["drift"]["GSPO"], results["drift"]["LUSPO"]
    exact = [abs(a - b) for a, b in zip(gspo[0], (-9 / 256, 9 / 256, 0.0), strict=True)]
    exact += [abs(x) for row in luspo for x in row]
    card = max(units(gspo[1][2], "0.025554"), units(gspo[2][2], "-0.025554"))
    measured = {"GSPO": [row[2] for row in gspo], "LUSPO, at most": max(exact[3:])}
    return Evidence(max(exact) <= 1e-12 and card <= 0.501, measured, "0, 0.025554, -0.025554; 0", tolerance=1e-12)


def c4b(results: Results) -> Evidence:
    found = results["drift"]
    measured = {name: found[name] for name in ("error", "LUSPO at most", "signs")}
    return Evidence(max(found["error"], found["LUSPO at most"]) <= 1e-12 and found["signs"], measured, "0, 0", 1e-12)


def c4c(results: Results) -> Evidence:
    found = results["table"]["positive only"]
    return printed([found["LUSPO"], found["GSPO"]], ("2.5000", "1.3495"))


def x1(results: Results) -> Evidence:
    """To first order in the step: the correction is of second order, 1e-5."""
    found = results["inner"]
    holds = abs(found["no clip"]) <= 1e-4 and abs(found["clip"] - found["expected"]) <= 1e-4
    return Evidence(holds, found, "0, -0.005", tolerance=1e-4)


def x2(results: Results) -> Evidence:
    found = results["long"]
    holds = found["steps"] == {"LUSPO": 17, "GSPO": 31} and min(found["end"].values()) > 0.999
    return Evidence(holds, found["steps"] | {"end": list(found["end"].values())}, "17, 31, > 0.999", tolerance=0.0)


def x3(results: Results) -> Evidence:
    found = results["branching"]
    return printed([found["start"], found["LUSPO"], found["GSPO"]], ("0", "3.08", "3.99"))


def s1(results: Results) -> Evidence:
    return at_most(max(results["trainer"].values()), 1e-12)


EXACT: tuple[tuple[str, str, Callable[[Results], Evidence]], ...] = (
    ("C1a", "on policy GRPO and GSPO have one gradient, for every group", partial(c1, names=("GRPO - GSPO",))),
    (
        "C1b",
        "LUSPO's is that of REINFORCE with the group's advantages, and L_max times Dr. GRPO's",
        partial(c1, names=("LUSPO - REINFORCE", "LUSPO - 4 Dr. GRPO")),
    ),
    ("C1c", "off policy GRPO's and GSPO's differ, by 6.9e-4 on the card's group", c1c),
    ("C2a", "LUSPO's expected step is (1 - 1/G) grad J", c2a),
    ("C2b", "GSPO's and GRPO's are that for rewards over lengths, another direction", c2b),
    ("C3a", "LUSPO conserves the log-ratio of two equally likely answers of one reward", c3a),
    ("C3b", "GSPO moves it by π A (1/L - 1/L'): to the shorter if right, to the longer if wrong", c3b),
    ("C3c", "the card's numbers after 200 steps", c3c),
    ("C3d", "with steps of four times the size GSPO's lengths end at 1.048 and 3.294", c3d),
    ("C4a", "the mean length grows under GSPO below p = 1/2, stays there, and falls above; under LUSPO it stays", c4a),
    (
        "C4b",
        "its speed for all p, 19 pairs of lengths and 4 shares of clipped negatives; 0 at p = (1 - c)/(2 - c)",
        c4b,
    ),
    ("C4c", "by the right answers alone GSPO shortens to 1.3495 in 100 steps, LUSPO stays at 2.5", c4c),
    (
        "X1",
        "two inner steps with the paper's clip: LUSPO no longer conserves it, for short answers are clipped first",
        x1,
    ),
    ("X2", "where long is better both end at long, LUSPO in 17 steps and GSPO in 31", x2),
    ("X3", "on a tree that branches the log-ratio drifts under LUSPO too", x3),
    ("S1", "the Trainer on enumerated answers takes the steps of the flow", s1),
)


def longer(results: Results) -> Evidence:
    """The card's criterion of the llm rung: the ratio of the final mean lengths."""
    pairs = zip(last(results, "LUSPO", "length"), last(results, "GSPO", "length"), strict=True)
    return effect([a / b for a, b in pairs], above=1.1)


def sampled() -> tuple[Claim, ...]:
    """The claims of the rungs that sample; their directions are the card's or were set down before the first run."""
    right, wrong = "length, right", "length, wrong"
    rows: list[tuple[str, Callable[[Results], Evidence]]] = [
        (
            "LUSPO's right completions end longer than GSPO's",
            partial(leads, method="LUSPO", other="GSPO", figure=right),
        ),
        ("and longer than GRPO's", partial(leads, method="LUSPO", other="GRPO", figure=right)),
        ("LUSPO's completions end more than 1.1 times as long as GSPO's", longer),
        ("GSPO's right completions end shorter than the base's", partial(falls, method="GSPO", figure=right)),
        (
            "GSPO's wrong completions end longer than LUSPO's",
            partial(leads, method="GSPO", other="LUSPO", figure=wrong),
        ),
        ("GSPO raises success", partial(rises, method="GSPO", figure="success")),
        (
            "LUSPO's success ends not lower than GSPO's, by more than 0.02",
            partial(leads, method="LUSPO", other="GSPO", figure="success", above=-0.02),
        ),
    ]
    return sampled_claims(rows)


CLAIMS = (
    *(Claim(name, text, "theorem", "exact", check) for name, text, check in EXACT),
    *sampled(),
)
