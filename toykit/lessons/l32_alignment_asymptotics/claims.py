"""The claims of lesson 32, each a pure function of its rung's results."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from toykit.lessons.base import Claim, Evidence, Results, at_most, below, effect

NEAR = 0.01  # reward a letter: how far below the frontier a trained policy may stay


def c1(results: Results) -> Evidence:
    """No law of the grid has more reward within the budget, and the grid's best comes near the tilt's."""
    rows = results["maximiser"]["rows"]
    excess = max(row["grid"] - row["tilt"] for row in rows)
    near = max(row["tilt"] - row["grid"] for row in rows)
    whole = results["maximiser"]["missing_at_largest"]
    measured = {"grid minus tilt": excess, "at the largest budget": whole}
    return Evidence(excess <= 1e-12 and near < 0.02 and whole <= 1e-12, measured, "<= 0, 0", tolerance=1e-12)


def c2a(results: Results) -> Evidence:
    """At the card's three draws, and relative to 1 + alpha at random problems."""
    found = results["letter"]
    card = max(abs(a - b) for a, b in zip(found["left"], found["right"], strict=True))
    return at_most(max(card, results["identity"]["error"]), 1e-12)


def c2b(results: Results) -> Evidence:
    """KL(w, phi) - alpha (E_phi r - E_w r) for laws w within the budget, of which there are many."""
    found = results["identity"]
    holds = found["within"] > 1000 and found["excess"] <= 1e-12 and found["most_reward"] <= 1e-12
    return Evidence(holds, found["excess"], "<= 0", tolerance=1e-12)


def c3a(results: Results) -> Evidence:
    found = results["curve"]
    return at_most(max(found["reward_error"], found["kl_error"], results["letter"]["error"]), 1e-12)


def c3b(results: Results) -> Evidence:
    """Along the tilt reward rises with KL, ever more slowly; dKL / dalpha = alpha Var r up to the step's square."""
    found = results["curve"]
    holds = found["least_gain"] > 0 and found["most_bend"] < 0 and found["speed_error"] < 1e-3
    measured = {"least gain": found["least_gain"], "largest bend": found["most_bend"]}
    return Evidence(holds, measured, "> 0, < 0", tolerance=0.0)


def c4a(results: Results) -> Evidence:
    """The least slack at random problems and at strings of every length."""
    rows = [row["bound"] - row["kl"] for row in results["table"]]
    least = min(results["bound"]["least_slack"], *rows)
    return Evidence(least > 0, least, "> 0", tolerance=0.0)


def c4b(results: Results) -> Evidence:
    """n = 8 among 10, 100, 1000 and 10,000 equally likely completions of different rewards."""
    fine = results["bound"]["fine"]
    falls = all(a > b > 0 for a, b in pairwise(fine))
    return Evidence(falls and fine[-1] <= 1e-6, fine[-1], 0.0, tolerance=1e-6)


def gap(row: dict[str, Any]) -> float:
    return float(row["rl"] - row["bon"])


def c5a(results: Results) -> Evidence:
    """Strictly falling from 4 letters to 1,024, at 256 below 0.02."""
    gaps = {row["m"]: gap(row) for row in results["table"]}
    holds = all(a > b > 0 for a, b in pairwise(gaps.values())) and gaps[256] < 0.02
    return Evidence(holds, {f"m = {m}": gaps[m] for m in (4, 256, 1024)}, "falling, < 0.02 at 256", tolerance=0.02)


def c5b(results: Results) -> Evidence:
    rates = {row["m"]: row["distance"] / row["m"] for row in results["table"]}
    holds = all(a > b > 0 for a, b in pairwise(rates.values()))
    return Evidence(holds, {f"m = {m}": rates[m] for m in (4, 256, 1024)}, "falling", tolerance=0.0)


def c6a(results: Results) -> Evidence:
    """The two forms of the rate agree; -log P / m comes down to it."""
    found = results["deviations"]
    error = abs(found["rate"] - found["rate_by_moments"])
    above = [row["minus_log"] / row["m"] - found["rate"] for row in found["rows"]]
    falls = all(a > b > 0 for a, b in pairwise(above)) and above[-1] < 2e-3
    measured = {"error": error, "rate": found["rate"], "-log P / m at 2560": above[-1] + found["rate"]}
    return Evidence(falls and error <= 1e-12, measured, "0, falling to the rate", tolerance=1e-12)


def c6b(results: Results) -> Evidence:
    """What -log P lacks to m I + log(m) / 2 + c at each length: it falls, to below 2e-3 at 2560."""
    found = results["deviations"]
    left = [
        abs(r["minus_log"] - r["m"] * found["rate"] - 0.5 * math.log(r["m"]) - found["constant"]) for r in found["rows"]
    ]
    return Evidence(all(a > b for a, b in pairwise(left)) and left[-1] <= 2e-3, left[-1], 0.0, tolerance=2e-3)


def c6c(results: Results) -> Evidence:
    return at_most(results["cumulants"]["error"], 1e-12)


