"""The claims of lesson 16's sampling rungs.

The card's: success above .7 is a gate, and ROVER keeps at least as many right answers as GRPO at equal success (its
C6); pass@64 after the paper. Ours: what the exact rung says of ROVER beside REINFORCE. All were set down before the
five seeds were run, after a pilot of seed 100 that had chosen 16 prompts, the learning rate and the number of steps.
"""

from __future__ import annotations

from functools import partial

from toykit.lessons.base import Evidence, Results, effect, sampled_claims
from toykit.lessons.compare import last, leads
from toykit.lessons.equal_success import at_equal_success, not_told_apart

LEVEL = 0.7  # of success: the gate, and where the arms are compared
ARMS = ("ROVER", "ROVER, β = 0", "ROVER, minibatches", "GRPO", "REINFORCE")


def gate(results: Results) -> Evidence:
    """The success at the end of the arm that is worst in a seed."""
    ends = zip(*(last(results, arm, "pass@1") for arm in ARMS), strict=True)
    return effect([min(seed) for seed in ends], above=LEVEL)


def more(results: Results, method: str, other: str) -> Evidence:
    return effect(at_equal_success(results, method, other, "distinct", LEVEL), above=0.0)


def alike(results: Results, method: str, other: str) -> Evidence:
    return not_told_apart(at_equal_success(results, method, other, "distinct", LEVEL))


SAMPLED = sampled_claims(
    (
        ("every arm's success ends above 0.7", gate),
        (
            "at equal success ROVER keeps more right orders among 64 samples than GRPO",
            partial(more, method="ROVER", other="GRPO"),
        ),
        (
            "at equal success ROVER and REINFORCE are not told apart",
            partial(alike, method="ROVER", other="REINFORCE"),
        ),
        (
            "at equal success ROVER in minibatches, as released, and REINFORCE are not told apart",
            partial(alike, method="ROVER, minibatches", other="REINFORCE"),
        ),
        (
            "at equal success ROVER with the bootstrap and without it are not told apart",
            partial(alike, method="ROVER", other="ROVER, β = 0"),
        ),
        ("ROVER ends at a higher pass@64 than GRPO", partial(leads, method="ROVER", other="GRPO", figure="pass@64")),
    )
)
