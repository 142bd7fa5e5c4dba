"""The claims of lesson 24, each a pure function of its rung's results."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

from toykit.lessons.base import Claim, Evidence, Results, at_most, below, printed, sampled_claims, worst_units
from toykit.lessons.compare import last, leads, trails
from toykit.lessons.l24_rorecomp.sampled import DELAYED, RATES, arm

HALF = arm(0.5)

# The card's numbers, as it prints them.
CARD_STEPS = [132, 136, 137, 129]
CARD_LENGTHS = {
    "right": ("2.5000", "2.3860", "2.0083", "1.5697"),
    "wrong": ("2.5000", "2.4895", "2.4595", "2.4024"),
}
CARD_LONG = {
    "0.5, 0.9": ("0.988", "0.985", "0.984", "0.981"),
    "0.5, 0.7": ("0.974", "0.939", "0.828", "0.140"),
    "0.6, 0.7": ("0.944", "0.566", "0.111", "0.050"),
}
CARD_ACCURACY = {
    "0.5, 0.7": ("0.6948", "0.6879", "0.6657", "0.5281"),
    "0.6, 0.7": ("0.6944", "0.6566", "0.6111", "0.6050"),
}


def c1(results: Results) -> Evidence:
    """On all groups with three alphas and three means, and the two parts' expectation against (1 - 1/G) grad J."""
    return at_most(max(results["partition"].values()), 1e-12)


def c2a(results: Results) -> Evidence:
    """Speeds of E[L] and of accuracy, and the shares that come first for alpha 0.5 and 0.25."""
    found = results["start"]
    whole, priority, rest = found["alpha 0.5"]["length"]
    other = found["alpha 0.25"]
    exact = max(abs(whole), abs(priority + rest), abs(other["length"][1] - priority))
    measured = [priority, rest, *found["accuracy"][:2], found["alpha 0.5"]["selected"], other["selected"]]
    units = worst_units(measured, ("-0.010986", "0.010986", "0.02344", "0.01562", "0.625", "0.469"))
    return Evidence(exact <= 1e-12 and units <= 0.501, measured, "-0.010986, 0.010986, ...", tolerance=1e-12)


def c2b(results: Results) -> Evidence:
    found = results["drift"]
    coupled = [*found["one logit an answer"], *found["reversed"], *found["logits of lengths"][1:]]
    card = ("0.0063", "-0.0041", "0.0104", "-0.0063", "-0.0131", "0.0068", "-0.01546", "0.01546")
    holds = worst_units(coupled, card) <= 0.501 and abs(found["logits of lengths"][0]) <= 1e-12
    return Evidence(holds, coupled, [float(x) for x in card], tolerance=0.501)


def c2c(results: Results) -> Evidence:
    """On 200 random laws each: the largest speed of the whole, the largest of the priority, the least of the rest."""
    rows = [speeds for name, speeds in results["independent"].items() if name != "coupled"]
    whole, priority, rest = (worst(of) for worst, of in zip((max, max, min), zip(*rows, strict=True), strict=True))
    measured = {"whole": whole, "priority": priority, "rest": rest}
    return Evidence(whole <= 1e-12 and priority < 0 < rest, measured, "0, < 0, > 0", tolerance=1e-12)


def c2d(results: Results) -> Evidence:
    found = results["independent"]["coupled"]
    return Evidence(found["whole"] > 1e-3 and found["priority lengthens"] > 0, found, "> 0.001, > 0", tolerance=0.0)


def falling(lengths: list[float]) -> bool:
    return all(a > b for a, b in pairwise(lengths))


def c3a(results: Results) -> Evidence:
    """All twelve numbers; GRPO's column is 2.5 to 1e-9, and both rows fall."""
    found = results["table"]
    units = max(worst_units(found[kind], there) for kind, there in CARD_LENGTHS.items())
    even = max(abs(found[kind][0] - 2.5) for kind in CARD_LENGTHS)
    holds = found["steps"] == CARD_STEPS and units <= 0.501 and even <= 1e-9
    measured = {name: found[name] for name in ("steps", "right", "wrong")}
    return Evidence(holds and all(map(falling, (found["right"], found["wrong"]))), measured, CARD_LENGTHS, 0.501)


def c3b(results: Results) -> Evidence:
    """E[L] of all, of right and of wrong answers."""
    found = results["starts"]
    fall = [all(falling(found[kind][i]) for kind in ("all", "right", "wrong")) for i in range(len(found["all"]))]
    return Evidence(all(fall), f"{sum(fall)} of {len(fall)}", "all", tolerance=0.0)


