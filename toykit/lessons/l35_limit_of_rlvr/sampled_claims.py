"""The claims of lesson 35 on the rungs that sample, each a pure function of the results of either."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from toykit.lessons.base import Claim, Evidence, Results, below, difference, effect
from toykit.lessons.compare import last
from toykit.lessons.l35_limit_of_rlvr.claims import FEW, by_seed, log_ratios
from toykit.lessons.l35_limit_of_rlvr.sampled import ALGORITHMS

LARGE, WITH_KL = "GRPO, G = 32", "GRPO, KL 0.001"


def beside_base(results: Results, figure: str, than: str = "", sign: float = 1.0) -> Evidence:
    """sign x (a figure of GRPO minus the base's, by its own name or another)."""
    base = results["base"][than or figure]
    return effect([sign * (value - base) for value in last(results, "GRPO", figure)], above=0.0)


def beside_grpo(results: Results, method: str, figure: str, sign: float = 1.0) -> Evidence:
    """sign x (a figure of another arm minus GRPO's, seed by seed)."""
    changes = difference(last(results, method, figure), last(results, "GRPO", figure))
    return effect([sign * change for change in changes], above=0.0)


def share(results: Results, cell: str) -> list[float]:
    """The share of train problems in a cell of the solvable-set table."""
    return [count / results["problems"]["train"] for count in last(results, "GRPO", f"train {cell}")]


def few_won(results: Results) -> Evidence:
    return below(share(results, "only RL"), FEW)


def some_lost(results: Results) -> Evidence:
    return effect(share(results, "only base"), above=0.0)


def right_surprises(results: Results) -> Evidence:
    """Two numbers of one base policy, the same for every seed: their order decides."""
    measured = {"right": results["base"]["base(right)"], "base": results["base"]["base(base)"]}
    return Evidence(measured["right"] > measured["base"], measured, "right > base")


def gaps(results: Results) -> list[tuple[float, ...]]:
    return by_seed({name: last(results, name, "gap") for name in ALGORITHMS})


def all_leave_a_gap(results: Results) -> Evidence:
    return effect([min(of_seed) for of_seed in gaps(results)], above=0.0)


def alike(results: Results) -> Evidence:
    """The smallest gap minus the spread of the gaps, seed by seed."""
    return effect([min(of_seed) - (max(of_seed) - min(of_seed)) for of_seed in gaps(results)], above=0.0)


def taught(results: Results) -> Evidence:
    """The least over k of log(the base's misses / the distilled policy's), seed by seed."""
    figures = [f"train missed {k}" for k in results["ks"]]
    after = by_seed({f: last(results, "distilled", f) for f in figures})
    base = [[results["base"][f] for f in figures]] * len(after)
    return effect(log_ratios(base, [list(row) for row in after]), above=0.0)


def similar(results: Results, figure: str = "train missed 1", within: float = 0.05) -> Evidence:
    """The distance between GRPO with the KL penalty and without, seed by seed."""
    return below([*map(abs, difference(last(results, WITH_KL, figure), last(results, "GRPO", figure)))], within)


ROWS: tuple[tuple[str, Callable[[Results], Evidence]], ...] = (
    ("GRPO ends with a higher pass@1 than the base", partial(beside_base, figure="train missed 1", sign=-1.0)),
    ("GRPO ends with a lower pass@256 than the base", partial(beside_base, figure="train missed 256")),
    ("and with a lower pass@256 on held-out prompts", partial(beside_base, figure="test missed 256")),
    ("at most 2 % of the problems are solvable (k = 256) for GRPO and not for the base", few_won),
    ("some are solvable for the base and no longer for GRPO", some_lost),
    (
        "GRPO's answers are less surprising to the base than its own: PPL_base(RL) < PPL_base(base)",
        partial(beside_base, figure="base(own)", than="base(base)", sign=-1.0),
    ),
    ("the right answers are more surprising to it: PPL_base(right) > PPL_base(base)", right_surprises),
    ("every algorithm leaves a gap: base pass@256 minus RL pass@1 is above 0", all_leave_a_gap),
    ("the algorithms' gaps differ by less than the smallest of them", alike),
    ("distillation misses fewer problems than the base at every k (log ratio)", taught),
    (
        "groups of 32 instead of 8 raise GRPO's pass@256",
        partial(beside_grpo, method=LARGE, figure="train missed 256", sign=-1.0),
    ),
    ("a KL penalty of 0.001 leaves GRPO's pass@1 within 0.05", similar),
    ("and lowers its pass@128", partial(beside_grpo, method=WITH_KL, figure="train missed 128")),
    (
        "GRPO heated to the base's entropy is still below the base at k = 256",
        partial(beside_base, figure="hot missed 256", than="train missed 256"),
    ),
)


def of_rung(rung: str, letter: str) -> tuple[Claim, ...]:
    return tuple(Claim(f"{letter}{i}", text, "effect", rung, check) for i, (text, check) in enumerate(ROWS, start=1))


SAMPLED_CLAIMS = (*of_rung("gpt", "G"), *of_rung("llm", "L"))
