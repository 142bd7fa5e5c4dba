"""`toykit lab`: JupyterLab on the first notebook."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

FIRST = Path("notebooks") / "00_start_here.ipynb"


def lab(
    context: typer.Context,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address and serve.")] = False,
    port: Annotated[int | None, typer.Option(help="The port to serve on; the next free one where it is taken.")] = None,
) -> None:
    """Opens JupyterLab on the first notebook.

    Where there is no browser or no screen, the address is printed and the notebooks are served. Further options are
    passed on to JupyterLab.
    """
    folder = project()
    serve = no_browser or not has_browser()
    if serve:
        typer.echo("Serving the notebooks: open one of the addresses below in a browser. Ctrl-C ends it.", err=True)
    start(lab_command(folder, serve, port, is_root(), context.args))


def project() -> Path:
    """The folder of the project; raises ValueError without JupyterLab, and FileNotFoundError without the notebooks."""
    if importlib.util.find_spec("jupyterlab") is None:
        raise ValueError("JupyterLab must be installed: pip install 'toykit[lab]'")
    folder = Path(__file__).parents[2]
    if not (folder / FIRST).exists():
        raise FileNotFoundError(
            f"{FIRST} is not in {folder}: toykit was installed without its notebooks; "
            "clone the project and run `make lab` there"
        )
    return folder


def lab_command(folder: Path, serve: bool, port: int | None, root: bool, more: Sequence[str]) -> list[str]:
    """The command line of JupyterLab; the address that it prints and opens is the first notebook's."""
    where = [f"--ServerApp.root_dir={folder}", f"--LabApp.default_url=/lab/tree/{FIRST.as_posix()}"]
    options = ["--no-browser"] * serve + ["--allow-root"] * root + ([] if port is None else [f"--port={port}"])
    return [sys.executable, "-m", "jupyterlab", *where, *options, *more]


def has_browser() -> bool:
    """Whether a browser can be opened here: one is named in BROWSER, or there is a screen and one is found."""
    if sys.platform.startswith("linux") and not any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    ):
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def start(command: list[str]) -> None:
    """Becomes the command; on Windows, where a process cannot, waits for it and exits with its status."""
    if os.name == "nt":
        raise typer.Exit(subprocess.call(command))
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(command[0], command)
