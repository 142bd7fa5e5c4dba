"""The claims of lesson 31, each a pure function of its rung's results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from toykit.diagnostics import interval
from toykit.lessons.base import Claim, Evidence, Results, at_most, below, difference, effect, within
from toykit.lessons.compare import last
from toykit.lessons.l31_survey.sampled import LLM_ARMS, METHODS, slope

# The card's numbers, and half a unit of the last digit of each.
CARD_PATH = {50: (0.9855, 1.776), 500: (0.99965, 1.844), 5000: (0.999995, 1.847)}  # DPO: max pi and KL, by step
CARD_RATIOS = (0.772, 1.235, 1.482, 1.821, 1.964, 2.066)  # of the group std, at G = 2, 3, 4, 8, 16, 64
CARD_VARIANCE = {"REINFORCE": 0.0430, "RLOO": 0.0602, "centred": 0.0268, "group std": 0.0999}


def c1(results: Results) -> Evidence:
    """With all pairs weighted evenly, and with uneven weights."""
    found = results["optima"]
    return at_most(max(found["dpo"], found["dpo, uneven pairs"]), 1e-6)


def c2a(results: Results) -> Evidence:
    """For Bradley-Terry preferences and for certain ones; the posterior of the reward is another law."""
    found = results["optima"]
    error = max(found["ipo"], results["certain"]["ipo error"])
    measured = {"error": error, "from the posterior": found["ipo from the posterior"]}
    return Evidence(error <= 1e-6 and found["ipo from the posterior"] > 0.1, measured, "0, > 0.1", tolerance=1e-6)


def c2b(results: Results) -> Evidence:
    law, cost = results["certain"]["ipo"]
    error = max(abs(law - 0.3505), abs(cost - 0.1747))
    return Evidence(error <= 5e-5, {"max pi": law, "KL": cost}, {"max pi": 0.3505, "KL": 0.1747}, tolerance=5e-5)


def c2c(results: Results) -> Evidence:
    """The card's three stops; rising all the way, to the KL of a point mass."""
    found = results["certain"]
    at = {step: found["dpo"][found["steps"].index(step)] for step in CARD_PATH}
    off = [abs(at[s][0] - p) <= t for (s, (p, _)), t in zip(CARD_PATH.items(), (5e-5, 5e-6, 5e-7), strict=True)]
    off += [abs(at[s][1] - cost) <= 5e-4 for s, (_, cost) in CARD_PATH.items()]
    highest = [p for p, _ in found["dpo"]]
    rising = all(a < b for a, b in pairwise(highest)) and at[5000][1] < found["limit"]
    measured = {f"max pi after {step}": p for step, (p, _) in at.items()} | {"KL": at[5000][1]}
    return Evidence(all(off) and rising, measured, "0.9855, 0.99965, 0.999995 and rising, < 1.8466", tolerance=5e-5)


def c3a(results: Results) -> Evidence:
    found = results["groups"]
    return at_most(max(abs(found[name]["ratio"] - 1) for name in ("REINFORCE", "RLOO")), 1e-12)


def c3b(results: Results) -> Evidence:
    found = results["groups"]["centred"]
    error = max(abs(found["ratio"] - 2 / 3), abs(found["cosine"] - 1))
    return Evidence(error <= 1e-12, found["ratio"], 2 / 3, tolerance=1e-12)


def c3c(results: Results) -> Evidence:
    """The traces of the covariances at G = 3, as the card prints them."""
    measured = {name: results["groups"][name]["variance"] for name in CARD_VARIANCE}
    error = max(abs(measured[name] - v) for name, v in CARD_VARIANCE.items())
    return Evidence(error <= 5e-5, measured, CARD_VARIANCE, tolerance=5e-5)


def c3d(results: Results) -> Evidence:
    """With 5 added to all rewards."""
    found = results["shifted"]
    moved = abs(found["RLOO"] - results["groups"]["RLOO"]["variance"])
    measured = {name: found[name] for name in ("REINFORCE", "RLOO")}
    holds = abs(found["REINFORCE"] - 6.365) <= 5e-4 and moved <= 1e-12
    return Evidence(holds, measured, {"REINFORCE": 6.365, "RLOO": 0.0602}, tolerance=5e-4)


