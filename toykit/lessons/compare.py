"""Several methods over several seeds, measured as they train: most experiments of the gpt and llm rungs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from toykit.lessons.base import Evidence, Results, below, difference, effect
from toykit.training import Curriculum, OfflineTrainer, Restarting, Trainer
from toykit.training.checkpoint import write_whole

Figures = dict[str, float]
Led = Trainer | OfflineTrainer | Curriculum | Restarting
Make = Callable[[int], Led]  # a fresh trainer of a seed, or one that is led through phases
Measure = Callable[[Any, int], Figures]  # of the trainer as it stands, and its seed: the same for the same policy


def compare(
    methods: Mapping[str, Make],
    seeds: Sequence[int],
    stops: Sequence[int],
    measure: Measure,
    folder: Path | None = None,
    progress: bool = False,
) -> Results:
    """Trains each method with each seed and measures at the given numbers of steps (0: before the first).

    Returns {"stops": [...], "runs": {method: {figure: [[value at each stop] for each seed]}}}. With `folder`, every
    run keeps its checkpoint and its measurements there, and a second call goes on where the first was stopped.
    """
    from tqdm.auto import tqdm

    runs: dict[str, list[list[Figures]]] = {}
    with tqdm(total=len(methods) * len(seeds) * max(stops), unit="step", disable=not progress) as bar:
        for name, make in methods.items():
            runs[name] = []
            for seed in seeds:
                bar.set_description(f"{name}, seed {seed}", refresh=False)
                kept = None if folder is None else folder / name / f"seed_{seed}"
                runs[name].append(follow(make(seed), seed, stops, measure, kept, bar.update))
    return {
        "stops": list(stops),
        "runs": {
            name: {k: [[at[k] for at in path] for path in paths] for k in paths[0][0]} for name, paths in runs.items()
        },
    }


def remembered(path: Path | None, make: Callable[[], Any]) -> Any:
    """What `make` gives, which is JSON-able; kept in the file at `path` and read from it the next time."""
    if path is not None and path.exists():
        return json.loads(path.read_text())
    found = make()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(found).encode())
    return found


def last(results: Results, method: str, figure: str) -> list[float]:
    """A figure of a method at the last stop of `compare`'s results, one value a seed."""
    return [path[-1] for path in results["runs"][method][figure]]


def reaching(path: Sequence[float], level: float, values: Sequence[float], never: float = math.nan) -> float:
    """One of `values` where `path` first is at `level` or above it, both with a number a stop.

    Linear between two stops, so that a faster path is not read further beyond the level; `never` where it stays below.
    """
    i = next((i for i, x in enumerate(path) if x >= level), None)
    if i is None:
        return never
    if i == 0:
        return float(values[0])
    share = (level - path[i - 1]) / (path[i] - path[i - 1])
    return values[i - 1] + share * (values[i] - values[i - 1])


def rises(results: Results, method: str, figure: str) -> Evidence:
    """An effect: a method's figure ends above where it began."""
    return effect(_change(results, method, figure), above=0.0)


def falls(results: Results, method: str, figure: str) -> Evidence:
    """An effect: a method's figure ends below where it began."""
    return below(_change(results, method, figure), 0.0)


def leads(results: Results, method: str, other: str, figure: str, above: float = 0.0) -> Evidence:
    """An effect: a method's figure ends above another's by more than `above`, seed by seed."""
    return effect(difference(last(results, method, figure), last(results, other, figure)), above=above)


def trails(results: Results, method: str, other: str, figure: str, below_by: float = 0.0) -> Evidence:
    """An effect: a method's figure ends below another's by more than `below_by`, seed by seed."""
    return below(difference(last(results, method, figure), last(results, other, figure)), 0.0 - below_by)


def _change(results: Results, method: str, figure: str) -> list[float]:
    return [path[-1] - path[0] for path in results["runs"][method][figure]]


def follow(
    trainer: Led,
    seed: int,
    stops: Sequence[int],
    measure: Measure,
    folder: Path | None = None,
    advanced: Callable[[int], object] = lambda steps: None,
) -> list[Figures]:
    """The measurements of one run at each stop; `advanced` is told the steps that were made or found in `folder`."""
    path = None if folder is None else folder / "measured.json"
    on_first = trainer.processes.on_first
    found: dict[str, Figures] = on_first(lambda: json.loads(path.read_text()) if path and path.exists() else {})
    if folder is not None and (folder / "checkpoint.safetensors").exists():
        trainer.load(folder / "checkpoint.safetensors")
        advanced(trainer.done)
    for stop in sorted(set(stops)):
        before = trainer.done
        trainer.run(stop, folder, progress=False)
        advanced(trainer.done - before)
        if str(stop) not in found:  # measured right after the checkpoint of this very step
            found[str(stop)] = measure(
                trainer.trainer if isinstance(trainer, Curriculum | Restarting) else trainer, seed
            )
            if path is not None:
                on_first(lambda: write_whole(path, json.dumps(found).encode()))
    return [found[str(stop)] for stop in stops]
