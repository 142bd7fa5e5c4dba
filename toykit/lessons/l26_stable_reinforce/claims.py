"""The claims of lesson 26, each a pure function of its rung's results."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from toykit.lessons.base import Claim, Evidence, Results, at_most, printed
from toykit.lessons.l26_stable_reinforce.sampled_claims import SAMPLED

# The card's numbers, as it prints them.
CARD_SAMPLE = ("-15.9375", "-3.0338", "-2.9684")
CARD_THINKING = {
    "hard": {"result only": (".937", ".069"), "multiplicative": (".842", ".230"), "additive": (".326", ".699")},
    "easy": {"result only": (".985", ".173"), "multiplicative": (".993", ".986"), "additive": (".994", ".988")},
    "two logits": {"result only": (".970", ".038"), "multiplicative": (".958", ".896"), "additive": (".491", ".759")},
}


def c1a(results: Results) -> Evidence:
    """z of the rare class against -sqrt(k / (n - k)), and against it for all batches and levels."""
    found = results["table"]
    card = max(abs(z + (k / (n - k)) ** 0.5) for z, (n, k) in zip(found["z"], found["batches"], strict=True))
    return at_most(max(card, results["classes"]["error"]), 1e-12)


def c1b(results: Results) -> Evidence:
    return Evidence(results["classes"]["wrongly"] == 0, results["classes"]["wrongly"], 0, tolerance=0.0)


def c1c(results: Results) -> Evidence:
    """The card's seven batches, and the smallest batch of all in which anything is removed."""
    kept, smallest = results["table"]["kept"], results["classes"]["smallest"]
    expected = [False, False, True, True, False, False, True]
    return Evidence(
        kept == expected and smallest == 11, {"kept": kept, "n": smallest}, {"kept": expected, "n": 11}, 0.0
    )


def c1d(results: Results) -> Evidence:
    return printed(results["table"]["sample"][:3], CARD_SAMPLE)


def c1e(results: Results) -> Evidence:
    """The card says about a fifth of the batches that it tried."""
    share = results["classes"]["beyond at a tenth"]
    return Evidence(0.1 <= share <= 0.3, share, "about 0.2", tolerance=0.1)


def c2a(results: Results) -> Evidence:
    return at_most(max(abs(x - 0.05) for x in results["slower"]["ratio"]), 1e-12)


def c2b(results: Results) -> Evidence:
    found = results["slower"]
    holds = found["error"] <= 1e-12 and min(found["rare"], found["common"]) > 10
    return Evidence(holds, found["error"], 0.0, tolerance=1e-12)


def c2c(results: Results) -> Evidence:
    steps = {name: results["flow"]["steps"][name][0] for name in ("none", "paper")}
    return Evidence(steps == {"none": 101, "paper": 391}, steps, {"none": 101, "paper": 391}, tolerance=0.0)


def x1(results: Results) -> Evidence:
    """The factor 1 - p falls on the way, where that of rare successes rises."""
    none, paper = (results["flow"]["steps"][name] for name in ("none", "paper"))
    last = {"none": none[1] - none[0], "paper": paper[1] - paper[0]}
    return Evidence(last["paper"] > 10 * last["none"], last, "more than 10 times as many", tolerance=0.0)


def x2(results: Results) -> Evidence:
    """sqrt(p / (1 - p)) = 2.5 - 1.5 p at p = 0.6848 and sqrt((1 - p) / p) = 3.5 + 1.5 p at 0.0715."""
    paper, code = results["code"]["paper"], results["code"]["code"]
    measured = [paper["wrong from"], paper["right up to"], code["wrong from"], code["right up to"]]
    holds = measured == [0.901, 0.099, 0.685, 0.071] and code["largest"] > 3.5
    return Evidence(holds, [*measured, code["largest"]], [0.901, 0.099, 0.685, 0.071, "> 3.5"], tolerance=0.0)


def x3(results: Results) -> Evidence:
    """Where the factor hardly changes, Adam takes (nearly) the steps that it takes without the filter."""
    found = results["adam"]
    holds = found["sgd"]["paper"] > 10 * found["sgd"]["none"] and found["adam"]["paper"] < 1.1 * found["adam"]["none"]
    return Evidence(holds, found, "more than 10 times as many, less than 1.1 times", tolerance=0.0)


def c3(results: Results, expected: dict[str, list[str]]) -> Evidence:
    measured = {name: results["overflow"]["far"][name] for name in expected}
    near = "pre-clip, A = -1" not in measured or abs(float(measured["pre-clip, A = -1"][0]) - 1000) <= 1e-3
    return Evidence(near and measured == expected, measured, expected, tolerance=1e-3)


def c3c(results: Results) -> Evidence:
    return at_most(results["overflow"]["inside"], 0.0)


