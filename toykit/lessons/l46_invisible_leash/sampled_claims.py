"""The claims of lesson 46 on the rungs that sample, each a pure function of the results of either.

The card's are that GRPO's net change is below 0, that the teacher's is not below GRPO's, and that the answer entropy
falls. The others were set down before the recorded run: at k = 16 and 64 after the exact rung's table by k, the lead
after its conserved quantity, NSR and PSR after Zhu et al. (arXiv 2506.01347), the KL after the tilt. A pilot for time,
ten steps of GRPO from a seed that is not among the five, had shown its figures before.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from toykit.lessons.base import Evidence, Results, below, effect, sampled_claims
from toykit.lessons.compare import falls, last, leads, rises, trails


def above_zero(results: Results, method: str, figure: str) -> Evidence:
    return effect(last(results, method, figure), above=0.0)


def below_zero(results: Results, method: str, figure: str) -> Evidence:
    return below(last(results, method, figure), 0.0)


ROWS: tuple[tuple[str, Callable[[Results], Evidence]], ...] = (
    ("GRPO raises success", partial(rises, method="GRPO", figure="train success")),
    (
        "GRPO loses more right answers than it gains: NSCR < 0 at k = 256",
        partial(below_zero, method="GRPO", figure="train NSCR 256"),
    ),
    ("and on held-out prompts", partial(below_zero, method="GRPO", figure="test NSCR 256")),
    (
        "SFT on both right answers ends with a higher NSCR than GRPO",
        partial(leads, method="SFT", other="GRPO", figure="train NSCR 256"),
    ),
    ("GRPO lowers the answer entropy", partial(falls, method="GRPO", figure="train answer entropy")),
    (
        "at k = 64, where the base misses the rarest operator, SFT gains: NSCR > 0",
        partial(above_zero, method="SFT", figure="train NSCR 64"),
    ),
    ("and GRPO loses: NSCR < 0", partial(below_zero, method="GRPO", figure="train NSCR 64")),
    (
        "at k = 16, where the base shows hardly any right answer, GRPO gains: NSCR > 0",
        partial(above_zero, method="GRPO", figure="train NSCR 16"),
    ),
    (
        "GRPO widens the lead of the likelier right answer, |log π1/π2|",
        partial(rises, method="GRPO", figure="train lead"),
    ),
    ("SFT narrows it", partial(falls, method="SFT", figure="train lead")),
    (
        "NSR loses fewer right answers than PSR at k = 256",
        partial(trails, method="NSR", other="PSR", figure="train lost 256"),
    ),
    (
        "GRPO with a KL penalty of 0.04 loses fewer than without",
        partial(trails, method="GRPO + KL", other="GRPO", figure="train lost 256"),
    ),
)

SAMPLED_CLAIMS = sampled_claims(ROWS)
