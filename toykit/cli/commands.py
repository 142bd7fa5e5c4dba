"""The commands put together, and what becomes of their errors."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from toykit import __version__
from toykit._malloc import keep_freed
from toykit.cli.atlas import atlas
from toykit.cli.audit import audit
from toykit.cli.bench import bench
from toykit.cli.catalogue import catalogue
from toykit.cli.doctor import doctor
from toykit.cli.horizons import horizons
from toykit.cli.lab import lab
from toykit.cli.lessons import claims, lessons
from toykit.cli.pretrain import pretrain
from toykit.cli.run import run
from toykit.cli.train import train


class Group(TyperGroup):
    """Turns what a user can mend (bad values, files that are not there or not allowed) into one line and status 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (ValueError, OSError, MemoryError) as error:
            typer.echo(f"toykit: error: {one_line(error)}", err=True)
            raise typer.Exit(2) from error


class Command(TyperCommand):
    """Shows its options under the headings that they name."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            default = "Arguments" if param.param_type_name == "argument" else "Options"
            heading = getattr(param, "rich_help_panel", None) or default
            if (record := param.get_help_record(ctx)) is not None:
                sections.setdefault(heading, []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def one_line(error: Exception) -> str:
    """An error's message on one line; of an error of the operating system what is wrong and with which file."""
    if isinstance(error, OSError) and error.strerror:
        return ": ".join(str(part) for part in (error.strerror, error.filename) if part)
    return " ".join(str(error).split())


app = typer.Typer(
    cls=Group,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"max_content_width": 100},
)
app.command(cls=Command, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(lab)
for command in (lessons, run, claims, catalogue, horizons, pretrain, train, audit, atlas, bench, doctor):
    app.command(cls=Command)(command)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"toykit {__version__}")
        raise typer.Exit


@app.callback()
def toykit(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Reinforcement learning of language models, on problems small enough to be solved exactly.

    Begin with `toykit lab`, which opens the first notebook. Each command has its own --help. The exit status is 0
    where a command did its work, 2 where an option or a file is wrong, and 130 after Ctrl-C.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command line (by default the process's own) and exits with its status."""
    keep_freed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without our signs shows others in their place
    app(args=arguments, prog_name="toykit")
