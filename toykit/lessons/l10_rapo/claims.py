"""The claims of lesson 10, each a pure function of its rung's results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from toykit.lessons.base import Claim, Evidence, Results, at_most, difference, effect, units
from toykit.lessons.compare import falls, leads, rises

# The card's numbers, as it prints them.
CARD = {
    "reverse": (
        ("1.0000", "0.9955", "0.5999", "0.0695"),
        ("1.0000", "0.6878", "0.01463", "7.4e-4"),
        ("0.9979", "0.02155", "1.5e-4", "7.4e-6"),
        ("0", "0", "0", "0"),
    ),
    "forward": (
        ("0.9505", "0.9011", "0.8025", "0.5098"),
        ("0.9500", "0.9000", "0.8000", "0.5001"),
        ("0.95", "0.9", "0.8", "0.5"),
        ("0.95", "0.9", "0.8", "0.5"),
    ),
}
CARD_STEPS = {
    "reverse": [134, -1, -1],
    "forward": [101, 964, 9726],
    "tempered": [46, 111, 190],
    "literal": [75, 553, 5251],
}
CARD_AUTODIFF = (0.3212, 0.2180, -0.0304, -0.5089)


def c1a(results: Results) -> Evidence:
    """Random problems whose best answer the reference cannot say, and the card's."""
    return at_most(max(results["stationary"]["escaped"], *results["table"]["reverse"][-1]), 0.0)


def c1b(results: Results) -> Evidence:
    found = results["table"]
    return at_most(max(abs(m - (1 - a)) for m, a in zip(found["forward"][-1], found["alphas"], strict=True)), 1e-12)


def c1c(results: Results) -> Evidence:
    """All 32 numbers of the card's table, rounded as it rounds them."""
    found = results["table"]
    worst = max(
        units(measured, printed)
        for way, rows in CARD.items()
        for row, there in zip(found[way], rows, strict=True)
        for measured, printed in zip(row, there, strict=True)
    )
    return Evidence(worst <= 0.501, {"units of the last digit": worst}, "<= 0.5", tolerance=0.501)


def c2a(results: Results) -> Evidence:
    found = results["stationary"]
    measured = {"gradient": found["gradient"], "spread of the constant": found["constant"]}
    holds = max(measured.values()) <= 1e-9 and found["best gain"] < 0
    return Evidence(holds, measured | {"best gain": found["best gain"]}, "0, 0, < 0", tolerance=1e-9)


def c2b(results: Results) -> Evidence:
    found = results["table"]["with entropy"]
    worst = max(units(found["forward"], "0.7699"), units(found["reverse"], "0.0251"))
    return Evidence(worst <= 0.501, found, {"forward": 0.7699, "reverse": 0.0251}, tolerance=0.501)


def c3a(results: Results) -> Evidence:
    found = results["estimator"]
    return Evidence(found["error"] <= 1e-12 and found["least"] >= -1e-15, found, "0, >= 0", tolerance=1e-12)


def apart(first: Sequence[float], second: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(first, second, strict=True))


def c3b(results: Results) -> Evidence:
    found = results["audit"]
    errors = {name: apart(found[name], found["exact"]) for name in ("score", "autodiff of k3")}
    return at_most(max(errors.values()), 1e-14)


def c3c(results: Results) -> Evidence:
    """The card's four digits, which differ from the exact gradient by up to 0.2."""
    found = results["audit"]
    off, far = apart(found["autodiff of D"], CARD_AUTODIFF), apart(found["autodiff of D"], found["exact"])
    return Evidence(off <= 5e-5 and far > 0.2, {"from the card's": off, "from exact": far}, "0, > 0.2", tolerance=5e-5)


def b1(results: Results) -> Evidence:
    """The card's twelve numbers of steps; where reverse KL never arrives its optimum is the card's .129 and .0146."""
    found = results["flow"]
    off = max(apart(found["steps"][way], steps) for way, steps in CARD_STEPS.items())
    level = max(units(found["plateau"][1], "0.129"), units(found["plateau"][2], "0.0146"))
    return Evidence(off == 0 and level <= 0.501, found["steps"], CARD_STEPS, tolerance=0.0)


def b2(results: Results) -> Evidence:
    """Fewer steps from every start, and by a growing factor."""
    steps = results["flow"]["steps"]
    factors = [a / b for a, b in zip(steps["forward"], steps["tempered"], strict=True)]
    return Evidence(min(factors) > 1 and all(a < b for a, b in pairwise(factors)), factors, "> 1, growing", 0.0)


def b3(results: Results) -> Evidence:
    mass = results["flow"]["literal mass"]
    return Evidence(mass < 0.01 and units(mass, "0.0014") <= 0.501, mass, "0.0014 < 0.01", tolerance=5e-5)


def s1(results: Results) -> Evidence:
    return at_most(max(results["trainer"]["errors"].values()), 1e-12)


def at(results: Results, arm: str, k: int) -> list[float]:
    """pass@k of an arm (or "base") at the end, by seed."""
    found = results["shared"]
    curves = found["base"] if arm == "base" else found["pass"][arm]
    return [curve[found["ks"].index(k)] for curve in curves]


def beats(results: Results, arm: str, other: str, k: int) -> Evidence:
    return effect(difference(at(results, arm, k), at(results, other, k)), above=0.0)