def c4a(results: Results) -> Evidence:
    """1 - cosine at G = 3 in the card's example; and with rewards of 0 and 1 at 50 random laws."""
    turned, kept = 1 - results["groups"]["group std"]["cosine"], results["binary"]["binary"]
    measured = {"1 - cosine, card": turned, "binary": kept, "largest": results["binary"]["other"]}
    holds = abs(turned - 3e-5) <= 1e-5 and kept <= 1e-12 and results["binary"]["other, least"] > 1e-6
    return Evidence(holds, measured, "3e-5, 0, > 0", tolerance=1e-12)


def c4b(results: Results) -> Evidence:
    """The ratio to the true gradient for six group sizes, and the cosine's return to 1."""
    found = results["sizes"]["group std"]
    error = max(abs(a - b) for a, b in zip(found["ratio"], CARD_RATIOS, strict=True))
    back = 1 - found["cosine"][-1]
    holds = error <= 6e-4 and back < 1e-7 and abs(results["sizes"]["1/std"] - 2.0996) <= 5e-5
    return Evidence(holds, found["ratio"], list(CARD_RATIOS), tolerance=6e-4)


def c5a(results: Results) -> Evidence:
    found = results["optima"]
    measured = [found["una, uniform"], found["una, by the reference"]]
    holds = max(abs(a - b) for a, b in zip(measured, (0.1962, 0.1964), strict=True)) <= 5e-5
    return Evidence(holds, measured, [0.1962, 0.1964], tolerance=5e-5)


def c6b(results: Results) -> Evidence:
    """In the log-probabilities and in the critic's values."""
    found = results["identities"]
    return Evidence(found["ppo"] <= 1e-15 and found["largest slope"] > 0.01, found["ppo"], 0.0, tolerance=1e-15)


def c6c(results: Results) -> Evidence:
    found = results["identities"]
    measured = {k: found[k] for k in ("k1", "k2", "k3")}
    return Evidence(max(found["k1"], found["k3"]) <= 1e-12 and found["k2"] > 0.1, measured, "0, > 0.1, 0", 1e-12)


def c7a(results: Results) -> Evidence:
    """RLOO's variance is that of a mean over pairs; times G it goes to a constant, from above."""
    found = results["sizes"]
    measured, predicted = found["RLOO"]["variance"], found["predicted"]
    error = max(abs(a - b) for a, b in zip(measured, predicted, strict=True))
    scaled = [g * v for g, v in zip(found["size"], measured, strict=True)]
    falls = all(a > b for a, b in pairwise(scaled))
    return Evidence(error <= 1e-12 and falls, {"error": error, "G variance": scaled}, "0, falling", tolerance=1e-12)


def x1(results: Results) -> Evidence:
    return effect([of["dpo"] for of in results["judge"]], above=0.01)


def x2(results: Results) -> Evidence:
    return at_most(max(of["robust"] for of in results["judge"]), 1e-9)


def vanishes(results: Results, part: str, name: str) -> Evidence:
    return at_most(results[part][name], 1e-12)


def gain(results: Results, name: str) -> list[float]:
    """Held-out accuracy of a method at the end less that of the base policy, seed by seed."""
    return [end - results["base"] for end in last(results, name, "accuracy")]


def improves(results: Results, name: str) -> Evidence:
    return effect(gain(results, name), above=0.0)


def leads(results: Results, name: str, other: str) -> Evidence:
    return effect(difference(gain(results, name), gain(results, other)), above=0.0)


def agree(results: Results, name: str, other: str) -> Evidence:
    """The interval of the difference holds 0."""
    values = difference(gain(results, name), gain(results, other))
    if len(values) < 5:
        return Evidence(None, sum(values) / len(values), "interval holds 0, over 5 seeds or more")
    found = interval(values)
    return Evidence(found.low <= 0 <= found.high, found.mean, "interval holds 0", interval=(found.low, found.high))


def exponent(results: Results, bound: Callable[..., Evidence], at: float) -> Evidence:
    return bound([slope(stds) for stds in results["noise"]], at)


