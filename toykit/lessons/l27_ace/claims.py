"""The claims of lesson 27, each a pure function of its rung's results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from toykit.lessons.base import Claim, Evidence, Results, below, difference
from toykit.lessons.compare import leads, trails

CLEAN = "GRPO, never misled"


def recovery(results: Results, arm: str) -> list[float]:
    """Steps, by seed, until half of the mass is gone that the faulty verifier gave the spurious answers.

    Linear between the stops; a run that does not get there counts as its last stop.
    """
    found = []
    for path, clean in zip(results["runs"][arm]["spurious"], results["runs"][CLEAN]["spurious"], strict=True):
        found.append(_crossing(results["stops"], path, (path[0] + clean[0]) / 2))
    return found


def _crossing(stops: Sequence[int], path: Sequence[float], level: float) -> float:
    """Where a falling path first is at a level, or the last stop."""
    for (t, x), (u, y) in pairwise(zip(stops, path, strict=True)):
        if y <= level < x:
            return t + (u - t) * (x - level) / (x - y)
    return float(stops[-1])


def misled(results: Results) -> Evidence:
    """Success on the misled prompts after the faulty phase, less the base's."""
    after, base = ([path[0] for path in results["runs"][arm]["misled pass@1"]] for arm in ("GRPO", CLEAN))
    return below(difference(after, base), 0.0)


def sooner(results: Results, arm: str) -> Evidence:
    return below(difference(recovery(results, arm), recovery(results, "GRPO")), 0.0)


def sampled(rung: str, letter: str) -> tuple[Claim, ...]:
    """The claims of a rung that samples; their directions are the card's or were set down before the first run."""

    def ahead(figure: str, method: str = "ACE", other: str = "GRPO") -> Callable[[Results], Evidence]:
        return partial(leads, method=method, other=other, figure=figure)

    def behind(figure: str) -> Callable[[Results], Evidence]:
        return partial(trails, method="ACE", other="GRPO", figure=figure)

    clean = partial(ahead, method="ACE, never misled", other=CLEAN)
    rows: list[tuple[str, Callable[[Results], Evidence]]] = [
        ("the faulty verifier makes the misled prompts' right answers rarer than in the base", misled),
        ("ACE loses half of the spurious mass in fewer steps than GRPO", partial(sooner, arm="ACE")),
        ("so does the uniform penalty", partial(sooner, arm="uniform")),
        ("ACE ends above GRPO at k = 16", ahead("train pass@16")),
        ("ACE ends above the uniform penalty at k = 16", ahead("train pass@16", other="uniform")),
        ("ACE ends above GRPO at k = 16, held out", ahead("test pass@16")),
        ("ACE ends above GRPO at k = 1", ahead("train pass@1")),
        ("ACE ends with less mass on overconfident errors than GRPO", behind("overconfident")),
        ("and they are less severe", behind("severity")),
        ("ACE ends with more entropy among the wrong answers than GRPO", ahead("entropy")),
        ("softplus ends above ReLU at k = 16", ahead("train pass@16", other="ReLU")),
        ("never misled: ACE ends above GRPO at k = 64", clean("train pass@64")),
        ("never misled: ACE ends above GRPO at k = 64, held out", clean("test pass@64")),
    ]
    return tuple(Claim(f"{letter}{i}", text, "effect", rung, check) for i, (text, check) in enumerate(rows, start=1))


CLAIMS = (
    *sampled("gpt", "G"),
    *sampled("llm", "L"),
)