def c4d(results: Results) -> Evidence:
    """The least lead over the base among all k, seed by seed."""
    leads = [difference(at(results, "RAPO", k), at(results, "base", k)) for k in results["shared"]["ks"]]
    return effect([min(of_seed) for of_seed in zip(*leads, strict=True)], above=0.0)


def c5(results: Results) -> Evidence:
    first = results["shared"]["first"]
    return effect(difference(first["forward KL"], first["RAPO"]), above=0.0)


REVERSE, STRONG = "reverse KL 0.1", "reverse KL 0.5"
EXACT: tuple[tuple[str, str, str, Callable[[Results], Evidence]], ...] = (
    ("C1a", "theorem", "the reverse KL's optimum has no mass where the reference has none", c1a),
    ("C1b", "theorem", "the forward KL's optimum may have 1 - α there", c1b),
    ("C1c", "theorem", "masses of a rare right answer at both optima, for four α and four ε down to 0", c1c),
    ("C2a", "theorem", "the closed forms are the maximisers, with an entropy bonus too", c2a),
    ("C2b", "theorem", "with an entropy bonus of 0.05 (α = 0.2, ε = 1e-4): 0.7699 forward, 0.0251 reverse", c2b),
    ("C3a", "theorem", "the mean of D under the policy is KL(refhat, π), and D >= 0", c3a),
    ("C3b", "theorem", "(1 - w) ∇log π has the forward KL's gradient; so has autodiff of GRPO's k3", c3b),
    ("C3c", "theorem", "autodiff of D has another one", c3c),
    ("B1", "theorem", "exact flow reaches half of the mass in just so many steps, or under reverse KL never", b1),
    ("B2", "theorem", "flattening the reference by E r shortens the way, the more the rarer the answer", b2),
    ("B3", "theorem", "read literally, the formula gives the right answer less mass than the reference did", b3),
    ("S1", "theorem", "the Trainer on enumerated answers takes the steps of the flow (same code)", s1),
    ("C4a", "effect", "GRPO ends below the base at k = 1024", partial(beats, arm="base", other="GRPO", k=1024)),
    ("C4b", "effect", "GRPO with reverse KL 0.1 too", partial(beats, arm="base", other=REVERSE, k=1024)),
    ("C4c", "effect", "reverse KL 0.5 ends above the base there", partial(beats, arm=STRONG, other="base", k=1024)),
    ("C4d", "effect", "but at a lower pass@1 than GRPO", partial(beats, arm="GRPO", other=STRONG, k=1)),
    ("C4e", "effect", "RAPO ends above the base at every k", c4d),
    ("C4f", "effect", "RAPO ends above GRPO at k = 1024", partial(beats, arm="RAPO", other="GRPO", k=1024)),
    ("C4g", "effect", "and at k = 1", partial(beats, arm="RAPO", other="GRPO", k=1)),
    ("C5", "effect", "flattening shortens the time until the rarest prompts are solved (steps saved)", c5),
)


def sooner(results: Results) -> Evidence:
    """Success of the hardest quarter of the training prompts halfway, RAPO less the untempered forward KL."""
    middle = results["stops"].index(results["halfway"])
    a, b = (
        [path[middle] for path in results["runs"][name]["train hard pass@1"]] for name in ("RAPO", "GRPO + forward KL")
    )
    return effect(difference(a, b), above=0.0)


def sampled(rung: str, letter: str) -> tuple[Claim, ...]:
    """The claims of a rung that samples; their directions are the card's or were set down before the first run."""
    far = "test pass@256"
    rows: list[tuple[str, Callable[[Results], Evidence]]] = [
        ("GRPO raises the held-out pass@1", partial(rises, method="GRPO", figure="test pass@1")),
        ("GRPO falls below the base at k = 256, held out", partial(falls, method="GRPO", figure=far)),
        ("GRPO with reverse KL does too", partial(falls, method="GRPO + reverse KL", figure=far)),
        ("RAPO ends above the base at k = 256, held out", partial(rises, method="RAPO", figure=far)),
        ("RAPO ends above GRPO at k = 256, held out", partial(leads, method="RAPO", other="GRPO", figure=far)),
        (
            "RAPO ends above GRPO with reverse KL at k = 256, held out",
            partial(leads, method="RAPO", other="GRPO + reverse KL", figure=far),
        ),
        (
            "RAPO ends above GRPO with forward KL at k = 256, held out",
            partial(leads, method="RAPO", other="GRPO + forward KL", figure=far),
        ),
        (
            "RAPO's held-out pass@1 is not lower than GRPO's, by more than 0.02",
            partial(leads, method="RAPO", other="GRPO", figure="test pass@1", above=-0.02),
        ),
        ("flattening solves more of the hardest quarter halfway", sooner),
        (
            "GRPO with reverse KL beside the advantage falls below the base at k = 256, held out",
            partial(falls, method="GRPO + reverse KL, beside", figure=far),
        ),
    ]
    return tuple(Claim(f"{letter}{i}", text, "effect", rung, check) for i, (text, check) in enumerate(rows, start=1))


CLAIMS = (
    *(Claim(name, text, kind, "exact", check) for name, kind, text, check in EXACT),
    *sampled("gpt", "G"),
    *sampled("llm", "L"),
)