def sampled(rung: str, letter: str, names: Sequence[str]) -> tuple[Claim, ...]:
    """The claims of a rung that samples; all were set down before its first run.

    That every method improves on the base, and that RLOO and Dr. GRPO agree, is the card's; a judge's errors and the
    group's noise have the direction that theory gives. What else was measured is told with its interval
    (`sampled.reported`).
    """
    found: list[tuple[str, Callable[[Results], Evidence]]] = [
        (f"{name} ends more accurate than the base policy, held out", partial(improves, name=name)) for name in names
    ]
    if rung == "gpt":
        found += [
            (
                "RLOO and Dr. GRPO, whose expected gradients are parallel, end alike",
                partial(agree, name="RLOO", other="Dr. GRPO"),
            ),
            (
                "a judge that errs in a fifth of the pairs costs accuracy: BT + PPO ends above RLAIF",
                partial(leads, name="BT + PPO", other="RLAIF"),
            ),
            (
                "ILQL gains by its rewards: it ends above the same decoding learned without them",
                partial(leads, name="ILQL", other="ILQL, no rewards"),
            ),
            ("the noise of RLOO's gradient falls at least as G^-0.4", partial(exponent, bound=below, at=-0.4)),
            ("and not faster than G^-0.6", partial(exponent, bound=effect, at=-0.6)),
        ]
    return tuple(Claim(f"{letter}{i}", text, "effect", rung, check) for i, (text, check) in enumerate(found, start=1))


EXACT: tuple[tuple[str, str, str, Callable[[Results], Evidence]], ...] = (
    ("C1", "theorem", "DPO on a population of Bradley-Terry preferences ends at the posterior", c1),
    ("C2a", "theorem", "IPO ends at pi0 exp(mean P(y > y_k) / tau) / Z, which is not the posterior of r", c2a),
    ("C2b", "theorem", "IPO stays finite where preferences are certain", c2b),
    ("C2c", "theorem", "DPO then goes to a point mass, without end", c2c),
    ("C3a", "theorem", "the means of RLOO and of REINFORCE without a baseline are the true gradient", c3a),
    ("C3b", "theorem", "a mean that includes the sample gives (G - 1) / G of it", c3b),
    ("C3c", "theorem", "variances at G = 3: with this R RLOO's is above REINFORCE's", c3c),
    ("C3d", "theorem", "a baseline pays where the mean reward is large: RLOO does not see a constant", c3d),
    ("C4a", "theorem", "the group std turns the mean gradient, unless rewards are 0 and 1", c4a),
    ("C4b", "theorem", "and stretches it, by 1/std only as G grows", c4b),
    ("C5a", "theorem", "UNA on raw rewards and fixed data misses the posterior", c5a),
    (
        "C5b",
        "theorem",
        "with r - beta log Z it does not",
        partial(vanishes, part="optima", name="una, centred"),
    ),
    ("C5c", "theorem", "nor on the policy's own law, held", partial(vanishes, part="optima", name="una, on policy")),
    (
        "C6a",
        "theorem",
        "GAE with lambda 1 and V = 0 is the reward to go",
        partial(vanishes, part="identities", name="gae"),
    ),
    ("C6b", "theorem", "PPO's gradient at ratio 1 is A2C's", c6b),
    ("C6c", "theorem", "k1 and k3 have the mean of the KL, k2 has not", c6c),
    ("C7a", "theorem", "RLOO's noise falls as 1/sqrt(G) only for large G; before, faster", c7a),
    (
        "S1",
        "theorem",
        "the OfflineTrainer takes DPO's steps (same code)",
        partial(vanishes, part="certain", name="trainer"),
    ),
    ("X1", "effect", "a judge that turns round a fifth of its answers moves DPO's optimum by more than 0.01", x1),
    ("X2", "theorem", "robust DPO, which knows the share, still ends at the posterior", x2),
)


def memory(results: Results, name: str, models: float) -> Evidence:
    """The parameters held, in units of the policy's; heads are 1 in 1000 of them."""
    return within(results["held"][name], models, 0.01)


MEMORY = tuple(
    Claim(
        name, f"{of} holds {models} models while it trains", "theorem", "gpt", partial(memory, name=of, models=models)
    )
    for name, of, models in (("C7b", "BT + PPO", 4), ("C7c", "GRPO", 2), ("C7d", "RLOO", 1))
)

CLAIMS = (
    *(Claim(name, text, kind, "exact", check) for name, kind, text, check in EXACT),
    *MEMORY,
    *sampled("gpt", "G", METHODS),
    *sampled("llm", "L", LLM_ARMS),
)
