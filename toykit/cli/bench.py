"""`toykit bench`: how fast toykit is, beside its peers."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toykit.cli.lessons import AsJson, show, to_json

if TYPE_CHECKING:
    from toykit.bench import Found

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
        _print(found, json_)  # also what was measured before something failed


def _write(out: Path | None, found: list[Found]) -> None:
    """Writes what there is so far, so that an interrupted run loses nothing."""
    if out is not None:
        from toykit.training.checkpoint import write_whole

        write_whole(out, (to_json([one.row() for one in found]) + "\n").encode())


def _print(found: list[Found], json_: bool) -> None:
    if not found:
        return
    if json_:
        typer.echo(to_json([one.row() for one in found]))
        return
    from toykit.plots.tables import table

    show(table([_cells(one) for one in found], digits=3))
    for one in found:
        for said in (f"the ratio is: {one.benchmark.reads}", one.skipped and f"skipped: {one.skipped}", *one.notes):
            if said and said != "the ratio is: peer's time / ours":
                typer.echo(f"{one.benchmark.name}: {said}")


def _cells(found: Found) -> dict[str, Any]:
    row = found.row()
    verdict = VERDICTS[found.reached()]
    shown = {k: row[k] for k in ("name", "ratio", "ratio_min", "ratio_max", "goal")} | {"verdict": verdict}
    shown |= {"ours_s": row["ours_s"], "peer_s": row["peer_s"], "peer": row["peer"] or "none, figure only"}
    return {name: "-" if value is None else value for name, value in shown.items()}
