"""`toykit lessons` and `toykit claims`: what there is, and whether it holds."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toykit._checks import one_of

if TYPE_CHECKING:
    from toykit.plots.tables import Table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for other programs.")]


def lessons(json_: AsJson = False) -> None:
    """Lists the lessons."""
    from toykit.lessons import all_lessons, row
    from toykit.plots.tables import table

    rows = [row(lesson) for lesson in all_lessons()]
    if json_:
        typer.echo(to_json(rows))
        return
    shown = ("number", "title", "part", "rungs", "claims", "notebook")
    short = ({**r, "rungs": " ".join(r["rungs"]), "claims": len(r["claims"])} for r in rows)
    show(table({k: r[k] for k in shown} for r in short))


def claims(
    lesson: Annotated[str | None, typer.Option(help="Only those of this lesson: its number or slug.")] = None,
    rung: Annotated[str | None, typer.Option(metavar="exact|gpt|llm", help="Only those of this rung.")] = None,
    json_: AsJson = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a table in Markdown.")] = False,
    live: Annotated[bool, typer.Option("--live", help="Run the long experiments too, which can take hours.")] = False,
) -> None:
    """Checks what the lessons claim.

    Exact results are computed now; long ones are judged from their recorded results unless --live is given. The exit
    status is 0 whatever is found: that a claim does not hold is a result too. A program asks for --json and looks at
    "holds", which is true, false, or null where nothing was run or too little to decide.
    """
    from toykit.lessons import all_lessons, load
    from toykit.lessons import claims as rows_of
    from toykit.lessons.base import RUNGS
    from toykit.plots.tables import claims_table

    if json_ and markdown:
        raise ValueError("json and markdown must not both be given")
    if rung is not None:
        one_of("rung", rung, RUNGS)
    chosen = all_lessons() if lesson is None else [load(lesson)]
    rows = [row for one in chosen for row in rows_of(one, rung, live)]
    if json_:
        typer.echo(to_json(rows))
    elif markdown:
        typer.echo(ledger(rows))
    else:
        show(claims_table(rows, caption=verdicts(rows)))


def show(table: Table) -> None:
    """Prints a table, wrapped to the width of the terminal; whole lines where the output goes elsewhere."""
    typer.echo(table.text(shutil.get_terminal_size().columns if sys.stdout.isatty() else None))


def verdicts(rows: Iterable[Mapping[str, Any]]) -> str:
    """How many claims hold: "8 claims: 7 hold, 1 does not, 0 not decided"."""
    found = [row["holds"] for row in rows]
    no = found.count(False)
    return (
        f"{len(found)} claim{'s' * (len(found) != 1)}: {found.count(True)} hold{'s' * (found.count(True) == 1)}, "
        f"{no} {'does' if no == 1 else 'do'} not, {found.count(None)} not decided"
    )


def ledger(rows: Iterable[Mapping[str, Any]]) -> str:
    """The claims as a table in Markdown that changes only with what is claimed and found."""
    from toykit.plots.tables import Table, claims_table

    listed = list(rows)
    found = claims_table({**row, "lesson": None} for row in listed)
    numbered = tuple((row["lesson"], *cells) for row, cells in zip(listed, found.rows, strict=True))
    return Table(("lesson", *found.columns), numbered).markdown()


def to_json(value: Any) -> str:
    return json.dumps(plain(value), indent=1, allow_nan=False)


def plain(value: Any) -> Any:
    """The same value for JSON: arrays as lists, and null for a number that is not finite."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