def x4(results: Results) -> Evidence:
    """c times the probability that the ratio is c or more, over random pairs of laws, for c = 2, 10 and 1000."""
    found = results["markov"]
    holds = max(found["c times the probability"]) <= 1 and found["mean - 1"] <= 1e-12
    return Evidence(holds and found["log-ratio over its bound"] <= 0, found, "<= 1, 0, <= 0", tolerance=1e-12)


def c4a(results: Results) -> Evidence:
    """A wrong verdict that agrees with its thought, against one that does not: the difference of their rewards."""
    found = {name: abs(x) for name, x in results["gate"]["wrong"].items()}
    return Evidence(
        found == {"result only": 0.0, "multiplicative": 0.0, "additive": 1.0}, found, "0, 0, 1", tolerance=0.0
    )


def ends(results: Results, start: str) -> dict[str, list[float]]:
    """(accuracy, consistency) at the end by reward."""
    found = results["gate"][start]
    if start == "two logits":
        return found
    return {name: [found[name][what][-1] for what in ("accuracy", "consistency")] for name in CARD_THINKING[start]}


def c4b(results: Results, start: str) -> Evidence:
    card, found = CARD_THINKING[start], ends(results, start)
    return printed([x for name in card for x in found[name]], [x for pair in card.values() for x in pair])


def c4c(results: Results) -> Evidence:
    hard, easy = ends(results, "hard"), ends(results, "easy")
    measured = {"hard, accuracy": [hard["additive"][0], hard["multiplicative"][0]]}
    measured["easy, consistency"] = [easy["multiplicative"][1]]
    return Evidence(
        hard["additive"][0] < hard["multiplicative"][0] and easy["multiplicative"][1] > 0.95,
        measured,
        "additive < multiplicative, > 0.95",
        tolerance=0.0,
    )


def s1(results: Results) -> Evidence:
    return at_most(max(results["trainer"][name] for name in ("none", "paper", "code")), 1e-12)


NAIVE = {"naive, A = -1": ["inf", "inf"]}
CLIPPED = {"pre-clip, A = -1": ["1000.0001", "0"], "pre-clip, A = +1": ["-1.2", "0"]}
EXACT: tuple[tuple[str, str, Callable[[Results], Evidence]], ...] = (
    (
        "C1a",
        "the rarer class has |z| = sqrt((1 - f) / f), the other one sqrt(f / (1 - f)), whatever the two rewards",
        c1a,
    ),
    ("C1b", "the filter removes the whole rarer class where f < 1/10, and nothing else", c1b),
    ("C1c", "the card's seven batches; no batch of 10 or fewer loses anything, one of 11 can", c1c),
    ("C1d", "with the sample's deviation the z of the first three are the card's", c1d),
    ("C1e", "at f = 1/10 rounding lifts |z| above 3 in about a fifth of the batches", c1e),
    ("C2a", "on the card's bandit the filter multiplies every gradient by p = 0.05", c2a),
    ("C2b", "on random ones too: by p below 0.1, by 1 - p above 0.9, by 1 between", c2b),
    ("C2c", "to a success of 0.9: 101 steps without and 391 with the filter", c2c),
    ("X1", "and from there to 0.95 more than ten times as many", x1),
    ("X2", "the released code's comparison removes wrong verdicts from p = 0.685 on, right ones up to 0.071", x2),
    ("X3", "from 0.91 to 0.95 the filter costs gradient ascent ten times the steps, and Adam hardly any", x3),
    ("C3a", "in float32 a log-ratio of 100 at A = -1 gives an infinite loss and gradient", partial(c3, expected=NAIVE)),
    ("C3b", "with the pre-clip 1000 and a gradient of 0", partial(c3, expected=CLIPPED)),
    ("C3c", "within the band the pre-clip changes nothing", c3c),
    (
        "C3d",
        "at A > 0 the gradient is NaN without the pre-clip, not 0 as the card says",
        partial(c3, expected={"naive, A = +1": ["-1.2", "nan"]}),
    ),
    (
        "X4",
        "a token of the policy's own has a ratio of c or more with probability at most 1 / c, and at most 1 / π",
        x4,
    ),
    ("C4a", "what consistency adds to a wrong verdict: 0 if it multiplies, something if it is added", c4a),
    ("C4b", "accuracy and consistency from the hard start", partial(c4b, start="hard")),
    ("C4c", "from the easy start", partial(c4b, start="easy")),
    ("C4d", "with two logits a choice, from the hard start, by the Trainer", partial(c4b, start="two logits")),
    ("C4e", "hard start: the added one is less accurate; easy start: the multiplied one gets consistent", c4c),
    ("S1", "the Trainer on enumerated answers takes the steps of the flow, with either filter and without", s1),
)

CLAIMS = (*(Claim(name, text, "theorem", "exact", check) for name, text, check in EXACT), *SAMPLED)
