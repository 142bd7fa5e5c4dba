"""The claims of lesson 14, each a pure function of its rung's results.

C1 to C5 and the numbers are the card's; D1 is its sentence on grids, which does not hold as it stands, D2 is what does,
and C3b is the closed form that holds with slip. The directions of the effects were set down before the first run on
their seeds: those of C4 and of the rooms by the card, those of the completions by the exact lookahead of their trees,
and that of G9 with a run of seed 100 in view, in which GRPO had left the decoy at the end and G8 did not hold. How G1
to G4 count resamples in which all rooms tie was made stricter after the run: left out, they had let G1 hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import median

import torch

from toykit.diagnostics import rank_correlation
from toykit.lessons.base import Claim, Evidence, Results, below, difference, effect, printed
from toykit.lessons.compare import last

Check = Callable[[Results], Evidence]

CORRIDORS = (  # of the card, by setting: min_k, J_1, J_2, J_3 and H-bar at min_k where it gives them
    ("2", "7.454", (".0500", "1.0000", "1.0000", "1.0000")),
    ("3", "8.454", ()),
    ("4", "9.454", ()),
    ("4", "7.668", ()),
    ("1", "10.645", ()),
    ("3", "", (".0736", ".0736", ".7116")),
    ("3", "", (".0860", ".0860", ".4102")),
)
HISTOGRAMS = {
    "binary": [60, 0, 0, 0],
    "graded": [13, 10, 19, 18],
    "binary, slip": [59, 1, 0, 0],
    "graded, slip": [13, 10, 26, 11],
}
SUCCESS = {  # of the card with its order of draws, at 30, 100, 300, 1000 and 3000 episodes a step
    "1": (".050", ".075", ".000", ".000", ".000"),
    "2": (".050", ".275", ".275", ".250", ".025"),
    "3": (".050", ".350", ".825", ".800", ".975"),
    "4": (".050", ".350", ".825", "1.000", "1.000"),
}
RESAMPLED = 10_000


def a1(results: Results) -> Evidence:
    measured: list[float] = []
    there: list[str] = []
    for one, (least, horizon, returns) in zip(results["corridors"], CORRIDORS, strict=True):
        measured += [one["least"], *([one["horizon"]] if horizon else []), *one["returns"][: len(returns)]]
        there += [least, *([horizon] if horizon else []), *returns]
    return printed(measured, there)


def a2(results: Results) -> Evidence:
    """With slip: min_k is the closed form's, though Q^k(0, forward) is not A^-(L - k)."""
    rows = [one for one in results["corridors"] if one["setting"][2] > 0]
    same = all(one["least"] == one["closed form"] for one in rows)
    away = min(abs(one["forward"][0] - 3.0 ** (1 - one["setting"][0])) for one in rows)
    return Evidence(same and away > 1e-3, {"same": same, "Q¹ is away by": away}, "same, > 1e-3", tolerance=0.0)


def b1(results: Results) -> Evidence:
    measured = {kind: results["trees"][kind] for kind in HISTOGRAMS}
    return Evidence(measured == HISTOGRAMS, measured, HISTOGRAMS, tolerance=0.0)


def c1a(results: Results) -> Evidence:
    found = results["instances"]
    count = 2 * found["count"]
    holds = found["whole horizon"] == count and found["lost"] <= 1e-9
    return Evidence(holds, {"solvable": found["whole horizon"], "lost": found["lost"]}, count, tolerance=1e-9)


def c1b(results: Results) -> Evidence:
    found = results["instances"]
    measured = {"pairs of MDP and k": found["ks"], "mismatched": found["mismatched"]}
    return Evidence(found["mismatched"] == 0, measured, "none mismatched", tolerance=1e-9)


def c1c(results: Results) -> Evidence:
    """The number of trees, and the returns and solvability of one of them."""
    found, one = results["instances"]["returning"], results["trees"]
    close = printed([found, *one["seed 195"]], ("27", ".666612", ".671596", ".649201", ".671596"))
    comes_and_goes = one["solvable"] == [False, True, False, True]
    return replace(close, holds=close.holds and comes_and_goes)


def c2(results: Results) -> Evidence:
    found = results["instances"]
    measured = {"solved at k = 1": found["first"], "with a right leaf": found["right"]}
    return Evidence(found["first"] == found["count"], measured, found["count"], tolerance=0.0)


def c3(results: Results) -> Evidence:
    """By min_k, exactly, and by the values, to 1e-12."""
    found = results["closed form"]
    measured = {name: found[name] for name in ("corridors", "wrong", "error")}
    return Evidence(found["wrong"] == 0 and found["error"] <= 1e-12, measured, "none wrong", tolerance=1e-12)


