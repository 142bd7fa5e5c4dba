"""The claims of lesson 22's sampling rungs. Their directions were set down before the first run.

From the card: more right orders at equal pass@1 for each beta, behaviour like RLOO, and (its C5) PACS as released above
GRPO in pass@1, in pass@k and in entropy. From the exact rung: the order of the betas, and the slowness.
"""

from __future__ import annotations

from functools import partial

from toykit.lessons.base import Evidence, Results, effect, sampled_claims
from toykit.lessons.compare import leads, trails
from toykit.lessons.equal_success import at_equal_success, not_told_apart

RELEASED = "PACS, behaviour"


def more(results: Results, method: str, other: str) -> Evidence:
    return effect(at_equal_success(results, method, other, "distinct"), above=0.0)


def alike(results: Results, method: str, other: str) -> Evidence:
    return not_told_apart(at_equal_success(results, method, other, "distinct"))


ROWS = (
    *(
        (
            f"at equal pass@1 the fixed reference with β = {beta} keeps more right orders than GRPO",
            partial(more, method=f"PACS, fixed, {beta}", other="GRPO"),
        )
        for beta in ("1", "0.5", "2")
    ),
    (
        "at equal pass@1 the fixed reference keeps more with β = 2 than with 0.5",
        partial(more, method="PACS, fixed, 2", other="PACS, fixed, 0.5"),
    ),
    (
        "at equal pass@1 PACS with the behaviour reference and RLOO are not told apart",
        partial(alike, method=RELEASED, other="RLOO"),
    ),
    (
        "PACS as released ends at a higher pass@1 than GRPO",
        partial(leads, method=RELEASED, other="GRPO", figure="pass@1"),
    ),
    ("and at a higher pass@64", partial(leads, method=RELEASED, other="GRPO", figure="pass@64")),
    ("and with more entropy per token", partial(leads, method=RELEASED, other="GRPO", figure="entropy")),
    (
        "the fixed reference with β = 1 ends at a lower pass@1 than PACS as released",
        partial(trails, method="PACS, fixed, 1", other=RELEASED, figure="pass@1"),
    ),
)
SAMPLED = sampled_claims(ROWS)
