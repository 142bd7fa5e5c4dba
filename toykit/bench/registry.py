"""All benchmarks by name, and what is kept of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toykit._checks import one_of
from toykit.bench.base import FULL, Benchmark
from toykit.bench.control import CONTROL
from toykit.bench.exact import EXACT
from toykit.bench.explorers import EXPLORERS
from toykit.bench.pretraining import PRETRAINING
from toykit.bench.runner import Found
from toykit.bench.sampling import SAMPLING
from toykit.bench.step import STEP
from toykit.training.checkpoint import write_whole
from toykit.training.store import data_folder

BENCHMARKS: dict[str, Benchmark] = {
    b.name: b for group in (STEP, SAMPLING, EXACT, EXPLORERS, PRETRAINING, CONTROL) for b in group
}


def chosen(names: Sequence[str]) -> list[Benchmark]:
    """The benchmarks of these names, all for none; raises ValueError with the nearest for an unknown name."""
    return [BENCHMARKS[one_of("name", name, BENCHMARKS)] for name in names or BENCHMARKS]


def _path(benchmark: Benchmark) -> Path:
    return data_folder() / "results" / "bench" / f"{benchmark.name}.json"


def recorded(benchmark: Benchmark) -> dict[str, Any] | None:
    """The row that is kept of a benchmark, and its notes as `made`; None where none is."""
    path = _path(benchmark)
    return json.loads(path.read_text()) if path.exists() else None


def record(found: Found) -> Path | None:
    """Keeps a benchmark's figures in the project's data folder, whole or not at all.

    One whose peer was left out is not kept (None), so that it stands in for no measured one. Raises ValueError for
    any size but the full one.
    """
    if found.size != FULL:
        raise ValueError(f"size must be {FULL!r} for results that are recorded, got {found.size!r}")
    if found.skipped is not None:
        return None
    path = _path(found.benchmark)
    runs = {t.label or "all": {"ours_s": list(t.ours), "peer_s": list(t.peer)} for t in found.times}
    made = {"command": f"toykit bench {found.benchmark.name} --record", "runs": runs, "notes": list(found.notes)}
    write_whole(path, (json.dumps(found.row() | {"made": made}, indent=1, sort_keys=True) + "\n").encode())
    return path
