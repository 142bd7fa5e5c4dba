"""Making the atlas: every method audited and trained, several at once, each kept when it is done."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from toykit._checks import at_least, one_of
from toykit.atlas import runs
from toykit.atlas.kept import COMMAND, Results, rounded, text
from toykit.atlas.problems import PROBLEMS, RUNGS, Problem
from toykit.atlas.ranks import finding
from toykit.audit import audit
from toykit.exact import kl
from toykit.objectives import CATALOGUE, method
from toykit.objectives.offline import OFFLINE, offline_method
from toykit.training.checkpoint import write_whole
from toykit.training.machine import cores, versions

Told = Callable[[str, int, int], object]
SPENT = "spent.json"


@dataclass(frozen=True)
class Settings:
    """What is trained: on each rung runs with the seeds 0, 1, ..., of `steps` updates.

    Raises ValueError for fewer than 2 seeds, from which there is no interval, and for no step.
    """

    seeds: int = 10
    steps: int = runs.STEPS

    def __post_init__(self) -> None:
        at_least("seeds", self.seeds, 2)
        at_least("steps", self.steps, 1)

    def row(self) -> dict[str, Any]:
        """These and what is the same in every atlas; the rule for the learning rate in words."""
        return asdict(self) | {
            "rungs": list(RUNGS),
            "group_size": runs.GROUP,
            "beta": runs.BETA,
            "optimizer": "sgd",
            "rate": f"the first update moves the reference by {runs.FIRST_KL} nats, the mean of {runs.DRAWS} draws",
            "data": f"{runs.DATA} completions of the reference for each prompt, where a method is offline",
            "solutions": "the first right completion of each prompt in the tree's order, where a method asks for one",
            "measures": runs.MEASURES,
        }


def make(
    names: Sequence[str] = (),
    settings: Settings | None = None,
    folder: Path | None = None,
    workers: int | None = None,
    told: Told = lambda name, done, of: None,
) -> Results:
    """The atlas of some methods of the catalogue (all for none), made by `workers` processes (one a core for None).

    With `folder` each method is kept there when it is done, and a second call goes on where the first was stopped.
    `told` gets the name of a method that is done, how many are, and of how many. Raises ValueError for a name that the
    atlas does not train, fewer than one worker, and a folder that holds an atlas with other settings.
    """
    settings = settings or Settings()
    chosen = [_known(name) for name in names] or list(runs.methods())
    n = min(cores() if workers is None else int(at_least("workers", workers, 1)), len(chosen))
    found = {name: kept for name in chosen if (kept := _kept(folder, name, settings)) is not None}
    began = time.perf_counter() - _spent(folder)
    for name, one in each([name for name in chosen if name not in found], partial(work, settings=settings), n):
        found[name] = rounded(one)
        if folder is not None:
            write_whole(_path(folder, name), text({"settings": settings.row(), "made": one}).encode())
            write_whole(folder / SPENT, text({"seconds": time.perf_counter() - began}).encode())
        told(name, len(found), len(chosen))
    results = {
        "settings": settings.row(),
        "problems": {name: rounded(_about(build())) for name, build in PROBLEMS.items()},
        "left_out": runs.left_out(),
        "methods": {name: {k: v for k, v in found[name].items() if k != "cpu_seconds"} for name in chosen},
    }
    made = {
        "command": COMMAND,
        "seeds": list(range(settings.seeds)),
        "versions": versions(("torch", "numpy")),
        "device": "cpu",
        "workers": n,
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(sum(one["cpu_seconds"] for one in found.values()), 1),
    }
    return {"made": made, "finding": rounded(finding(results)), **results}


def work(name: str, settings: Settings) -> dict[str, Any]:
    """Everything of one method: its audit, and its figures on each rung and problem."""
    threads, began = torch.get_num_threads(), time.process_time()
    torch.set_num_threads(1)  # the tensors are tiny, and several threads may round otherwise
    try:
        on_policy = name in CATALOGUE
        made: dict[str, Any] = {
            "kind": "on policy" if on_policy else "offline",
            "source": method(name).source if on_policy else offline_method(name).source,
            **_sheet(name),
            "rungs": {rung: {p: _trained(name, p, rung, settings) for p in PROBLEMS} for rung in RUNGS},
        }
    finally:
        torch.set_num_threads(threads)
    return made | {"cpu_seconds": time.process_time() - began}


def each(names: Sequence[str], fn: Callable[[str], Any], workers: int) -> Iterator[tuple[str, Any]]:
    """(name, fn(name)) of each name, as they are done; with several workers in processes of their own."""
    if workers == 1:
        yield from ((name, fn(name)) for name in names)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
    try:
        waiting = {pool.submit(fn, name): name for name in names}
        for done in as_completed(waiting):
            yield waiting[done], done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _sheet(name: str) -> dict[str, Any]:
    """{"audit": verdicts and details by property, likely bugs, notes; "unaudited": why there is none, else None}."""
    try:
        found = audit(name)
    except ValueError as error:
        return {"audit": None, "unaudited": str(error)}
    sheet = {
        "properties": {p.name: {"verdict": p.verdict, "detail": p.detail} for p in found.properties},
        "diagnosis": [one.row() for one in found.diagnosis],
        "notes": list(found.notes),
    }
    return {"audit": sheet, "unaudited": None}


def _trained(name: str, problem: str, rung: str, settings: Settings) -> dict[str, Any]:
    """{"lr", "figures": {measure: [a value a seed]}}, or {"failed": why}, which stops nothing else."""
    built = PROBLEMS[problem]()
    try:
        lr = runs.rate(name, built, rung)
        paths = [runs.run(name, built, rung, lr, seed, settings.steps) for seed in range(settings.seeds)]
    except ValueError as error:
        return {"failed": str(error)}
    return {"lr": lr, "figures": {measure: [path[measure] for path in paths] for measure in runs.MEASURES}}


def _about(problem: Problem) -> dict[str, Any]:
    """A problem in words, and the figures of the reference on each rung."""
    laws = {rung: problem.law(problem.reference(rung)) for rung in RUNGS}
    right = [
        sorted(law[kept].exp().tolist(), reverse=True) for law, kept in zip(laws["exact"], problem.right, strict=True)
    ]
    return {
        "about": problem.about,
        "right": right,
        "reference": {rung: runs.measured(problem, law, law) for rung, law in laws.items()},
        "apart": float(kl(laws["exact"], laws["gpt"]).mean()),
    }


def _known(name: str) -> str:
    """A name that the atlas trains; raises ValueError otherwise."""
    if one_of("method", name, (*CATALOGUE, *OFFLINE)) in (why := runs.left_out()):
        raise ValueError(f"method must train a policy to be in the atlas, got {name!r}: {why[name]}")
    return name


def _path(folder: Path, name: str) -> Path:
    return folder / "methods" / f"{name}.json"


def _spent(folder: Path | None) -> float:
    """Seconds that earlier calls worked on what a folder keeps."""
    if folder is None or not (path := folder / SPENT).exists():
        return 0.0
    return json.loads(path.read_text(encoding="utf-8"))["seconds"]


def _kept(folder: Path | None, name: str, settings: Settings) -> dict[str, Any] | None:
    """What a folder keeps of a method, None for nothing; raises ValueError where its settings are others."""
    if folder is None or not (path := _path(folder, name)).exists():
        return None
    kept = json.loads(path.read_text(encoding="utf-8"))
    if kept["settings"] != settings.row():
        raise ValueError(f"out must be a folder for these settings, {str(folder)!r} holds an atlas with other ones")
    return kept["made"]
