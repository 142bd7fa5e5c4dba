"""The claims of lesson 03 on the rungs that sample, each a pure function of the rung's results.

The directions of C5 to C9 are the paper's, for base models; those about silent groups, entropy and cut completions are
the card's. All were set down before the first run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from toykit.lessons.base import Claim, Evidence, Results, below, difference
from toykit.lessons.compare import last, leads, rises

LITTLE = 0.05  # of success: what counts as hardly a difference


def alike(results: Results, arm: str, other: str) -> Evidence:
    """How far two arms' success rates end from each other, seed by seed."""
    return below([*map(abs, difference(last(results, arm, "success"), last(results, other, "success")))], LITTLE)


LITE = "Lite PPO"
ROWS: tuple[tuple[str, Callable[[Results], Evidence]], ...] = (
    (
        "easy problems: the share of silent groups grows as they are solved",
        partial(rises, method="Lite PPO, easy", figure="silent"),
    ),
    (
        "C5, easy: without the group's std success ends higher than with it",
        partial(leads, method="no std, easy", other="group std, easy", figure="success"),
    ),
    (
        "C5, easy: with the batch's std (Lite PPO) it ends higher than with the group's",
        partial(leads, method="Lite PPO, easy", other="group std, easy", figure="success"),
    ),
    (
        "C5, hard: with the batch's std (Lite PPO) it ends higher than with the group's",
        partial(leads, method=LITE, other="group std", figure="success"),
    ),
    (
        "C5, hard: Lite PPO ends higher than without any std",
        partial(leads, method=LITE, other="no std", figure="success"),
    ),
    (
        "C5, hard: with the group's mean (Lite PPO) it ends higher than the batch's",
        partial(leads, method=LITE, other="batch mean", figure="success"),
    ),
    (
        "C6: on a base model clip-higher (0.28) changes success by less than 0.05",
        partial(alike, arm="clip-higher", other=LITE),
    ),
    ("C6: but it ends with more entropy", partial(leads, method="clip-higher", other=LITE, figure="entropy")),
    (
        "C7: on a base model token means end higher than sequence means",
        partial(leads, method=LITE, other="sequence mean", figure="success"),
    ),
    (
        "C8, little room: the overlong filter raises success",
        partial(leads, method="overlong filter, short", other="Lite PPO, short", figure="success"),
    ),
    (
        "C8, little room: but more completions are cut than without it",
        partial(leads, method="overlong filter, short", other="Lite PPO, short", figure="cut"),
    ),
    (
        "C8, room enough: the overlong filter changes success by less than 0.05",
        partial(alike, arm="overlong filter", other=LITE),
    ),
    ("C9: Lite PPO ends higher than GRPO", partial(leads, method=LITE, other="GRPO", figure="success")),
    ("C9: Lite PPO ends higher than DAPO", partial(leads, method=LITE, other="DAPO", figure="success")),
)


def of_rung(rung: str, letter: str) -> tuple[Claim, ...]:
    return tuple(Claim(f"{letter}{i}", text, "effect", rung, check) for i, (text, check) in enumerate(ROWS, start=1))


SAMPLED_CLAIMS = (*of_rung("gpt", "G"), *of_rung("llm", "L"))
