"""Finding lessons, running them, and the rows that `toykit lessons` and `toykit claims` print."""

from __future__ import annotations

import importlib
import json
import pkgutil
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toykit._checks import one_of
from toykit.lessons.base import RUNGS, Claim, Evidence, Lesson, Results
from toykit.lessons.jobs import beside, check_jobs, perform
from toykit.training.checkpoint import write_whole
from toykit.training.speed import watching
from toykit.training.store import data_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def modules() -> dict[str, str]:
    """{number: module name} of all lessons, without importing them."""
    import toykit.lessons

    names = [m.name for m in pkgutil.iter_modules(toykit.lessons.__path__)]
    return {n[1:3]: f"toykit.lessons.{n}" for n in sorted(names) if n[0] == "l" and n[1:3].isdigit()}


def load(lesson: str) -> Lesson:
    """The lesson of a number ("01", "1") or slug; raises ValueError with the nearest one for an unknown lesson."""
    found = modules()
    slugs = {name.split(".")[-1][4:].replace("_", "-"): number for number, name in found.items()}
    wanted = lesson.replace("_", "-")
    number = slugs.get(wanted) or (wanted.zfill(2) if wanted.isdigit() else wanted)
    one_of("lesson", number, found if wanted.isdigit() else [*found, *slugs])
    return importlib.import_module(found[number]).LESSON


def all_lessons() -> list[Lesson]:
    return [load(number) for number in modules()]


def row(lesson: Lesson) -> dict[str, Any]:
    """A lesson as `toykit lessons --json` gives it."""
    return {
        "number": lesson.number,
        "slug": lesson.slug,
        "title": lesson.title,
        "part": lesson.part,
        "notebook": lesson.notebook,
        "rungs": [r for r in RUNGS if r in lesson.experiments],
        "claims": [c.id for c in lesson.claims],
    }


def command(lesson: Lesson, rung: str) -> str:
    device = " --device cuda" if rung == "llm" else ""
    return f"toykit run {lesson.number} --rung {rung}{device}"


def record_path(lesson: Lesson, rung: str) -> Path:
    return data_folder() / "results" / lesson.number / f"{rung}.json"


def run(lesson: Lesson, rung: str, seeds: tuple[int, ...] | None = None, jobs: int = 1, **options: Any) -> Results:
    """Runs a rung's experiment and adds how it was made: seeds, seconds, versions, device, command, and on the llm
    rung what `toykit.training.speed` says of it.

    `jobs` processes share what is kept in the option `folder`, on one device. Raises ValueError for a rung that the
    lesson does not have, for options that its experiment does not take, and for several jobs without a folder or in
    processes that train together.
    """
    experiment = lesson.experiments[one_of("rung", rung, lesson.experiments)]
    for option in options:
        one_of(f"option of lesson {lesson.number} on rung {rung}", option, experiment.options)
    check_jobs(jobs, options.get("folder"))
    seeds = experiment.seeds if seeds is None else seeds
    asked = {**options, "seeds": seeds}
    began = time.perf_counter()
    device = str(options.get("device", "cpu"))
    with watching() as seen, beside(lesson.number, rung, jobs, asked, seen):
        results = perform(experiment, asked)
    made = {
        "command": command(lesson, rung),
        "seeds": list(seeds),
        "seconds": round(time.perf_counter() - began, 3),
        "versions": _versions(),
        "device": device,
    }
    return results | {"made": made | ({"speed": seen.summary(device)} if rung == "llm" else {})}


def record(lesson: Lesson, rung: str, results: Results) -> Path:
    """Keeps results in the project's data folder, whole or not at all."""
    path = record_path(lesson, rung)
    write_whole(path, (json.dumps(results, indent=1, sort_keys=True) + "\n").encode())
    return path


def recorded(lesson: Lesson, rung: str) -> Results | None:
    """The recorded results of a rung, None where there are none."""
    path = record_path(lesson, rung)
    return json.loads(path.read_text()) if path.exists() else None


def picture(lesson: Lesson, rung: str, name: str, **more: Any) -> Figure | None:
    """A figure of a rung's recorded results; where there are none, says how they are made and gives None."""
    results = recorded(lesson, rung)
    if results is None:
        print(f"No result of the {rung} rung is recorded yet. It is made by: {command(lesson, rung)} --record")
        return None
    return lesson.figures[rung][one_of("name", name, lesson.figures[rung])](results, **more)


def judge(lesson: Lesson, rung: str, results: Results | None, from_record: bool) -> list[dict[str, Any]]:
    """The rows of a rung's claims, as `toykit claims --json` gives them; `holds` is None where nothing was run."""
    return [_row(lesson, claim, results, from_record) for claim in lesson.claims_of(rung)]


def claims(lesson: Lesson, rung: str | None = None, live: bool = False) -> list[dict[str, Any]]:
    """All claims' rows: exact rungs are run now, long ones judged from their record unless `live`."""
    rows: list[dict[str, Any]] = []
    for r in [r for r in RUNGS if r in lesson.experiments and rung in (None, r)]:
        from_record = lesson.experiments[r].recorded and not live
        rows += judge(lesson, r, recorded(lesson, r) if from_record else run(lesson, r), from_record)
    return rows


def _row(lesson: Lesson, claim: Claim, results: Results | None, from_record: bool) -> dict[str, Any]:
    began = time.perf_counter()
    evidence = Evidence(None, None, None) if results is None else claim.check(results)
    made = {} if results is None else results["made"]
    found: dict[str, Any] = {
        "lesson": lesson.number,
        "claim": claim.id,
        "kind": claim.kind,
        "rung": claim.rung,
        "statement": claim.statement,
        "holds": evidence.holds,
        "measured": evidence.measured,
        "expected": evidence.expected,
    }
    if claim.kind == "theorem":
        found["tolerance"] = evidence.tolerance
    else:
        found["interval"] = None if evidence.interval is None else list(evidence.interval)
    return found | {
        "seeds": made.get("seeds", []),
        "seconds": round(made.get("seconds", 0.0) + time.perf_counter() - began, 3),
        "recorded": from_record and results is not None,
        "command": command(lesson, claim.rung),
    }


def _versions() -> dict[str, str]:
    import numpy
    import torch

    import toykit

    return {
        "python": platform.python_version(),
        "toykit": toykit.__version__,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
    }
