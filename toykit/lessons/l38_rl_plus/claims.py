"""The claims of lesson 38, each a pure function of its rung's results."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import fmean

from toykit.lessons.base import (
    Claim,
    Evidence,
    Results,
    at_most,
    below,
    difference,
    effect,
    printed,
    sampled_claims,
)
from toykit.lessons.compare import leads, rises
from toykit.lessons.l38_rl_plus.exact import KS

# The card's numbers, as it prints them.
WEIGHTS = {
    "IS": ("1.0", "1.66", "7.03", "835"),
    "IS, largest": ("1", "7.9", "91", "2.397e4"),
    "MIS": ("1.00", "0.889", "0.676", "0.349"),
    "proxy": ("1.015", "1.033", "1.030", "1.022"),
}
STEPS = {  # None: more than 60,000
    "GRPO": (7, 163, 15233, None),
    "GRPO, no std": (16, 478, 46038, None),
    "off-policy": (15, 94, 210, 482),
    "LUFFY": (17, 84, 146, 223),
    "RL-PLUS": (14, 56, 100, 184),
    "RL-PLUS, 1/V": (12, 35, 53, 77),
    "SFT": (12, 33, 48, 64),
    "RL-PLUS, no EAF": (13, 51, 90, 170),
}
SHARED = {  # pass@1, pass@64, pass@1024; for RL-PLUS's 0.5605 the card has 0.561
    "base": ("0.021", "0.484", "0.884"),
    "GRPO": ("0.386", "0.404", "0.440"),
    "LUFFY": ("0.325", "0.566", "0.779"),
    "RL-PLUS": ("0.379", "0.560", "0.723"),
    "RL-PLUS, 1/V": ("0.426", "0.871", "0.934"),
    "SFT": ("0.249", "0.995", "1.000"),
    "SFT, c = 1": ("0.704", "1.000", "1.000"),
}


def c1a(results: Results) -> Evidence:
    """On the card's laws and on 6,000 random ones."""
    return at_most(max(*map(abs, results["weights"]["both, bias"]), results["laws"]["both, error"]), 1e-12)


def c1b(results: Results) -> Evidence:
    """The part of the bound that is used, on random laws and on the card's."""
    found, card = results["laws"], results["weights"]
    largest = card["proxy, largest"][0]
    used = max(found["share of the bound"], *(x / (4 * largest**2) for x in card["MIS"]))
    return Evidence(used <= 1 and round(largest, 4) == 1.1105, {"of the bound": used, "max": largest}, "<= 1, 1.1105")


def c1c(results: Results) -> Evidence:
    """With a token's pi = 1/4 and omega from 1e-2 to 1e-8: E[w^2] times omega tends to 1/16; MIS's stays below 4."""
    found = results["laws"]
    limit = found["IS"][-1] * found["least"][-1]
    holds = abs(limit - 1 / 16) <= 1e-6 and max(found["MIS"]) <= 4
    return Evidence(holds, {"IS": found["IS"], "MIS": found["MIS"]}, "~ 1 / (16 omega), <= 4", tolerance=1e-6)


def c1d(results: Results) -> Evidence:
    found = results["weights"]
    measured = [x for name in WEIGHTS for x in found[name]] + [found["MIS, bias"][-1], found["proxy, bias"][-1]]
    return printed(measured, (*(x for row in WEIGHTS.values() for x in row), "-0.254", "0.153"))


def c2a(results: Results) -> Evidence:
    return at_most(max(results["coefficients"]["errors"].values()), 1e-12)


def c2b(results: Results) -> Evidence:
    found = results["coefficients"]
    return printed([*found["largest"], *found["at 1e-4"]], ("0.568", "0.457", "1.305", "4e-4"))


def c2c(results: Results) -> Evidence:
    return at_most(max(results["step"].values()), 1e-12)


def c2d(results: Results) -> Evidence:
    return printed(results["coefficients"]["exercise"], ("1.65e-5", "0.0185", "1.1e3"))


def c2e(results: Results) -> Evidence:
    found = results["coefficients"]
    least, most = found["rare to known"]
    holds = found["at most 1"] <= 1 and round(least, 3) == 0.076 and round(most, 3) == 0.531
    return Evidence(holds, [found["at most 1"], least, most], "<= 1, 0.076, 0.531", tolerance=5e-4)


