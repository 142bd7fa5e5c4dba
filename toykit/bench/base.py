"""What a benchmark is: data, and two callables that do the same work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FULL, TINY = "full", "tiny"
SIZES = (FULL, TINY)

KEYS = (
    "name",
    "ratio",
    "ratio_min",
    "ratio_max",
    "goal",
    "ours_s",
    "peer_s",
    "peer",
    "skipped",
    "device",
    "threads",
    "versions",
)


def nothing() -> None:
    """For a case that keeps nothing to give back."""


def silent() -> str:
    """For a case that has nothing to add to its times."""
    return ""


@dataclass(frozen=True)
class Case:
    """One piece of work, ready to run again and again.

    ours, peer  do it once; one that returns a float has measured itself, in seconds. `peer` is None where there is
                none or it is not asked for
    notes       what is worth knowing beside the times, asked for after the last run
    close       gives back what the case holds
    """

    label: str
    ours: Callable[[], Any]
    peer: Callable[[], Any] | None = None
    notes: Callable[[], str] = silent
    close: Callable[[], None] = nothing


@dataclass(frozen=True)
class Benchmark:
    """A piece of work that is timed, alone or against a peer.

    work     what is done
    peer     what it is compared with; None where only our own time is of interest (a figure)
    goal     the least ratio wanted; of a figure the most seconds
    reads    how the ratio reads
    prepare  (size, whether the peer is wanted too) -> the cases, whose medians are put together
    needs    packages that the peer is made of, none of them toykit's own dependencies
    """

    name: str
    work: str
    peer: str | None
    goal: float
    prepare: Callable[[str, bool], list[Case]]
    reads: str = "peer's time / ours"
    needs: tuple[str, ...] = ()