def c4a(results: Results) -> Evidence:
    found = results["branch"]
    rows = [(found["long"][pair], there) for pair, there in CARD_LONG.items()]
    rows += [(found["accuracy"][pair], there) for pair, there in CARD_ACCURACY.items()]
    return printed([x for row, _ in rows for x in row], [x for _, there in rows for x in there])


def c4b(results: Results) -> Evidence:
    """The card's two bounds; at the start the success is 0.6."""
    long, right = (results["branch"][name]["0.5, 0.7"] for name in ("long", "accuracy"))
    measured = {"P(long)": [long[1], long[3]], "success": right[3]}
    return Evidence(long[1] > 0.9 and long[3] < 0.5 and right[3] < 0.6, measured, "> 0.9, < 0.5; < 0.6", 0.0)


def p1(results: Results) -> Evidence:
    *all_taken, together = results["small"].values()
    return Evidence(max(map(abs, all_taken)) == 0 and together < 0, results["small"], "0, 0, < 0", tolerance=0.0)


def x1(results: Results) -> Evidence:
    found = results["delay"]
    return Evidence(abs(found["right"][0] - 2.5) <= 1e-9 and falling(found["right"]), found["right"], "2.5, falling", 0)


def s1(results: Results) -> Evidence:
    return at_most(max(results["trainer"].values()), 1e-12)


EXACT: tuple[tuple[str, str, Callable[[Results], Evidence]], ...] = (
    ("C1", "priority and rest add up to the whole, for every group, alpha and mean, on policy and off it", c1),
    ("C2a", "at the uniform policy the whole leaves E[L], the priority shortens, the rest lengthens by as much", c2a),
    ("C2b", "where length and success are independent but one logit an answer couples them, all three drift", c2b),
    ("C2c", "with logits of lengths, the natural gradient, even lengths or success 1/2: 0, less, more", c2c),
    ("C2d", "with one logit an answer the priority may even lengthen", c2d),
    ("C3a", "at accuracy 0.95 lengths fall with the weight on the rest: the card's table", c3a),
    ("C3b", "from six random starts too", c3b),
    ("C4a", "where longer is better: P(long) and accuracy after 599 updates, the card's twenty numbers", c4a),
    ("C4b", "without the rest the policy takes the short, worse branch; half of it keeps the long one", c4b),
    ("P1", "ceil takes all of a small group, and nothing is shortened; ranked over the batch it is", p1),
    ("X1", "all of the rest given back late shortens too, the more the later", x1),
    ("S1", "the Trainer on enumerated answers takes the steps of the flow, in two halves", s1),
)


def shortest(results: Results) -> Evidence:
    """Seed by seed, p_comp 0 less the shortest of all others."""
    others = zip(*(last(results, name, "length") for name in results["runs"] if name != arm(0.0)), strict=True)
    ends = zip(last(results, arm(0.0), "length"), others, strict=True)
    return below([end - min(there) for end, there in ends], 0.0)


def sampled() -> tuple[Claim, ...]:
    """The claims of the rungs that sample. The first three are the card's, the others were set down before the run."""
    length, success = "length", "success"
    rows: list[tuple[str, Callable[[Results], Evidence]]] = [
        ("p_comp 0.5 ends shorter than GRPO", partial(trails, method=HALF, other="GRPO", figure=length)),
        (
            "and loses less than 0.05 of its success",
            partial(leads, method=HALF, other="GRPO", figure=success, above=-0.05),
        ),
        ("p_comp 0 ends shorter than all others", shortest),
        *(
            (
                f"p_comp {less:g} ends shorter than p_comp {more:g}",
                partial(trails, method=arm(less), other=arm(more), figure=length),
            )
            for more, less in pairwise(RATES[:3])
        ),
        (
            "p_comp 1 ends shorter than GRPO: a part that comes second is not the part of a whole",
            partial(trails, method=arm(1.0), other="GRPO", figure=length),
        ),
        ("p_comp 0 loses success against GRPO", partial(trails, method=arm(0.0), other="GRPO", figure=success)),
        (
            "p_comp 0.5 has more right answers within half of the tokens than GRPO",
            partial(leads, method=HALF, other="GRPO", figure="success, half the tokens"),
        ),
        ("with the buffer p_comp 0.5 too is shorter", partial(trails, method=DELAYED, other="GRPO", figure=length)),
        (
            "and has not less success than without it, by more than 0.02",
            partial(leads, method=DELAYED, other=HALF, figure=success, above=-0.02),
        ),
    ]
    return sampled_claims(rows)


CLAIMS = (
    *(Claim(name, text, "theorem", "exact", check) for name, text, check in EXACT),
    *sampled(),
)
