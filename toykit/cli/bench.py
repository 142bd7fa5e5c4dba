"""`toykit bench`: how fast toykit is, beside its peers."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toykit.cli.lessons import AsJson, show, to_json

if TYPE_CHECKING:
    from toykit.bench import Benchmark, Found

VERDICTS = {True: "reached", False: "missed", None: "-"}


def bench(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Benchmarks.", show_default="all of them")
    ] = None,
    json_: AsJson = False,
    out: Annotated[Path | None, typer.Option(help="A file to write the JSON to.")] = None,
    runs: Annotated[int, typer.Option(metavar="N", help="Counted runs of each, at least 5.")] = 5,
    size: Annotated[str, typer.Option(metavar="full|tiny", help="A tiny size only shows that all works.")] = "full",
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="Threads to compute with.", show_default="those of torch")
    ] = None,
    recorded: Annotated[
        bool, typer.Option("--recorded", help="Run nothing, show the figures that are kept (data/results/bench).")
    ] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table in Markdown.")] = False,
    record: Annotated[
        bool, typer.Option("--record", help="Keep the figures as the project's recorded ones (data/results/bench).")
    ] = False,
) -> None:
    """Times toykit against its peers.

    A ratio is the peer's time over ours unless the table says otherwise: the median over the runs, with the least and
    the greatest. A peer that is not installed is reported as skipped; pip install 'toykit[bench]' brings them.
    """
    import torch

    from toykit import bench as package
    from toykit._checks import at_least, one_of

    chosen = package.chosen(names or [])
    if json_ and markdown:
        raise ValueError("json and markdown must not both be given")
    if recorded:
        _print(_kept(chosen), json_, markdown)
        return
    at_least("runs", runs, package.LEAST_RUNS)
    one_of("size", size, package.SIZES)
    if record and size != package.FULL:
        raise ValueError(f"size must be {package.FULL!r} for results that are recorded, got {size!r}")
    before = torch.get_num_threads()
    torch.set_num_threads(int(at_least("threads", before if threads is None else threads, 1)))
    found: list[Found] = []
    try:
        for one in chosen:
            typer.echo(f"{one.name} ...", err=True)
            with redirect_stdout(sys.stderr):  # peers print
                found.append(package.run(one, size, runs))
            _write(out, found)
            if record and (path := package.record(found[-1])) is not None:
                typer.echo(f"recorded as {path}", err=True)
    finally:
        torch.set_num_threads(before)
        rows = [_with_notes(one.benchmark, one.row(), one.notes) for one in found]
        _print(rows, json_, markdown)  # also what was measured before something failed


def _write(out: Path | None, found: list[Found]) -> None:
    """Writes what there is so far, so that an interrupted run loses nothing."""
    if out is not None:
        from toykit.training.checkpoint import write_whole

        write_whole(out, (to_json([one.row() for one in found]) + "\n").encode())


def _kept(chosen: list[Benchmark]) -> list[tuple[dict[str, Any], list[str]]]:
    """What is recorded of these benchmarks; raises ValueError where nothing is."""
    from toykit.bench import KEYS, recorded

    rows = [(one, row) for one in chosen if (row := recorded(one)) is not None]
    if not rows:
        raise ValueError(f"recorded figures must exist, got none of {', '.join(one.name for one in chosen)}")
    return [_with_notes(one, {key: row[key] for key in KEYS}, row["made"]["notes"]) for one, row in rows]


def _print(rows: list[tuple[dict[str, Any], list[str]]], json_: bool, markdown: bool) -> None:
    """Rows with what is to be said of each."""
    if not rows:
        return
    if json_:
        typer.echo(to_json([row for row, _ in rows]))
        return
    from toykit.plots.tables import table

    made = table([_cells(row) for row, _ in rows], digits=3)
    if markdown:
        typer.echo(made.markdown())
        return
    show(made)
    for row, notes in rows:
        for said in notes:
            typer.echo(f"{row['name']}: {said}")


def _with_notes(benchmark: Benchmark, row: dict[str, Any], notes: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """A row, and how its ratio reads, why its peer was left out, and its notes."""
    reads = [] if benchmark.reads == type(benchmark).reads else [f"the ratio is: {benchmark.reads}"]
    skipped = [f"skipped: {row['skipped']}"] if row["skipped"] else []
    return row, [*reads, *skipped, *notes]


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    from toykit.bench import reached

    shown = {k: row[k] for k in ("name", "ratio", "ratio_min", "ratio_max", "goal")} | {
        "verdict": VERDICTS[reached(row)]
    }
    shown |= {"ours_s": row["ours_s"], "peer_s": row["peer_s"], "peer": row["peer"] or "none, figure only"}
    return {name: "-" if value is None else value for name, value in shown.items()}
