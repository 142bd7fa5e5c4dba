"""The command line: `toykit --help`."""

from toykit.cli.commands import app, main

__all__ = ["app", "main"]