def c3b(results: Results) -> Evidence:
    found = results["closed form"]["slip"]
    return Evidence(found["wrong"] == 0, found, "none wrong", tolerance=0.0)


def share(results: Results, k: int, m: int) -> list[float]:
    """Whether SQIRL solved the corridor with so many sweeps and episodes a step, one a seed."""
    place = results["sqirl"]["sizes"].index(m)
    return [path[place] for path in results["sqirl"]["success"][str(k)]]


def c4a(results: Results) -> Evidence:
    found = results["sqirl"]["success"]
    measured = [sum(column) / len(column) for k in SUCCESS for column in zip(*found[k], strict=True)]
    return printed(measured, [x for k in SUCCESS for x in SUCCESS[k]])


def c4b(results: Results) -> Evidence:
    """From 30 to 3000 episodes a step, the mean of k = 3 and 4."""
    gains = [difference(share(results, k, 3000), share(results, k, 30)) for k in (3, 4)]
    return effect([sum(pair) / 2 for pair in zip(*gains, strict=True)], above=0.0)


def c4c(results: Results) -> Evidence:
    """k = 2, from 100 to 3000 episodes a step."""
    return below(difference(share(results, 2, 3000), share(results, 2, 100)), 0.0)


def d1(results: Results) -> Evidence:
    """The strict min_k of the card's three kinds: shaped 1, key and door about 3, sparse with decoys 6 or more."""
    found = results["designs"]
    measured = {name: found[name]["least"] for name in ("shaped", "key_toll", "decoys")}
    holds = measured["shaped"] == 1 and 2 <= measured["key_toll"] <= 4 and measured["decoys"] >= 6
    return Evidence(holds, measured, "1, about 3, >= 6", tolerance=0.0)


def d2(results: Results) -> Evidence:
    """The k that come within 1 % of the best return, of three shaped rooms, three with a toll for a key, and two with
    decoys."""
    found = results["designs"]
    shaped, key = ("shaped", "shaped_centre", "shaped_decoy"), ("key_toll", "key_toll_far", "key_toll_high")
    names = (*shaped, *key, "decoy_small", "decoy_large")
    return printed([found[name]["near"] for name in names], ("1", "1", "1", "4", "7", "9", "6", "14"))


EXACT: tuple[tuple[str, str, str, Check], ...] = (
    ("A1", "theorem", "the card's decoy corridors: min_k, returns and effective horizons", a1),
    (
        "A2",
        "theorem",
        "with slip the card's two corridors keep that min_k, though Q^k(0, forward) is no longer A^-(L-k)",
        a2,
    ),
    ("B1", "theorem", "how many of the card's random trees have min_k 1, 2, 3 and 4", b1),
    ("C1a", "theorem", "every MDP is solvable at k = T, and J_T = J*", c1a),
    ("C1b", "theorem", "J_k = J* exactly where the MDP is solvable at k", c1b),
    ("C1c", "theorem", "solvability comes and goes: on 27 of 200 trees a k fails after a smaller one worked", c1c),
    ("C2", "theorem", "a deterministic tree with binary rewards is solvable at k = 1", c2),
    ("C3", "theorem", "the corridor's min_k is the least k with A^-(L-k) > c", c3),
    (
        "C3b",
        "theorem",
        "with slip p it is the least k with q^(k-1) A^-(L-k) > c, q = 1 - p + p/A, if there is one",
        c3b,
    ),
    ("C4a", "theorem", "the card's table of SQIRL's success, with its order of draws", c4a),
    ("C4b", "effect", "with k >= min_k = 3 SQIRL's success rises with the episodes", c4b),
    ("C4c", "effect", "with k = 2 it falls", c4c),
    (
        "C4d",
        "effect",
        "3000 episodes: k = 3 succeeds with probability above 0.85",
        lambda r: effect(share(r, 3, 3000), above=0.85),
    ),
    (
        "C4e",
        "effect",
        "3000 episodes: k = 1 succeeds with probability below 0.05",
        lambda r: below(share(r, 1, 3000), 0.05),
    ),
    ("D1", "theorem", "grids: min_k is 1 for shaped rewards, about 3 with key and door, >= 6 with decoys", d1),
    ("D2", "theorem", "grids: the k that comes within 1 % of the best return is as designed", d2),
)


def solved_at(runs: Sequence[Results], enough: float) -> list[float]:
    """Steps until a room was solved, one a seed; infinite where it was not."""
    return [one["steps"][-1] if one["share"][-1] >= enough else math.inf for one in runs]


def steps_to_solve(results: Results, learner: str) -> dict[str, float]:
    """{design: the median over the seeds}; "SQIRL" takes in each seed the k that needed the fewest steps."""
    found = results["rooms"]
    names = [name for name in found["runs"] if name == learner or name.startswith(f"{learner}, ")]
    medians = {}
    for design in found["near"]:
        each = [solved_at(found["runs"][name][design], found["enough"]) for name in names]
        medians[design] = float(median(min(seed) for seed in zip(*each, strict=True)))
    return medians


