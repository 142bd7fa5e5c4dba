"""The claims of lesson 03 on the rungs that sample, each a pure function of the rung's results.

The directions of C5 to C9 are the paper's, for base models; those about silent groups, entropy and cut completions are
the card's. All were set down before the first run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from toykit.lessons.base import Claim, Evidence, Results, below, difference, effect
from toykit.lessons.compare import last

LITTLE = 0.05  # of success: what counts as hardly a difference


def ahead(results: Results, arm: str, than: str, figure: str = "success") -> Evidence:
    """By how much an arm's figure ends above that of another, seed by seed."""
    return effect(difference(last(results, arm, figure), last(results, than, figure)), above=0.0)


def alike(results: Results, arm: str, other: str) -> Evidence:
    """How far two arms' success rates end from each other, seed by seed."""
    return below([*map(abs, difference(last(results, arm, "success"), last(results, other, "success")))], LITTLE)


def grows(results: Results, arm: str, figure: str) -> Evidence:
    """By how much a figure has grown since the first stop, seed by seed."""
    paths = results["runs"][arm][figure]
    return effect([path[-1] - path[0] for path in paths], above=0.0)


LITE = "Lite PPO"
ROWS: tuple[tuple[str, Callable[[Results], Evidence]], ...] = (
    (
        "easy problems: the share of silent groups grows as they are solved",
        partial(grows, arm="Lite PPO, easy", figure="silent"),
    ),
    (
        "C5, easy: without the group's std success ends higher than with it",
        partial(ahead, arm="no std, easy", than="group std, easy"),
    ),
    (
        "C5, easy: with the batch's std (Lite PPO) it ends higher than with the group's",
        partial(ahead, arm="Lite PPO, easy", than="group std, easy"),
    ),
    (
        "C5, hard: with the batch's std (Lite PPO) it ends higher than with the group's",
        partial(ahead, arm=LITE, than="group std"),
    ),
    ("C5, hard: Lite PPO ends higher than without any std", partial(ahead, arm=LITE, than="no std")),
    (
        "C5, hard: with the group's mean (Lite PPO) it ends higher than the batch's",
        partial(ahead, arm=LITE, than="batch mean"),
    ),
    (
        "C6: on a base model clip-higher (0.28) changes success by less than 0.05",
        partial(alike, arm="clip-higher", other=LITE),
    ),
    ("C6: but it ends with more entropy", partial(ahead, arm="clip-higher", than=LITE, figure="entropy")),
    ("C7: on a base model token means end higher than sequence means", partial(ahead, arm=LITE, than="sequence mean")),
    (
        "C8, little room: the overlong filter raises success",
        partial(ahead, arm="overlong filter, short", than="Lite PPO, short"),
    ),
    (
        "C8, little room: but more completions are cut than without it",
        partial(ahead, arm="overlong filter, short", than="Lite PPO, short", figure="cut"),
    ),
    (
        "C8, room enough: the overlong filter changes success by less than 0.05",
        partial(alike, arm="overlong filter", other=LITE),
    ),
    ("C9: Lite PPO ends higher than GRPO", partial(ahead, arm=LITE, than="GRPO")),
    ("C9: Lite PPO ends higher than DAPO", partial(ahead, arm=LITE, than="DAPO")),
)


def of_rung(rung: str, letter: str) -> tuple[Claim, ...]:
    return tuple(Claim(f"{letter}{i}", text, "effect", rung, check) for i, (text, check) in enumerate(ROWS, start=1))


SAMPLED_CLAIMS = (*of_rung("gpt", "G"), *of_rung("llm", "L"))