def c7a(results: Results) -> Evidence:
    """The card's example too: success 0.3439 at alpha 1.551."""
    found, example = results["two_levels"], results["two_levels"]["example"]
    right = abs(example["success"] - 0.3439) < 1e-12 and found["solver"] < 1e-8
    return Evidence(right and found["worst"] <= 1e-12, found["worst"], 0.0, tolerance=1e-12)


def c7b(results: Results) -> Evidence:
    found = results["two_levels"]
    measured = {"tilt of KL log n": found["least_at_log_n"], "four levels": found["four_levels"]}
    return Evidence(min(measured.values()) > 1e-3, measured, "> 0, > 0", tolerance=1e-3)


def d1(results: Results) -> Evidence:
    found = results["strings"]
    return at_most(max(found["error"], found["product_error"], found["evidence_error"]), 1e-10)


def d2(results: Results) -> Evidence:
    found = results["strings"]
    measured = {"from a product": found["from_product"], "slack": found["bound"] - found["kl"]}
    holds = found["identity_error"] <= 1e-12 and min(measured.values()) > 0 and found["from_product"] > 0.1
    return Evidence(holds, measured, "> 0.1, > 0", tolerance=1e-12)


def d3(results: Results) -> Evidence:
    """Gap and distance fall with every length; the tilt's reward a letter tends to the tilted chain's, like 1 / m."""
    found = results["memory"]
    gaps, distances = ([row[name] for row in found["rows"]] for name in ("gap", "distance"))
    ahead = [row["m"] * abs(row["rl"] - found["limit"]) for row in found["rows"]]
    error = max(abs(row["distance"] - row["by_identity"]) for row in found["rows"])
    falls = all(a > b > 0 for values in (gaps, distances) for a, b in pairwise(values)) and max(ahead) < 0.1
    measured = {"error": error, "gap at 8": gaps[0], "at 512": gaps[-1], "m |RL - limit|": max(ahead)}
    return Evidence(falls and error <= 1e-12, measured, "0, falling, < 0.1", tolerance=1e-12)


def x6(results: Results) -> Evidence:
    """From 8 to 32 letters it rises, and from 32 to 512 it falls with every length."""
    gaps = {row["m"]: row["equal_kl_gap"] for row in results["memory"]["rows"]}
    late = [gap for m, gap in gaps.items() if m >= 32]
    holds = gaps[8] < gaps[32] and all(a > b > 0 for a, b in pairwise(late))
    return Evidence(holds, {f"m = {m}": gaps[m] for m in (8, 32, 512)}, "rises, then falls", tolerance=0.0)


def x1(results: Results) -> Evidence:
    """Nearer with every length; what is left at 1,024 letters is the lattice of whole rewards."""
    width = results["letter"]["width"]
    left = [abs(row["distance"] - 0.5 * math.log(row["m"]) - width) for row in results["table"] if row["m"] <= 128]
    last = results["table"][-1]
    expected = 0.5 * math.log(last["m"]) + width
    holds = all(a > b for a, b in pairwise(left)) and abs(last["distance"] - expected) <= 0.02
    return Evidence(holds, last["distance"], expected, tolerance=0.02)


def x2(results: Results) -> Evidence:
    """alpha m gap = KL(pi_N, phi) + (m delta - KL(pi_N, p)), and the bracket tends to 1 and the lattice's slack."""
    alpha = results["letter"]["alpha"]
    error = max(abs(alpha * r["m"] * gap(r) - r["distance"] - r["log_n"] + r["kl"]) / r["m"] for r in results["table"])
    share = {r["m"]: gap(r) * r["m"] / math.log(r["m"]) for r in results["table"]}
    falls = all(a > b > 1 / (2 * alpha) for a, b in pairwise(share.values()))
    measured = {"error": error, "m gap / log m at 256": share[256], "its limit": 1 / (2 * alpha)}
    return Evidence(falls and error <= 1e-12, measured, "0, falling to its limit", tolerance=1e-12)


def x3(results: Results) -> Evidence:
    """n = 64 over strings of 4 to 256 letters."""
    ahead = results["pitfalls"]["fixed_n"]
    holds = all(a > b > 0 for a, b in pairwise(ahead)) and ahead[-1] < ahead[0] / 8
    return Evidence(holds, {"m = 4": ahead[0], "m = 256": ahead[-1]}, "falling", tolerance=0.0)


def x4(results: Results) -> Evidence:
    """Total variation from best-of-n with ties at random."""
    found = results["pitfalls"]["ties"]
    return Evidence(found["first_draw"] <= 1e-12 and found["by_name"] > 0.1, found, "0, > 0.1", tolerance=1e-12)


def x5(results: Results) -> Evidence:
    """The reward a letter by powers of a cumulative sum, beside the right one."""
    found, right = results["pitfalls"], {row["m"]: row["bon"] for row in results["table"]}
    errors = {m: abs(v - right[m]) for m, v in zip(found["naive_at"], found["naive"], strict=True)}
    holds = errors[16] < 1e-9 and errors[64] > 1e-6 and errors[256] > 0.1
    return Evidence(holds, {f"m = {m}": e for m, e in errors.items()}, "0, > 0, ..., > 0.1", tolerance=1e-9)


