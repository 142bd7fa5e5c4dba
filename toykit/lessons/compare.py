"""Several methods over several seeds, measured as they train: most experiments of the gpt and llm rungs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from toykit.lessons.base import Evidence, Results, below, difference, effect
from toykit.lessons.sharing import shared
from toykit.training import Curriculum, OfflineTrainer, Processes, Restarting, Trainer, loop
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
    keep: bool = False,
) -> Results:
    """Trains each method with each seed and measures at the given numbers of steps (0: before the first).

    Returns {"stops": [...], "runs": {method: {figure: [[value at each stop] for each seed]}}}. With `folder`, every
    run keeps its measurements there and, until it is done, its checkpoint: a second call goes on where the first was
    stopped, and several processes that make the same call share the runs. With `keep` the checkpoint of a run that is
    done stays, and the trainer of every run is made and stands at its end.
    """
    from tqdm.auto import tqdm

    def kept(run: tuple[str, int]) -> Path | None:
        return None if folder is None else folder / run[0] / f"seed_{run[1]}"

    def one(run: tuple[str, int]) -> list[Figures]:
        name, seed = run
        bar.set_description(f"{name}, seed {seed}", refresh=False)
        return follow(partial(methods[name], seed), seed, stops, measure, kept(run), bar.update, keep)

    runs = [(name, seed) for name in methods for seed in seeds]
    with tqdm(total=len(runs) * max(stops), unit="step", disable=not progress) as bar:
        found = shared(
            {run: partial(one, run) for run in runs}, lambda run: None if (at := kept(run)) is None else at / ".lock"
        )
    paths = {name: [found[name, seed] for seed in seeds] for name in methods}
    return {
        "stops": list(stops),
        "runs": {
            name: {k: [[at[k] for at in path] for path in every] for k in every[0][0]} for name, every in paths.items()
        },
    }


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
    make: Callable[[], Led],
    seed: int,
    stops: Sequence[int],
    measure: Measure,
    folder: Path | None = None,
    advanced: Callable[[int], object] = lambda steps: None,
    keep: bool = False,
) -> list[Figures]:
    """The measurements of one run at each stop; `advanced` is told the steps that were made or found in `folder`.

    What is kept there is said at `compare`.
    """
    at, path = (None, None) if folder is None else (folder / "checkpoint.safetensors", folder / "measured.json")
    on_first = Processes.here().on_first
    found: dict[str, Figures] = on_first(lambda: json.loads(path.read_text()) if path and path.exists() else {})
    wanted = sorted(set(stops))
    if not keep and all(str(stop) in found for stop in wanted):
        advanced(wanted[-1])
        return [found[str(stop)] for stop in stops]
    trainer = make()
    if at is not None and at.exists():
        trainer.load(at)
        advanced(trainer.done)

    def look(stop: int) -> None:
        if str(stop) not in found:
            found[str(stop)] = measure(
                trainer.trainer if isinstance(trainer, Curriculum | Restarting) else trainer, seed
            )
            if path is not None:
                on_first(lambda: write_whole(path, json.dumps(found).encode()))

    def after() -> None:
        advanced(1)
        if trainer.done in wanted:
            look(trainer.done)

    if trainer.done in wanted:
        look(trainer.done)
    processes = trainer.processes
    loop.run(trainer, wanted[-1], folder, 1, progress=False, processes=processes, pause=loop.MINUTE, after=after)
    for stop in wanted:  # those after the last phase of a trainer that is led through phases
        look(stop)
    if at is not None and keep:
        trainer.save(at)
    elif at is not None:
        on_first(lambda: at.unlink(missing_ok=True))
    return [found[str(stop)] for stop in stops]