def over_designs(x: Sequence[float], y: Sequence[float], seeds: int) -> Evidence:
    """Spearman's correlation over designs with the 95 % interval of a bootstrap over them.

    A resample in which all values tie shows no correlation: 0.
    """
    a, b = (torch.tensor(values, dtype=torch.float64) for values in (x, y))
    measured = float(rank_correlation(a, b))
    if seeds < 5 or math.isnan(measured):
        return Evidence(None, measured, "> 0, over 5 seeds or more")
    again = torch.randint(len(x), (RESAMPLED, len(x)), generator=torch.Generator().manual_seed(0))
    found = rank_correlation(a[again], b[again]).nan_to_num(0.0)
    low, high = found.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Evidence(low > 0, measured, "> 0, bootstrap over designs", interval=(low, high))


def correlated(results: Results, learner: str, with_k: bool = False) -> Evidence:
    """The steps of PPO or DQN with SQIRL's, or with the k that is enough."""
    theirs = steps_to_solve(results, learner)
    other: Mapping[str, float] = results["rooms"]["near"] if with_k else steps_to_solve(results, "SQIRL")
    seeds = len(next(iter(results["rooms"]["runs"][learner].values())))
    return over_designs([other[name] for name in theirs], list(theirs.values()), seeds)


def reaches(results: Results, kind: str, k: int, above: float) -> Evidence:
    return effect(results["completions"]["trees"][kind][f"SQIRL, k = {k}"], above=above)


def misled(results: Results) -> Evidence:
    return below(results["completions"]["trees"]["decoy"]["SQIRL, k = 1"], 0.5)


def ahead_of_grpo(results: Results) -> Evidence:
    found = results["completions"]
    return effect(
        difference(found["trees"]["decoy"]["SQIRL, k = 3"], last(found["grpo"]["decoy"], "GRPO", "greedy")), above=0.0
    )


def drawn_away(results: Results) -> Evidence:
    """How much the probability of the first token 0 has grown by the first stop."""
    paths = results["completions"]["grpo"]["decoy"]["runs"]["GRPO"]["first token 0"]
    return below([path[1] - path[0] for path in paths], 0.0)


GPT: tuple[tuple[str, Check], ...] = (
    ("rooms: where SQIRL needs more steps PPO needs more", partial(correlated, learner="ppo")),
    ("rooms: where SQIRL needs more steps DQN needs more", partial(correlated, learner="dqn")),
    ("rooms: where a larger k is needed PPO needs more steps", partial(correlated, learner="ppo", with_k=True)),
    ("rooms: where a larger k is needed DQN needs more steps", partial(correlated, learner="dqn", with_k=True)),
    (
        "completions, one reward (min_k 1): SQIRL with k = 1 earns more than 0.9 of the best",
        partial(reaches, kind="one reward", k=1, above=0.9),
    ),
    ("completions, a decoy (min_k 3): SQIRL with k = 1 earns less than half of the best", misled),
    (
        "completions, a decoy (min_k 3): SQIRL with k = 3 earns more than 0.9 of the best",
        partial(reaches, kind="decoy", k=3, above=0.9),
    ),
    ("completions, a decoy: GRPO ends below SQIRL with k = 3", ahead_of_grpo),
    ("completions, a decoy: GRPO first turns to it, away from the right first token", drawn_away),
)


def ranked(results: Results, prompts: str) -> Evidence:
    """Spearman's correlation over prompts, one a seed."""
    return effect([math.nan if x is None else x for x in results["correlation"][prompts]], above=0.0)


def acts_better(results: Results) -> Evidence:
    return effect(difference(results["success"]["Q¹, greedy"], results["success"]["base, greedy"]), above=0.0)


LLM: tuple[tuple[str, Check], ...] = (
    (
        "prompts whose next tokens the base's rollouts rank rightly are those that GRPO learns sooner",
        partial(ranked, prompts="all"),
    ),
    (
        "so they are among the prompts that the base does not answer rightly half of the time",
        partial(ranked, prompts="not learned at first"),
    ),
    ("greedy in Q¹ of the base, token by token, is right more often than the base's likeliest tokens", acts_better),
)

CLAIMS = (
    *(Claim(name, text, kind, "exact", check) for name, kind, text, check in EXACT),
    *(Claim(f"G{i}", text, "effect", "gpt", check) for i, (text, check) in enumerate(GPT, start=1)),
    *(Claim(f"L{i}", text, "effect", "llm", check) for i, (text, check) in enumerate(LLM, start=1)),
)
