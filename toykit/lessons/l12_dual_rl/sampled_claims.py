"""The claims of lesson 12 on the rungs that sample.

G1 and G9 are the card's, G1 with its factor of 10. G2 to G4 and G10 are its C7 (f-DVL at least as good as XQL, and it
does not diverge; ReCOIL with few demonstrations); what does not diverge is given a number here, twice the largest
reward. The others are this lesson's own: against the baselines that the card names without a direction, f-DVL is
expected to lead. All were written down before the first full run, after a pilot of other seeds than its five (one for
the heads, three on the grid).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from toykit.lessons.base import Claim, Evidence, Results, below, difference, effect, sampled_claims
from toykit.lessons.compare import last, leads

Check = Callable[[Results], Evidence]


def times(results: Results, arm: str) -> list[float]:
    """How many times as large an arm's largest gradient norm is as that of total variation, seed by seed."""
    norms = (last(results, name, "gradient norm") for name in (arm, "TV"))
    return [a / b for a, b in zip(*norms, strict=True)]


def explodes(results: Results) -> Evidence:
    return effect(times(results, "XQL"), above=10.0)


def tamed(results: Results) -> Evidence:
    return below(times(results, "XQL, scaled"), 10.0)


def bounded(results: Results) -> Evidence:
    """The larger of the two f-DVL arms."""
    return below([max(pair) for pair in zip(*(last(results, n, "largest Q") for n in ("TV", "chi2")), strict=True)], 2)


def ahead(results: Results, arm: str, other: str) -> Evidence:
    return leads(results, arm, other, "success")


ROWS: tuple[tuple[str, Check], ...] = (
    ("XQL's largest gradient norm is more than 10 times that of total variation", explodes),
    ("f-DVL (total variation) ends with more success than XQL", partial(ahead, arm="TV", other="XQL")),
    ("f-DVL's values stay below twice the largest reward", bounded),
    ("f-DVL with chi-square ends with more success than XQL", partial(ahead, arm="chi2", other="XQL")),
    ("scaled as released, XQL's largest norm is less than 10 times total variation's", tamed),
    ("f-DVL (total variation) ends with more success than behaviour cloning", partial(ahead, arm="TV", other="BC")),
    ("and than filtered SFT", partial(ahead, arm="TV", other="filtered")),
    ("and than DPO", partial(ahead, arm="TV", other="DPO")),
)


def on_grid(results: Results, way: str, covered: float) -> list[float]:
    """The success of a way to imitate at a share of coverage, seed by seed."""
    found = results["grid"]
    at = found["covered"].index(covered)
    return [path[at] for path in found["success"][way]]


def above(results: Results, way: str, other: str) -> Evidence:
    """Where the other data have none of the expert's moves."""
    return effect(difference(on_grid(results, way, 0.0), on_grid(results, other, 0.0)), above=0.0)


def needs_coverage(results: Results) -> Evidence:
    return effect(difference(*(on_grid(results, "discriminator", covered) for covered in (1.0, 0.0))), above=0.0)


GRID: tuple[tuple[str, Check], ...] = (
    (
        "without coverage ReCOIL reaches the goal more often than a discriminator's reward",
        partial(above, way="ReCOIL", other="discriminator"),
    ),
    ("and than the imitation of the demonstrations", partial(above, way="ReCOIL", other="BC, expert")),
    ("a discriminator's reward reaches it more often with coverage than without", needs_coverage),
)
SAMPLED = (
    *sampled_claims(ROWS),
    *(Claim(f"G{i}", text, "effect", "gpt", check) for i, (text, check) in enumerate(GRID, start=len(ROWS) + 1)),
)
