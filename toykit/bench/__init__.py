"""How fast toykit is, beside its peers: benchmarks as data, and one runner for all of them."""

from toykit.bench.base import FULL, KEYS, SIZES, Benchmark, Case
from toykit.bench.registry import BENCHMARKS, chosen, record, recorded
from toykit.bench.runner import LEAST_RUNS, Found, Times, reached, run, timed

__all__ = [
    "BENCHMARKS",
    "FULL",
    "KEYS",
    "LEAST_RUNS",
    "SIZES",
    "Benchmark",
    "Case",
    "Found",
    "Times",
    "chosen",
    "reached",
    "record",
    "recorded",
    "run",
    "timed",
]
