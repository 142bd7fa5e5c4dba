"""How fast toykit is, beside its peers: benchmarks as data, and one runner for all of them."""

from toykit.bench.base import FULL, KEYS, SIZES, Benchmark, Case
from toykit.bench.registry import BENCHMARKS, chosen, record
from toykit.bench.runner import LEAST_RUNS, Found, Times, run, timed

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
    "record",
    "run",
    "timed",
]
