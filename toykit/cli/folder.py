"""The folder of a run: its settings, its checkpoint, and what protects them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from toykit.training import Processes

SETTINGS, CHECKPOINT, LOG, EVALUATION = "settings.json", "checkpoint.safetensors", "log.jsonl", "evaluation.json"
ABOUT = "about.json"  # how a model's folder was made
TRACES = (CHECKPOINT, SETTINGS, LOG, EVALUATION, "model")


@dataclass(frozen=True)
class RunFolder:
    """Where a run is kept.

    settings  JSON-able; a run goes on only with the settings that it began with, apart from the names in `free`
    command   the command line of the run, without --resume; shown to whoever interrupts it
    """

    path: Path
    settings: dict[str, Any]
    command: str
    free: tuple[str, ...] = ()

    @property
    def checkpoint(self) -> Path:
        return self.path / CHECKPOINT

    def check(self, resume: bool) -> None:
        """Raises ValueError where the folder holds a run that is not to go on, or one with other settings."""
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"out must be a folder, got the file {str(self.path)!r}")
        there = [name for name in TRACES if (self.path / name).exists()]
        if there and not resume:
            raise ValueError(
                f"out must be a folder without a run, {str(self.path)!r} holds {there[0]}; "
                "add --resume to go on with that run, or name another folder"
            )
        if there and not (self.path / SETTINGS).exists():
            raise ValueError(f"out must hold the {SETTINGS} of the run that is to go on, {str(self.path)!r} has none")
        if there and (differ := changed(self.path, self.settings, self.free)):
            raise ValueError(f"settings must be those of the run in {str(self.path)!r}, got other ones: {differ}")

    def keep(self) -> None:
        """Writes the settings."""
        write_json(self.path / SETTINGS, {"command": self.command, "settings": self.settings})

    @contextmanager
    def resumable(self, says: bool = True) -> Iterator[None]:
        """Within, Ctrl-C ends with a line that says how to go on (where this process `says` anything), status 130."""
        try:
            yield
        except KeyboardInterrupt as error:
            from toykit.training import checkpoint

            where = "before the first checkpoint"
            if self.checkpoint.exists():
                where = f"with a checkpoint of step {checkpoint.load(self.checkpoint)[1]['step']}"
            if says:
                typer.echo(f"\nstopped {where}; to go on:\n{self.command} --resume", err=True)
            raise typer.Exit(130) from error

    def change(self, name: str) -> str:
        """How a figure of the log went: "0.12 -> 0.55 (means of the first and last 10 steps)"."""
        lines = (self.path / LOG).read_text().splitlines()
        values = [figures[name] for figures in map(json.loads, lines) if name in figures]
        if not values:
            return "not logged"
        n = max(1, len(values) // 10)
        first, last = (f"{sum(part) / n:.3f}" for part in (values[:n], values[-n:]))
        return f"{first} -> {last} ({f'means of the first and last {n} steps' if n > 1 else 'first and last step'})"

    def clear(self) -> None:
        """Removes a finished run whose result is kept elsewhere, and its folder where nothing else is in it."""
        for name in (CHECKPOINT, SETTINGS, LOG):
            (self.path / name).unlink(missing_ok=True)
        if not any(self.path.iterdir()):
            self.path.rmdir()


def changed(folder: Path, settings: dict[str, Any], free: tuple[str, ...] = ()) -> str:
    """The settings that differ from those kept in a folder, as text: "lr 0.1 (was 0.2)"; empty where none do."""
    path = folder / SETTINGS
    try:
        before = json.loads(path.read_text(encoding="utf-8"))["settings"]
        names = sorted({*before, *settings} - {*free})
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{str(path)!r} must be the settings of a run, got something else") from error
    now, then = ({name: kept.get(name) for name in names} for kept in (settings, before))
    return ", ".join(f"{name} {now[name]!r} (was {then[name]!r})" for name in names if now[name] != then[name])


def write_model(folder: Path, policy: Any, vocab: Any, tokenizer: Any, about: dict[str, Any] | None = None) -> None:
    """Writes a policy as a transformers model, in the place of one that is there; see `toykit.policies.export`.

    `tokenizer` (None for none) and a file about.json with `about` are written beside it.
    """
    from transformers.utils import logging

    from toykit.policies import export

    logging.disable_progress_bar()
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    export(policy, part, vocab)
    if tokenizer is not None:
        tokenizer.save_pretrained(part)
    if about is not None:
        write_json(part / ABOUT, about)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def announce(processes: Processes, device: str) -> None:
    """Says how many processes really take part, where a launcher was used."""
    from toykit.training.processes import by_launcher

    if processes.first and by_launcher():
        typer.echo(processes.described(device))


def write_json(path: Path, value: Any) -> None:
    """Writes a file of JSON, whole or not at all."""
    from toykit.training.checkpoint import write_whole

    write_whole(path, (json.dumps(value, indent=1) + "\n").encode())
