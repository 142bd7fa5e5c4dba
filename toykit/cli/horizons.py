"""`toykit horizons`: how far ahead one must look in every environment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from toykit.cli.lessons import AsJson, show, to_json

if TYPE_CHECKING:
    from toykit.control.listed import Entry
    from toykit.plots.tables import Table

COLUMNS = ("environment", "states", "actions", "T", "J*", "J_1 / J*", "min_k", "within 1 %", "gap", "H-bar")


def horizons(
    json_: AsJson = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a table in Markdown.")] = False,
) -> None:
    """Computes the effective horizon of every environment, exactly; that takes about ten seconds.

    min_k is the first k for which every policy that is greedy in Q^k is optimal, where Q^1 is the value of random
    actions and each sweep of value iteration adds one to k. Rooms of MiniGrid are left out where it is not installed.
    """
    from toykit.control.listed import available, entry

    if json_ and markdown:
        raise ValueError("json and markdown must not both be given")
    found = [entry(name) for name in available()]
    if json_:
        typer.echo(to_json([asdict(one) for one in found]))
    elif markdown:
        typer.echo(horizons_table(found).markdown())
    else:
        show(horizons_table(found))


def horizons_table(entries: Iterable[Entry]) -> Table:
    """The entries as a table, with numbers as far as rounding does not reach."""
    from toykit.plots.tables import Table

    rows = (asdict(one) | {"gap": float(f"{one.gap:.3g}")} for one in entries)
    return Table(COLUMNS, tuple(tuple(row.values()) for row in rows), digits=5)
