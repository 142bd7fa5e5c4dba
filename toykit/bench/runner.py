"""Running a benchmark: a warm-up, then ours and the peer in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from toykit._checks import at_least, one_of
from toykit.bench.base import FULL, SIZES, Benchmark, Case
from toykit.training.machine import installed, versions

LEAST_RUNS = 5
ENOUGH = 0.25  # seconds of a run, unless its work is done this often before:
MOST_TIMES = 200
Clock = Callable[[], float]


@dataclass(frozen=True)
class Times:
    """Seconds of the counted runs of a case; those of the peer are empty where it did not run."""

    label: str
    ours: tuple[float, ...]
    peer: tuple[float, ...] = ()

    @property
    def ratios(self) -> list[float]:
        """The peer's time over ours, of each pair of runs."""
        return [b / a for a, b in zip(self.ours, self.peer, strict=bool(self.peer))]


@dataclass(frozen=True)
class Found:
    """A benchmark's times, why its peer did not run (None where it did or there is none), and its notes."""

    benchmark: Benchmark
    size: str
    times: tuple[Times, ...]
    skipped: str | None
    notes: tuple[str, ...]
    threads: int

    def row(self) -> dict[str, Any]:
        """The figures as `toykit bench --json` gives them.

        The ratio is the median over the cases of each case's median; its minimum and maximum are over all counted
        runs. Times are sums over the cases of their medians, and of a figure the slowest case's.
        """
        named, ratios = self.benchmark, [t.ratios for t in self.times if t.peer]
        ours, pooled = [median(t.ours) for t in self.times], [r for one in ratios for r in one]
        return {
            "name": named.name if self.size == FULL else f"{named.name}@{self.size}",
            "ratio": median(map(median, ratios)) if ratios else None,
            "ratio_min": min(pooled, default=None),
            "ratio_max": max(pooled, default=None),
            "goal": named.goal,
            "ours_s": max(ours) if named.peer is None else sum(ours),
            "peer_s": sum(median(t.peer) for t in self.times) if ratios else None,
            "peer": named.peer,
            "skipped": self.skipped,
            "device": "cpu",
            "threads": self.threads,
            "versions": versions(("torch", "numpy", "transformers", *named.needs)),
        }

    def reached(self) -> bool | None:
        """Whether the goal is reached; None where there is nothing to decide by."""
        return reached(self.row())


def reached(row: Mapping[str, Any]) -> bool | None:
    """Whether a row's goal is reached: a ratio is to be at least the goal, a figure's seconds at most."""
    if row["peer"] is None:
        return row["ours_s"] <= row["goal"]
    return None if row["ratio"] is None else row["ratio"] >= row["goal"]


def run(benchmark: Benchmark, size: str = FULL, runs: int = LEAST_RUNS, clock: Clock = time.perf_counter) -> Found:
    """Prepares the benchmark once and times `runs` runs of each case after one that is not counted.

    At full size a run repeats work that is short until it has taken a quarter of a second, ours and the peer's alike:
    a single step of milliseconds would mostly measure what the other left in the caches.

    A peer that is not installed is left out, and why is said. The global random numbers of torch, from which peers
    draw, are restored afterwards. Raises ValueError for fewer than 5 runs and an unknown size.
    """
    at_least("runs", runs, LEAST_RUNS)
    one_of("size", size, SIZES)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        cases, skipped = _prepared(benchmark, size)
        try:
            times = tuple(timed(case, runs, clock, ENOUGH if size == FULL else 0.0) for case in cases)
            notes = tuple(said for case in cases if (said := case.notes()))
        finally:
            for case in cases:
                case.close()
    if len(times) > 1:
        notes = (*map(_said, times), *notes)
    return Found(benchmark, size, times, skipped, notes, torch.get_num_threads())


def timed(case: Case, runs: int, clock: Clock = time.perf_counter, enough: float = 0.0) -> Times:
    """One run of each that is not counted, then `runs` pairs; which of the two goes first changes with each pair.

    A run does its work again until `enough` seconds have gone by; its time is that of doing it once, on the average.
    """
    both = {"ours": case.ours} | ({} if case.peer is None else {"peer": case.peer})
    found: dict[str, list[float]] = {name: [] for name in both}
    for i in range(runs + 1):
        for name in sorted(both, reverse=bool(i % 2)):
            took = _seconds(both[name], clock, enough if i > 0 else 0.0)
            if i > 0:
                found[name].append(took)
    return Times(case.label, tuple(found["ours"]), tuple(found.get("peer", ())))


def _seconds(fn: Callable[[], Any], clock: Clock, enough: float) -> float:
    total, times = 0.0, 0
    while times == 0 or (total < enough and times < MOST_TIMES):
        began = clock()
        said = fn()
        took = clock() - began
        total, times = total + (said if isinstance(said, float) else took), times + 1
    return total / times


def _prepared(benchmark: Benchmark, size: str) -> tuple[list[Case], str | None]:
    """The cases, and why they are without the peer (None where they are not, or there is none)."""
    if benchmark.peer is None:
        return benchmark.prepare(size, False), None
    if missing := [name for name in benchmark.needs if not installed(name)]:
        reason = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed"
        return benchmark.prepare(size, False), f"{reason}: pip install 'toykit[bench]'"
    try:
        return benchmark.prepare(size, True), None
    except ImportError as error:
        return benchmark.prepare(size, False), f"{benchmark.peer} could not be imported: {error}"


def _said(times: Times) -> str:
    """A case in words: "batch 8: 12.1 ms, ratio 1.9"."""
    ratio = f", ratio {median(times.ratios):.2f}" if times.peer else ""
    return f"{times.label}: {1000 * median(times.ours):.3g} ms{ratio}"
