"""The claims of lesson 01, each a pure function of its rung's results."""

from __future__ import annotations

import math
from functools import partial

from toykit.lessons.base import Claim, Evidence, Results, at_most, effect
from toykit.lessons.compare import last


def c1(results: Results) -> Evidence:
    found = results["identity"]
    return at_most(max(found["value_error"], found["gradient_error"]), 1e-12)


def c2(results: Results) -> Evidence:
    """The card's criteria after 10,000 steps; that the posterior is a fixed point holds to rounding."""
    found, wanted = results["collapse"], results["numbers"]["posterior_entropy"]
    measured = {
        "H of plain RL": found["entropy"]["plain"][-1],
        "its mass on the best": found["best"]["plain"][-1],
        "KL(pi, pi*) of KL-RL": found["kl"]["kl_rl"][-1],
        "|H - H*| of KL-RL": abs(found["entropy"]["kl_rl"][-1] - wanted),
        "gradient at pi*": found["gradient_at_posterior"],
    }
    bounds = (0.05, 1 - 1e-2, 1e-3, 5e-3, 1e-12)
    h, mass, kl, gap, gradient = measured.values()
    holds = h < bounds[0] and mass > bounds[1] and kl < bounds[2] and gap < bounds[3] and gradient < bounds[4]
    return Evidence(holds, measured, "< 0.05, > 0.99, < 1e-3, < 5e-3, 0", tolerance=bounds[4])


def c3(results: Results) -> Evidence:
    """At random policies the bound holds and is strict, at pi* it is reached, in training it is never passed."""
    bound, found = results["numbers"]["evidence"], results["identity"]
    excess = max(results["collapse"]["objective"]) - bound
    strict = found["smallest_gap"] > 0
    worst = max(excess, found["gap_at_posterior"])
    return Evidence(strict and worst <= 1e-12, worst, 0.0, tolerance=1e-12)


def c4(results: Results) -> Evidence:
    """KL(filter, pi*) = -log E_pi* r, which goes to 0 with beta; plain RL keeps another law within the right ones."""
    found = results["filter"]
    error = max(abs(a - b) for a, b in zip(found["kl"], found["minus_log_mass"], strict=True))
    falls = all(a > b for a, b in zip(found["kl"], found["kl"][1:], strict=False))
    other = found["plain_mass"] > 0.999 and found["plain_kl_within"] > 0.1
    measured = {"error": error, "KL at the least beta": found["kl"][-1], "plain RL's KL": found["plain_kl_within"]}
    holds = error <= 1e-12 and abs(found["kl"][-1]) <= 1e-12 and falls and other
    return Evidence(holds, measured, "0, 0, > 0.1", tolerance=1e-12)


def c5(results: Results) -> Evidence:
    """Forward: the marginals' product. Reverse: q^4 against (1 - q)^4, whose optimum solves
    logit q = (q^3 - (1 - q)^3) / beta; it is away from 1/2, and different starts find different modes."""
    found = results["mean_field"]
    forward = max(
        abs(one - m) for start in found["forward_kl"]["ones"] for one, m in zip(start, found["marginals"], strict=True)
    )
    reverse = max(
        abs(logit - (q**3 - (1 - q) ** 3) / found["beta"])
        for logits, ones in zip(found["reverse_kl"]["logits"], found["reverse_kl"]["ones"], strict=True)
        for logit, q in zip(logits, ones, strict=True)
    )
    modes = set(found["reverse_kl"]["best"])
    one_mode = modes == {0, 15} and min(found["reverse_kl"]["reward"]) > 0.9
    return Evidence(max(forward, reverse) <= 1e-6 and one_mode, max(forward, reverse), 0.0, tolerance=1e-6)


def c6(results: Results) -> Evidence:
    return at_most(abs(results["moments"]["left"] - results["moments"]["right"]), 1e-12)


def c7(results: Results) -> Evidence:
    """Relative to the size of what is compared: the gradient, and the variance without the baseline."""
    found = results["variance"]
    means = zip(found["prior_zero"]["mean"], found["prior_z"]["mean"], strict=True)
    bias = max(abs(a - b) for a, b in means) / max(map(abs, found["prior_zero"]["mean"]))
    left = found["target_z"]["variance"] / found["target_zero"]["variance"]
    return Evidence(max(bias, left) <= 1e-12, {"bias": bias, "variance left": left}, 0.0, tolerance=1e-12)


def s1(results: Results) -> Evidence:
    return at_most(max(results["trainer"]["errors"].values()), 1e-12)


def collapses(results: Results) -> Evidence:
    """The smaller of the two differences of entropy, seed by seed."""
    plain, kl_rl, gdc = (last(results, m, "entropy") for m in ("plain RL", "KL-RL", "GDC"))
    return effect([min(a, b) - c for a, b, c in zip(kl_rl, gdc, plain, strict=True)], above=0.0)


def succeeds(results: Results, method: str) -> Evidence:
    return effect(last(results, method, "success"), above=0.8)


def keeps(results: Results, method: str) -> Evidence:
    whole = results["prior"]["filtered_entropy"]
    return effect([h / whole for h in last(results, method, "entropy")], above=0.5)


def nearer(results: Results) -> Evidence:
    """log of the ratio of KL(p, pi) of plain RL to the larger one of the two others, seed by seed."""
    plain, kl_rl, gdc = (last(results, m, "kl_from_target") for m in ("plain RL", "KL-RL", "GDC"))
    return effect([math.log(c / max(a, b)) for a, b, c in zip(kl_rl, gdc, plain, strict=True)], above=0.0)


EXACT = (
    ("C1", "J = beta log Z - beta KL(pi, pi*) for every policy, in value and in gradient", c1),
    ("C2", "plain RL collapses onto the best completion; KL-RL does not, its fixed point is pi*", c2),
    ("C3", "J <= beta log Z, with equality only at pi*; training never passes it", c3),
    ("C4", "as beta -> 0 the posterior of a binary reward is the filtered prior; plain RL ends elsewhere", c4),
    ("C5", "among factorised policies KL(pi*, pi) picks the marginals and KL(pi, pi*) one mode", c5),
    ("C6", "the moment target is the I-projection: KL(s, pi0) = KL(s, p) + KL(p, pi0)", c6),
    ("C7", "the baseline Z leaves the DPG gradient unbiased, without variance at pi = p", c7),
    ("S1", "the Trainer on enumerated rollouts takes the steps of the exact flow (same code)", s1),
)


def sampled(rung: str, letter: str) -> tuple[Claim, ...]:
    """The claims of a rung that samples; their directions were set down before the first run."""
    rows = [
        ("plain RL ends with less entropy than KL-RL and GDC", collapses),
        ("plain RL ends farther from the filtered prior, in KL(p, pi), than KL-RL and GDC", nearer),
    ]
    for method in ("KL-RL", "GDC"):
        rows += [
            (f"{method} succeeds on more than 80 % of its completions", partial(succeeds, method=method)),
            (f"{method} keeps more than half of the filtered prior's entropy", partial(keeps, method=method)),
        ]
    return tuple(Claim(f"{letter}{i}", text, "effect", rung, check) for i, (text, check) in enumerate(rows, start=1))


CLAIMS = (
    *(Claim(name, text, "theorem", "exact", check) for name, text, check in EXACT),
    *sampled("gpt", "G"),
    *sampled("llm", "L"),
)
