"""`toykit atlas`: every method of the catalogue side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from toykit.cli.lessons import AsJson, show


def atlas(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[METHOD]...", help="Methods of the catalogue, all by default.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder to write to, and to go on in.")] = Path("runs/atlas"),
    seeds: Annotated[int, typer.Option(metavar="N", help="Runs of each method on each problem and rung.")] = 10,
    steps: Annotated[int, typer.Option(metavar="N", help="Updates of a run.")] = 60,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", help="Methods that are worked on at once.", show_default="one for each core"),
    ] = None,
    recorded: Annotated[
        bool, typer.Option("--recorded", help="Draw what the project has recorded; nothing is run.")
    ] = False,
    record: Annotated[
        bool, typer.Option("--record", help="Keep the results as the project's recorded ones (data/results/atlas).")
    ] = False,
    json_: AsJson = False,
) -> None:
    """Audits and trains every method of the catalogue, and draws them side by side.

    Each is trained on the same three problems with the same number of updates, as a table and as a small GPT. Writes
    atlas.json, and drawn from it alone a page, atlas.html, and a notebook, atlas.ipynb. The same command with the same
    folder goes on with one that was interrupted.
    """
    from toykit import atlas as package
    from toykit.training.checkpoint import write_whole

    if recorded and (names or record):
        raise ValueError("recorded must be given alone: it draws what is there, of all methods")
    if record and names:
        raise ValueError("record must be given for all methods, got some")
    settings = package.Settings(seeds, steps)
    results = package.recorded() if recorded else _made(names or [], settings, out, workers)
    write_whole(out / "atlas.json", package.text(results).encode())
    write_whole(out / "atlas.html", package.page(results).encode())
    write_whole(out / "atlas.ipynb", package.notebook('loaded("atlas.json")').encode())
    typer.echo(f"wrote atlas.json, atlas.html and atlas.ipynb to {out}", err=True)
    if record:
        typer.echo(f"recorded as {package.record(results)}", err=True)
    if json_:
        typer.echo(package.text(results), nl=False)
        return
    for rung in results["settings"]["rungs"]:
        show(package.figures_table(results, rung))
        typer.echo()
    show(package.finding_table(results))
    for said in package.absences(results):
        typer.echo(said)


def _made(names: list[str], settings: Any, out: Path, workers: int | None) -> dict[str, Any]:
    from toykit import atlas as package

    def told(name: str, done: int, of: int) -> None:
        typer.echo(f"{name} ({done} of {of})", err=True)

    try:
        return package.make(names, settings, out, workers, told)
    except KeyboardInterrupt as error:
        typer.echo(f"\nstopped; the same command with --out {out} goes on", err=True)
        raise typer.Exit(130) from error
