"""`toykit audit`: the specification sheet of an objective."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toykit.cli.lessons import AsJson, show, to_json


def audit(
    objective: Annotated[
        str,
        typer.Argument(
            metavar="NAME|MODULE:FUNCTION|FILE.py:FUNCTION",
            help="A method of the catalogue, a function, or trl:LOSS_TYPE or verl:POLICY_LOSS.",
        ),
    ],
    json_: AsJson = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="A page to write, with tables and figures.")] = None,
) -> None:
    """Measures what an objective really does, exactly, and says what is likely wrong with it.

    The function takes any of logp, old_logp, ref_logp, rewards, advantages and mask by name and returns a scalar loss;
    see docs/audit.md. A file or a module that is named is run. The exit status is 0 whatever is found: a program
    asks for --json and looks at "diagnosis".
    """
    from toykit.audit import audit as measure

    found = measure(objective)
    if html is not None:
        from toykit.audit.page import page
        from toykit.training.checkpoint import write_whole

        write_whole(html, page(found).encode())
        typer.echo(f"wrote {html}", err=True)
    if json_:
        typer.echo(to_json(found.row()))
        return
    show(found.table())
    if found.diagnosis:
        typer.echo()
        show(found.bugs())
