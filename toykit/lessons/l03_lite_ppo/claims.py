"""The claims of lesson 03, each a pure function of its rung's results."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from toykit.lessons.base import Claim, Evidence, Results, at_most
from toykit.lessons.l03_lite_ppo.sampled_claims import SAMPLED_CLAIMS

TRUE_DIRECTION = ("no std", "batch", "Lite PPO")  # the estimators that do, in the limit of large groups


def spread(factor: list[float]) -> float:
    """How much the largest factor of a batch's prompts exceeds the least, relative to it."""
    return max(factor) / min(factor) - 1


def c1a(results: Results) -> Evidence:
    found = results["factors"]
    return at_most(max(found["c (mu+ - mu-)"], found["grad J"], results["batch"]["error"]), 1e-12)


def c1b(results: Results) -> Evidence:
    """The card's numbers: constant but for the group's std."""
    found = results["batch"]["factor"]
    wide = [4.588314677, 2.0, 3.333333333]
    error = max(abs(a - b) for a, b in zip(found["group std"], wide, strict=True))
    even = max(spread(found[name]) for name in TRUE_DIRECTION)
    off = max(abs(x - 2.001112038) for name in ("batch", "Lite PPO") for x in found[name])
    measured = {"group std": found["group std"], "Lite PPO": found["Lite PPO"][0], "spread of the others": even}
    holds = error <= 1e-9 and off <= 1e-9 and even <= 1e-12
    return Evidence(holds, measured, "4.588, 2, 3.333; 2.00111; 0", tolerance=1e-9)


def c1c(results: Results) -> Evidence:
    return at_most(results["arcsine"]["error"], 1e-8)


def c1d(results: Results) -> Evidence:
    """The factor for rewards 10 r - 3 over the factor for r."""
    before, after = results["batch"]["factor"], results["batch"]["changed"]
    times = {name: [b / a for a, b in zip(before[name], after[name], strict=True)] for name in before}
    expected = {name: 10.0 if name == "no std" else 1.0 for name in before}
    error = max(abs(x - expected[name]) for name in times for x in times[name])
    return Evidence(error <= 1e-9, {name: t[0] for name, t in times.items()}, expected, tolerance=1e-9)


def c1e(results: Results) -> Evidence:
    """E[A^2] of the prompt with p = 0.95."""
    noise = results["batch"]["noise"]
    card = {"group": [0.0475, 0.25, 0.09], "batch": [0.2352778, 0.2502778, 0.2636111]}
    error = max(abs(a - b) for name in card for a, b in zip(noise[name], card[name], strict=True))
    times = noise["batch"][0] / noise["group"][0]
    return Evidence(error <= 1e-7 and 4.9 < times < 5, {"times": times}, "4.9 to 5", tolerance=1e-7)


def c1f(results: Results) -> Evidence:
    """How unequal Lite PPO's factors are in finite batches, falling with the batch."""
    spreads = [spread(factor) for factor in results["finite"]["factor"]]
    falls = all(a > b for a, b in pairwise(spreads))
    copies = results["finite"]["copies"]
    return Evidence(
        min(spreads) > 1e-6 and falls,
        {f"{3 * n} prompts": x for n, x in zip(copies, spreads, strict=True)},
        "> 0, falling",
        tolerance=1e-6,
    )


def c2(results: Results, name: str) -> Evidence:
    return at_most(results["factors"][name], 1e-12)


def c3a(results: Results) -> Evidence:
    least = min(results["directions"]["cosine"]["token_sum"])
    return Evidence(1 - least <= 1e-12, least, 1.0, tolerance=1e-12)


def c3b(results: Results) -> Evidence:
    found = results["directions"]["cosine"]["sequence_mean"]
    holds = max(found) - min(found) <= 1e-9 and abs(found[0] - 0.99082) <= 5e-6
    return Evidence(holds, found, 0.99082, tolerance=5e-6)


def c3c(results: Results) -> Evidence:
    found = results["directions"]["cosine"]["token_mean"]
    rises = all(a < b for a, b in pairwise([*found, 1.0]))
    error = max(abs(a - b) for a, b in zip(found, (0.99539, 0.99854), strict=False))
    return Evidence(rises and error <= 5e-6, found, "0.99539, 0.99854, rising, < 1", tolerance=5e-6)


def c4a(results: Results) -> Evidence:
    """The one wrong answer among G: -(G - 1) / sqrt(G) with the std, -(G - 1) / G without."""
    error = 0.0
    for size, found in results["nearly solved"]["wrong"].items():
        g = int(size)
        error = max(error, abs(found["group std"] + (g - 1) / g**0.5), abs(found["no std"] + (g - 1) / g))
    return at_most(error, 1e-12)


def c4b(results: Results) -> Evidence:
    """Weights at p = 0.02, 0.1, 0.5 with G = 8; without a std they are 7/8 p (1 - p)."""
    found = results["nearly solved"]
    card = {"ddof 0": [0.05043, 0.20949, 0.46391], "ddof 1": [0.04718, 0.19596, 0.43395]}
    error = max(abs(a - b) for name in card for a, b in zip(found["weight"][name], card[name], strict=True))
    return Evidence(error <= 5e-6 and found["no std"] <= 1e-12, found["weight"], card, tolerance=5e-6)


