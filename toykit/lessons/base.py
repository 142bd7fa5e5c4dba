"""What a lesson is: experiments that give plain results, and claims that judge them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from toykit._checks import one_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RUNGS = ("exact", "gpt", "llm")
Results = dict[str, Any]  # what an experiment gives: JSON-able, the same bytes for the same seeds on one machine


@dataclass(frozen=True)
class Evidence:
    """What was found: `holds` is None where the results cannot decide (too few seeds).

    A theorem gives its `tolerance`, an effect its 95% `interval` over seeds.
    """

    holds: bool | None
    measured: Any
    expected: Any
    tolerance: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper (or of its card) that a machine can check.

    `check` judges the results of the rung's experiment; it is a pure function, so recorded results are judged by
    today's code.
    """

    id: str
    statement: str
    kind: str
    rung: str
    check: Callable[[Results], Evidence]

    def __post_init__(self) -> None:
        one_of("kind", self.kind, ("theorem", "effect"))
        one_of("rung", self.rung, RUNGS)


@dataclass(frozen=True)
class Experiment:
    """A rung of a lesson: `run(seeds=..., **options)` gives results; its options are keywords with defaults.

    `seeds` are those of the full experiment, `recorded` says that it is long and its results are kept under
    data/results. Options that mean the same in every lesson: `folder` (where a long run keeps what it needs to go on),
    `progress` (whether it shows a bar), `device` and `size` (of the llm rung).
    """

    run: Callable[..., Results]
    seeds: tuple[int, ...] = (0,)
    recorded: bool = False

    @property
    def options(self) -> tuple[str, ...]:
        """The names of the options beside `seeds`."""
        return tuple(name for name in inspect.signature(self.run).parameters if name != "seeds")


@dataclass(frozen=True)
class Lesson:
    """One paper: its experiments by rung, its claims, and its figures as functions of a rung's results.

    `minutes` is how long a reader takes, `needs` the numbers of the lessons before it, `pieces` the names of the
    library's pieces that it is about.
    """

    number: str
    slug: str
    title: str
    part: str
    paper: str
    experiments: Mapping[str, Experiment]
    claims: tuple[Claim, ...]
    figures: Mapping[str, Mapping[str, Callable[..., Figure]]] = field(default_factory=dict)
    minutes: int = 40
    needs: tuple[str, ...] = ()
    pieces: tuple[str, ...] = ()

    @property
    def notebook(self) -> str:
        return f"notebooks/{self.part}/{self.number}_{self.slug}.ipynb"

    def claims_of(self, rung: str | None) -> tuple[Claim, ...]:
        return tuple(c for c in self.claims if rung is None or c.rung == rung)


def sampled_claims(rows: Sequence[tuple[str, Callable[[Results], Evidence]]]) -> tuple[Claim, ...]:
    """Effects that are claimed alike of the gpt rung, as G1, G2, ..., and of the llm rung, as L1, L2, ..."""
    return tuple(
        Claim(f"{letter}{i}", text, "effect", rung, check)
        for rung, letter in (("gpt", "G"), ("llm", "L"))
        for i, (text, check) in enumerate(rows, start=1)
    )


def within(measured: float, expected: float, tolerance: float) -> Evidence:
    """Evidence of a theorem: |measured - expected| <= tolerance."""
    return Evidence(abs(measured - expected) <= tolerance, measured, expected, tolerance)


def units(measured: float, printed: str) -> float:
    """How far a number is from a printed one, in units of its last digit: at most 1/2 where it rounds to it."""
    exponent = Decimal(printed).as_tuple().exponent
    assert isinstance(exponent, int)
    return abs(measured - float(printed)) / 10.0**exponent


def worst_units(measured: Sequence[float], there: Sequence[str]) -> float:
    """How far the farthest of some numbers is from its printed one, in units of its last digit."""
    return max(units(m, t) for m, t in zip(measured, there, strict=True))


def printed(measured: Sequence[float], there: Sequence[str]) -> Evidence:
    """Evidence of a theorem: every number rounds to the printed one."""
    return Evidence(worst_units(measured, there) <= 0.501, list(measured), [float(t) for t in there], tolerance=0.501)


def at_most(measured: float, tolerance: float) -> Evidence:
    """Evidence of a theorem whose error must vanish: measured <= tolerance."""
    return Evidence(measured <= tolerance, measured, 0.0, tolerance)


def effect(values: Sequence[float], above: float, least_seeds: int = 5) -> Evidence:
    """Evidence of an effect: the 95% t-interval of the mean over seeds lies above `above`.

    Not decided with fewer than `least_seeds` seeds.
    """
    from toykit.diagnostics import interval

    n = len(values)
    if n < least_seeds or not all(map(math.isfinite, values)):
        return Evidence(None, sum(values) / max(n, 1), f"> {above:g}, over {least_seeds} seeds or more")
    found = interval(values)
    return Evidence(found.low > above, found.mean, f"> {above:g}", interval=(found.low, found.high))


def below(values: Sequence[float], bound: float, least_seeds: int = 5) -> Evidence:
    """Evidence of an effect: the 95% t-interval of the mean over seeds lies below `bound`; see `effect`."""
    found = effect([0.0 - v for v in values], -bound, least_seeds)
    interval = None if found.interval is None else (0.0 - found.interval[1], 0.0 - found.interval[0])
    expected = f"< {bound:g}" + found.expected.removeprefix(f"> {-bound:g}")
    return Evidence(found.holds, 0.0 - found.measured, expected, interval=interval)


def difference(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """first - second, seed by seed. Raises ValueError where their lengths differ."""
    return [a - b for a, b in zip(first, second, strict=True)]
