"""`toykit run`: a lesson's experiments, their claims and figures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toykit._checks import one_of
from toykit.cli.folder import SETTINGS, announce, changed, write_json
from toykit.cli.lessons import plain, show, verdicts
from toykit.cli.settings import as_json, command_line, of_settings

if TYPE_CHECKING:
    from toykit.lessons import Lesson
    from toykit.training import Processes

CHECKPOINTS = "checkpoints"
ASKED = ("device", "size", "steps")


@dataclass(frozen=True)
class RunSettings:
    lesson: Annotated[str, typer.Argument(metavar="LESSON", help="The lesson's number or slug.", show_default=False)]
    rung: Annotated[str, typer.Option(metavar="exact|gpt|llm", help="Which rung's experiments.")] = "exact"
    seed: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N", help="A seed; give it again for several.", show_default="those of the full experiment"
        ),
    ] = None
    out: Annotated[Path | None, typer.Option(help="The folder to write to.", show_default="runs/NN/RUNG")] = None
    device: Annotated[str | None, typer.Option(metavar="cpu|cuda", help="Where to compute.")] = None
    size: Annotated[str | None, typer.Option(metavar="NAME", help="The model's size, where a lesson has several.")] = (
        None
    )
    steps: Annotated[int | None, typer.Option(help="Training steps, for a shorter or longer run.")] = None
    jobs: Annotated[int, typer.Option(help="Processes that share the runs, side by side on one device.")] = 1
    record: Annotated[
        bool, typer.Option("--record", help="Keep the results as the project's recorded ones (data/results).")
    ] = False


@of_settings(RunSettings)
def run(given: RunSettings) -> None:
    """Runs a lesson's experiments and judges its claims.

    Prints the claims as a table and writes results.json, claims.json and the figures (PNG). The same command with the
    same folder goes on with a run that was interrupted, and takes its share of one that is under way. Under torchrun or
    accelerate launch several processes train together.
    """
    from toykit import lessons
    from toykit.policies.hub import check_device
    from toykit.training.processes import joined, local

    lesson = lessons.load(given.lesson)
    one_of("rung", given.rung, lesson.experiments)
    device = check_device(local(given.device or "cpu"))
    with joined(device) as processes:
        _run(lesson, given, device, processes)


def _run(lesson: Lesson, given: RunSettings, device: str, processes: Processes) -> None:
    from toykit import lessons
    from toykit.lessons.jobs import check_jobs
    from toykit.plots.tables import claims_table

    out = given.out or Path("runs") / lesson.number / given.rung
    options = _options(lesson, given, out, device, processes.first)
    check_jobs(given.jobs, options.get("folder"))
    processes.on_first(lambda: _enter(out, given))
    announce(processes, device)
    seeds = None if given.seed is None else tuple(given.seed)
    try:
        results = lessons.run(lesson, given.rung, seeds, given.jobs, **options)
    except KeyboardInterrupt as error:
        if processes.first:
            typer.echo(f"\nstopped; to go on:\n{command_line('run', given)}", err=True)
        raise typer.Exit(130) from error
    if not processes.first:
        return
    rows = lessons.judge(lesson, given.rung, results, from_record=False)
    write_json(out / "results.json", results)
    write_json(out / "claims.json", plain(rows))
    drawn = _draw(lesson, given.rung, results, out)
    show(claims_table(rows, caption=verdicts(rows)))
    typer.echo(f"\nwrote {', '.join(['results.json', 'claims.json', *drawn])} to {out}")
    if given.record:
        typer.echo(f"recorded as {lessons.record(lesson, given.rung, results)}")


def _enter(out: Path, given: RunSettings) -> None:
    """Keeps the settings in `out`; raises ValueError where it holds checkpoints made with other ones."""
    settings = as_json(given, without=("lesson", "out", "jobs", "record"))
    if (out / CHECKPOINTS).exists() and (out / SETTINGS).exists() and (differ := changed(out, settings)):
        raise ValueError(f"out must be a folder for these settings, {str(out)!r} holds a run with other ones: {differ}")
    write_json(out / SETTINGS, {"command": command_line("run", given), "settings": settings})


def _options(lesson: Lesson, given: RunSettings, out: Path, device: str, shows: bool) -> dict[str, Any]:
    """What the experiment is called with: what was asked for, and a folder and a progress bar where it takes them.

    Raises ValueError where it does not take what was asked for.
    """
    takes = lesson.experiments[given.rung].options
    asked = {name: value for name in ASKED if (value := getattr(given, name)) is not None}
    for name in asked:
        if name not in takes:
            raise ValueError(
                f"{name} must not be given for lesson {lesson.number} on rung {given.rung}, which has none"
            )
    if "device" in asked:
        asked["device"] = device
    offered = {"folder": out / CHECKPOINTS, "progress": shows}
    return asked | {name: value for name, value in offered.items() if name in takes}


def _draw(lesson: Lesson, rung: str, results: Mapping[str, Any], out: Path) -> list[str]:
    """Writes the rung's figures and returns the names of their files."""
    from toykit import plots
    from toykit.training.checkpoint import write_whole

    names = []
    with plots.context():
        for name, figure in lesson.figures.get(rung, {}).items():
            names.append(re.sub(r"[^\w.-]+", "_", name) + ".png")
            write_whole(out / names[-1], plots.png(figure(dict(results))))
    return names