def c4c(results: Results) -> Evidence:
    """What seven prompts of p = 0.98 have of a batch's expected squared update, beside one of 0.5."""
    found = results["nearly solved"]["share"]
    card = {"group std": (0.354, 0.076), "no std": (0.223, 0.041)}
    ours = {name: tuple(found[name].values()) for name in card}
    error = max(abs(a - b) for name in card for a, b in zip(ours[name], card[name], strict=True))
    return Evidence(error <= 5e-4, {name: of[0] for name, of in ours.items()}, "0.354, 0.223", tolerance=5e-4)


def c6(results: Results) -> Evidence:
    """Batches until the right arm, at 0.01, has probability 1/2; and the ratio runs over its bound."""
    found = results["clip_higher"]
    falls = all(a > b for a, b in pairwise(found["steps"]))
    over = found["ratio"][found["high"].index(0.2)]
    measured = {"batches": found["steps"], "ratio at 0.2": over}
    holds = found["steps"] == [11, 9, 8, 7, 6] and falls and abs(over - 1.245) <= 5e-4
    return Evidence(holds, measured, "11, 9, 8, 7, 6; 1.245", tolerance=5e-4)


def c8a(results: Results) -> Evidence:
    found = list(results["overlong"]["rate"].values())
    error = max(abs(a - b) for a, b in zip(found, (-0.01274, 0.00151, 0.00720), strict=True))
    return Evidence(error <= 5e-6, found, "-0.01274, 0.00151, 0.0072", tolerance=5e-6)


def c8b(results: Results) -> Evidence:
    found = [path[-1] for path in results["overlong"]["cut"].values()]
    error = max(abs(a - b) for a, b in zip(found, (0.0016, 0.0214, 0.0476), strict=True))
    return Evidence(error <= 5e-5, found, "0.0016, 0.0214, 0.0476", tolerance=5e-5)


def d1(results: Results) -> Evidence:
    found = results["dual_clip"]
    bounded = found["least"]["dual"] == -found["c"] and found["slope"]["dual"] == 0
    free = found["least"]["single"] == -found["most"] and found["slope"]["single"] == -1
    measured = {f"least, {name} clip": least for name, least in found["least"].items()}
    return Evidence(bounded and free, measured, f"-{found['most']:g}, -{found['c']:g}", tolerance=0.0)


def d2(results: Results) -> Evidence:
    return at_most(max(results["first_step"].values()), 1e-12)


def s1(results: Results) -> Evidence:
    return at_most(results["trainer"]["error"], 1e-12)


THEOREMS: tuple[tuple[str, str, Callable[[Results], Evidence]], ...] = (
    ("C1a", "each estimator's expected step is c(p) (mu+ - mu-), the exact gradient but for a factor", c1a),
    ("C1b", "large groups: the factor is the same for all prompts, except with the group's std", c1b),
    ("C1c", "with the group's std it is the gradient of 2 arcsin(sqrt p)", c1c),
    ("C1d", "rewards 10 r - 3: no step changes but the one without std, which grows tenfold", c1d),
    ("C1e", "the batch's mean leaves the direction and makes five times the noise at p = 0.95", c1e),
    ("C1f", "but in a finite batch Lite PPO's factors are not quite equal; they are in the limit", c1f),
    ("C2a", "the group's mean gives (1 - 1/G) grad J", lambda results: c2(results, "no std")),
    ("C2b", "the mean of the others (RLOO) gives grad J", lambda results: c2(results, "RLOO")),
    ("C3a", "the token sum keeps the direction of grad J", c3a),
    ("C3b", "sequence means turn it, by the same angle for every G", c3b),
    ("C3c", "token means turn it too, less with every larger group", c3c),
    ("C4a", "the one wrong answer among G has advantage -(G-1)/sqrt(G) with the group's std", c4a),
    ("C4b", "the weights of rare successes with groups of 8, with either std", c4b),
    ("C4c", "seven nearly solved prompts beside an open one: 35 % of the squared update, 22 % without std", c4c),
    ("C6", "the larger the upper clip, the fewer batches a rare right answer needs; the ratio overshoots", c6),
    ("C8a", "the overlong filter takes the pressure to stop away, and more so if it leaves the mean as well", c8a),
    ("C8b", "so that after 300 steps more completions are cut", c8b),
    ("D1", "dual clip bounds the loss of a negative, which the single clip does not", d1),
    ("D2", "while the ratio is 1 GRPO, GSPO, DAPO, Dr. GRPO and Lite PPO are advantage and aggregation alone", d2),
    ("S1", "the Trainer on enumerated rollouts takes Lite PPO's limit steps, which follow grad J (same code)", s1),
)

CLAIMS = (*(Claim(name, text, "theorem", "exact", check) for name, text, check in THEOREMS), *SAMPLED_CLAIMS)
