"""`toykit catalogue`: every method with its loss, its source and what it needs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from toykit.cli.lessons import AsJson, show, to_json

if TYPE_CHECKING:
    from toykit.objectives.entries import Entry


def catalogue(
    name: Annotated[str | None, typer.Argument(help="A method; all of them without it.")] = None,
    json_: AsJson = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print tables in Markdown.")] = False,
) -> None:
    """Lists the methods: what each one minimises, where it is from, and what it needs.

    They are grouped by how they optimise; each line says where the reward comes from and whether it judges outcomes or
    steps. On-policy methods are those of `toykit train --objective`; the others learn from given data, in Python by
    toykit.training.OfflineTrainer.
    """
    from toykit.objectives.entries import entry, names
    from toykit.plots.tables import Table

    if json_ and markdown:
        raise ValueError("json and markdown must not both be given")
    chosen = [entry(one) for one in (names() if name is None else [name])]
    if json_:
        typer.echo(to_json([asdict(one) for one in chosen] if name is None else asdict(chosen[0])))
    elif markdown:
        typer.echo(page(chosen))
    elif name is not None:
        show(Table(("", name), tuple(_lines(chosen[0]))))
    else:
        for optimiser, group in grouped(chosen).items():
            rows = tuple((e.name, e.reward, e.density, e.loss, ", ".join(e.needs)) for e in group)
            show(Table(("name", "reward", "density", "loss", "needs"), rows, caption=optimiser))
            typer.echo()


def page(entries: list[Entry]) -> str:
    """The tables of the catalogue in Markdown, one for each way to optimise, with the notation before them."""
    from toykit.objectives.entries import NOTATION
    from toykit.plots.tables import Table

    parts = [f"## Notation\n\n{NOTATION}"]
    for optimiser, group in grouped(entries).items():
        rows = tuple((e.name, e.reward, e.density, e.loss, ", ".join(e.needs), e.source) for e in group)
        columns = ("name", "reward", "density", "loss", "needs", "source")
        parts.append(f"## {optimiser[0].upper()}{optimiser[1:]}\n\n{Table(columns, rows).markdown()}")
    return "\n\n".join(parts)


def grouped(entries: list[Entry]) -> dict[str, list[Entry]]:
    """The entries by optimiser, in their order."""
    found: dict[str, list[Entry]] = {}
    for one in entries:
        found.setdefault(one.optimiser, []).append(one)
    return found


def _lines(one: Entry) -> list[tuple[str, str]]:
    plain = [(key, getattr(one, key)) for key in ("kind", "reward", "density", "optimiser", "loss", "source")]
    return [*plain, ("needs", ", ".join(one.needs) or "nothing more"), *one.pieces.items()]