EXACT = (
    ("C1", "within a budget of KL no law has more reward than the tilt", c1),
    ("C2a", "KL(w, phi) = KL(w, p) - KL(phi, p) + alpha (E_phi r - E_w r) for every law w", c2a),
    ("C2b", "within the budget and eps behind in reward, a law is at most alpha eps from the tilt in KL", c2b),
    ("C3a", "E_phi r = Lambda', KL(phi, p) = alpha Lambda' - Lambda", c3a),
    ("C3b", "the tilt's reward is increasing and concave in its KL", c3b),
    ("C4a", "KL(pi_N, p) <= log N - (N - 1)/N, strictly on a finite set", c4a),
    ("C4b", "and near it where the reward has many levels", c4b),
    ("C5a", "with N = exp(m delta) best-of-n's reward a letter tends to RL's", c5a),
    ("C5b", "and its KL to RL's law, a letter, to 0", c5b),
    ("C6a", "the tilt's reward a letter obeys a large deviation principle with rate KL(T_a(x), T_alpha)", c6a),
    ("C6b", "the chance itself is exp(-m I - log(m)/2 - c), with c of the lattice", c6b),
    ("C6c", "its cumulants are differences of Lambda, and Renyi cross entropies", c6c),
    ("C7a", "with two reward levels best-of-n is a tilt", c7a),
    ("C7b", "but not the one with KL log N, and with four levels it is none", c7b),
    ("D1", "over all 4,096 strings of 6 letters: the same numbers as by convolution", d1),
    ("D2", "a reward that is no sum: C2 and C4 hold, the tilt is no product", d2),
    ("D3", "letters with a memory: the limit holds too, and is that of the tilted chain", d3),
    ("X1", "the whole KL(pi_N, phi) does not vanish: it is log(m)/2 + c, a Gumbel law within a normal one", x1),
    ("X2", "so the gap closes like log(m) / (2 alpha m)", x2),
    ("X3", "with a fixed N the reward a letter goes back to the base's", x3),
    ("X4", "ties may go to the first draw, but not to the first by name", x4),
    ("X5", "F^N by a cumulative sum fails: the tail is lost", x5),
    ("X6", "at equal KL the gap a letter of the vowels rises from 8 to 32 letters before it falls", x6),
)


def of(results: Results, figure: str) -> list[list[float]]:
    """[lengths][seeds]: a figure of every length."""
    return [results["lengths"][str(m)][figure] for m in results["m"]]


def least(results: Results, figure: str) -> list[float]:
    """The least over lengths, seed by seed."""
    return [min(values) for values in zip(*of(results, figure), strict=True)]


def shrinks(results: Results, figure: str) -> Evidence:
    """The least fall from one length to the next, seed by seed."""
    falls = [[a - b for a, b in pairwise(values)] for values in zip(*of(results, figure), strict=True)]
    return effect([min(steps) for steps in falls], above=0.0)


def g1(results: Results) -> Evidence:
    """The card's rule: RL minus best-of-n of the same KL, at the worst length, is not below 0 by its interval."""
    found = effect(least(results, "ahead"), above=0.0)
    if found.interval is None:
        return found
    return Evidence(found.interval[1] >= 0, found.measured, "interval not below 0", interval=found.interval)


def g2(results: Results) -> Evidence:
    return effect(least(results, "ahead"), above=0.0)


def g6(results: Results) -> Evidence:
    """Of both arms, at the worst length."""
    worst = [max(v) for v in zip(*of(results, "short_budget"), *of(results, "short_matched"), strict=True)]
    return below(worst, NEAR)


def g7(results: Results) -> Evidence:
    return below([max(v) for v in zip(*of(results, "from_source"), strict=True)], NEAR)


def sampled(rung: str, letter: str) -> tuple[Claim, ...]:
    """The claims of a rung that samples; their directions were set down before the first run.

    1 and 3 or 4 are the card's (it leaves open at which KL the gap is meant), the others follow from the theorems.
    """
    rows = (
        ("at equal KL RL's reward is not below best-of-n's by more than its interval, at any length", g1),
        ("at equal KL RL's reward is above best-of-n's at every length", g2),
        ("the gap between RL with KL m delta and best of exp(m delta) shrinks with m", lambda r: shrinks(r, "gap")),
        ("the gap at equal KL shrinks with m", lambda r: shrinks(r, "ahead")),
        ("best-of-n's KL to the tilt, a letter, shrinks with m", lambda r: shrinks(r, "bon_distance")),
        ("RL ends within 0.01 of the source's frontier, in reward a letter", g6),
        ("best-of-n's reward a letter is within 0.01 of the source's exact one", g7),
        ("log N - (N - 1)/N is above best-of-n's KL at every length", lambda r: effect(least(r, "slack"), above=0.0)),
    )
    return tuple(Claim(f"{letter}{i}", text, "effect", rung, check) for i, (text, check) in enumerate(rows, start=1))


CLAIMS = (
    *(Claim(name, text, "theorem", "exact", check) for name, text, check in EXACT),
    *sampled("gpt", "G"),
    *sampled("llm", "L"),
)
