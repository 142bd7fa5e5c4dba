"""The command line, called in this process."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from typing import Any

import pytest
from typer.testing import CliRunner

from toykit.cli import app
from toykit.training import Pretrainer


@dataclass(frozen=True)
class Ran:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))

    def refused(self, *parts: str) -> bool:
        """Whether it ended with status 2 and one line on stderr that holds all of `parts`."""
        assert self.status == 2, self
        assert self.out == ""
        (line,) = self.err.splitlines()
        assert line.startswith("toykit: error: ")
        for part in parts:
            assert part in line
        return True


@pytest.fixture
def toykit(tmp_path, monkeypatch):
    """Runs a command in an empty folder, with an empty data folder; `tmp_path` is the folder that is worked in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOYKIT_DATA", str(tmp_path / "data"))

    def run(*words: object) -> Ran:
        found = CliRunner().invoke(app, [str(w) for w in words], prog_name="toykit")
        if found.exception is not None and not isinstance(found.exception, SystemExit):
            raise found.exception
        return Ran(found.exit_code, found.stdout, found.stderr)

    return run


@pytest.fixture
def pressed(monkeypatch):
    """Ctrl-C is pressed once, in the fourth step of pretraining."""
    step, times = Pretrainer.step, iter([1])

    def pressing(self):
        made = step(self)
        if self.done == 4 and next(times, 0):
            signal.raise_signal(signal.SIGINT)
        return made

    monkeypatch.setattr(Pretrainer, "step", pressing)