def c3a(results: Results) -> Evidence:
    """All 32 numbers of the card, of which two say "more than 60,000"."""
    found = results["rare"]["steps"]
    wrong = {n: found[n] for n, row in STEPS.items() if found[n] != [-1 if x is None else x for x in row]}
    exact = results["rare"]["in plain numbers"] <= 1e-12
    return Evidence(not wrong and exact, wrong or "as printed", "as printed", tolerance=0.0)


def c3b(results: Results) -> Evidence:
    found = results["rare"]["steps"]
    ratio = found["RL-PLUS"][2] / found["GRPO"][2]
    return Evidence(ratio < 1 / 100, ratio, "< 1/100", tolerance=0.0)


def c3c(results: Results) -> Evidence:
    """d log steps / d log(1/p_t) for a path of three tokens; on-policy it tends to 3."""
    slopes = results["scaling"]["slopes"]
    most = max(x for name, row in slopes.items() if name != "GRPO" for x in row)
    measured = {"most, with a solution": most, "GRPO": slopes["GRPO"]}
    return Evidence(most <= 1 and min(slopes["GRPO"]) > 2.5, measured, "<= 1, > 2.5", tolerance=0.0)


def c3d(results: Results) -> Evidence:
    """What one more token of p_t = 0.1 costs, from four to five: GRPO by a factor, the others by some steps."""
    found = results["scaling"]["length"]
    measured = {name: found[name][3:5] for name in ("GRPO", "RL-PLUS", "RL-PLUS, 1/V")}
    more = [found[name][4] - found[name][3] for name in ("RL-PLUS", "RL-PLUS, 1/V")]
    return Evidence(
        found["GRPO"][4] / found["GRPO"][3] > 7 and max(more) < 20, measured, "x > 7, + < 20", tolerance=0.0
    )


def x1(results: Results) -> Evidence:
    """Both slips of the text, u = 1/V and the standard deviation, make the rare path faster, in each row."""
    found = results["rare"]["steps"]
    rows = list(zip(found["paper"], found["RL-PLUS, 1/V"], found["RL-PLUS"], strict=True))
    holds = all(paper < u < code for paper, u, code in rows) and rows[-1] == (29, 77, 184)
    return Evidence(holds, [list(r) for r in rows], "paper < 1/V < code; 29, 77, 184", tolerance=0.0)


def shared(results: Results, name: str, k: int) -> list[float]:
    """pass@k of an arm, seed by seed."""
    return [row[KS.index(k)] for row in results["sharing"]["pass"][name]]


def c4a(results: Results) -> Evidence:
    """The 21 means over seeds."""
    measured = [fmean(shared(results, name, k)) for name in SHARED for k in (1, 64, 1024)]
    return printed(measured, tuple(x for row in SHARED.values() for x in row))


def c4b(results: Results) -> Evidence:
    """In every seed, as the card asks, and by the interval."""
    lead = difference(shared(results, "RL-PLUS", 1024), shared(results, "GRPO", 1024))
    found = effect(lead, above=0.1)
    return Evidence(
        found.holds and min(lead) > 0.1 if found.holds is not None else None,
        {"mean": found.measured, "least": min(lead), "most": max(lead)},
        "> 0.1 in every seed",
        interval=found.interval,
    )


def c4c(results: Results) -> Evidence:
    """The whole interval lies within 0.06."""
    apart = difference(shared(results, "RL-PLUS", 1), shared(results, "GRPO", 1))
    low, high = effect(apart, above=-0.06), below(apart, 0.06)
    holds = None if low.holds is None else bool(low.holds and high.holds)
    return Evidence(holds, low.measured, "within 0.06", interval=low.interval)


def c4d(results: Results) -> Evidence:
    return effect(difference(shared(results, "RL-PLUS, 1/V", 1024), shared(results, "RL-PLUS", 1024)), above=0.0)


def c4e(results: Results) -> Evidence:
    """The paper's pass@k "stays above base"; the card's own numbers say otherwise here."""
    return effect(difference(shared(results, "RL-PLUS", 1024), shared(results, "base", 1024)), above=0.0)


def c5(results: Results) -> Evidence:
    found = results["sharing"]["entropy"]
    return effect(difference(found["RL-PLUS"], found["GRPO"]), above=0.0)


def s1(results: Results) -> Evidence:
    return at_most(max(results["trainer"].values()), 1e-12)


THEOREM, EFFECT = "theorem", "effect"
EXACT: tuple[tuple[str, str, str, Callable[[Results], Evidence]], ...] = (
    ("C1a", THEOREM, "with a sample from each of two policies the weights 2 π / (ω + π_old) are unbiased", c1a),
    ("C1b", THEOREM, "their second moment under ω is at most 4 max(π / π_old)², whatever ω is", c1b),
    ("C1c", THEOREM, "that of π / ω has no bound: it grows like 1 / ω where ω leaves a token out", c1c),
    ("C1d", THEOREM, "the card's moments and biases; the solution's half alone is biased, by -0.254", c1d),
    ("C2a", THEOREM, "the gradient of a solution's token is A times the formula of each method (autograd)", c2a),
    ("C2b", THEOREM, "at p = 1e-4 the released weight is 4e-4, that of the text 1.305 (V = 152,000)", c2b),
    ("C2c", THEOREM, "the mean step over all groups pushes by (7/64) (7 p + (1 - p) e(p_t)), e of the token", c2c),
    ("C2d", THEOREM, "p_t = 0.05, four tokens: the solution pushes 1,100 times as hard as the policy's rows", c2d),
    ("C2e", THEOREM, "(1 - p)^γ slows every token; rare ones get 0.53 instead of 0.076 of a known one's", c2e),
    ("C3a", THEOREM, "the card's steps until a rare path is found", c3a),
    ("C3b", THEOREM, "RL-PLUS needs less than 1/100 of GRPO's steps at p_t = 0.05, four tokens", c3b),
    ("C3c", THEOREM, "its steps grow at most like 1 / p_t, GRPO's like 1 / p_t^T", c3c),
    ("C3d", THEOREM, "a fifth token of p_t = 0.1 costs GRPO a factor of more than 7, RL-PLUS under 20 steps", c3d),
    ("X1", THEOREM, "the text's variants (u = 1/V, std) find rare paths sooner than the released code", x1),
    ("C4a", THEOREM, "the card's pass@k of prompts that share weights, of which one, 0.561, is 0.5605", c4a),
    ("C4b", EFFECT, "RL-PLUS's pass@1024 is more than 0.1 above GRPO's", c4b),
    ("C4c", EFFECT, "its pass@1 is within 0.06 of GRPO's", c4c),
    ("C4d", EFFECT, "with u = 1/V its pass@1024 is higher still", c4d),
    ("C4e", EFFECT, "its pass@1024 stays above the base's", c4e),
    ("C5", EFFECT, "it keeps more entropy than GRPO", c5),
    ("S1", THEOREM, "the Trainer on all completions and a share of solutions takes the steps of the flow", s1),
)


def sampled() -> tuple[Claim, ...]:
    """The card's: pass@64 above GRPO's and pass@1 above SFT's (G1, G2). From the paper: above LUFFY and above GRPO with
    an SFT loss, above the base at large k, entropy (G3 - G6). Ours: rare prompts, u, held-out prompts (G7 - G10)."""
    plus, text = "RL-PLUS", "RL-PLUS, 1/V"
    rows: list[tuple[str, Callable[[Results], Evidence]]] = [
        ("RL-PLUS's pass@64 ends above GRPO's", partial(leads, method=plus, other="GRPO", figure="train pass@64")),
        ("its pass@1 ends above SFT's", partial(leads, method=plus, other="SFT", figure="train pass@1")),
        ("above LUFFY's", partial(leads, method=plus, other="LUFFY", figure="train pass@1")),
        ("above that of GRPO + SFT", partial(leads, method=plus, other="GRPO + SFT", figure="train pass@1")),
        ("its pass@1024 ends above the base's", partial(rises, method=plus, figure="train pass@1024")),
        ("its entropy ends above GRPO's", partial(leads, method=plus, other="GRPO", figure="entropy")),
        (
            "prompts that the base solves less than once in 1,000 times end likelier than under GRPO",
            partial(leads, method=plus, other="GRPO", figure="train rare pass@1"),
        ),
        ("and with u = 1/V likelier still", partial(leads, method=text, other=plus, figure="train rare pass@1")),
        (
            "held out, RL-PLUS's pass@1024 ends above GRPO's",
            partial(leads, method=plus, other="GRPO", figure="test pass@1024"),
        ),
        ("and its pass@1 above GRPO's", partial(leads, method=plus, other="GRPO", figure="test pass@1")),
    ]
    return sampled_claims(rows)


CLAIMS = (*(Claim(name, text, kind, "exact", check) for name, kind, text, check in EXACT), *sampled())
