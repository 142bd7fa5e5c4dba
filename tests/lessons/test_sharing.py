"""Pieces of work that processes on one folder share out: each is done once, and by somebody else where one dies."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from toykit.lessons.sharing import held, remembered, shared

HOLDER = """
import sys, time
from pathlib import Path
from toykit.lessons.sharing import held
with held(Path(sys.argv[1])) as mine:
    print(mine, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds tmp_path / "b.lock" until it is killed."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "b.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "True\n"
        yield process
        process.kill()


def lock(folder: Path, name: str) -> Path:
    return folder / f"{name}.lock"


def test_what_another_process_holds_is_refused_or_waited_for_until_it_dies(tmp_path, holder):
    with held(tmp_path / "b.lock", wait=False) as mine:
        assert not mine
    with held(tmp_path / "a.lock", wait=False) as mine:
        assert mine
    threading.Timer(0.3, holder.kill).start()
    with held(tmp_path / "b.lock") as mine:
        assert mine and holder.poll() is not None


def test_what_nobody_holds_is_done_first_and_each_piece_once(tmp_path, holder):
    order = []

    def make(name: str) -> str:
        order.append(name)
        if len(order) == 2:
            holder.kill()
        return name.upper()

    found = shared({name: partial(make, name) for name in "abc"}, partial(lock, tmp_path))
    assert found == {"a": "A", "b": "B", "c": "C"} and list(found) == list("abc")
    assert order == ["a", "c", "b"]


def test_an_error_gives_the_piece_back(tmp_path):
    with pytest.raises(ZeroDivisionError):
        shared({"a": lambda: 1 / 0}, partial(lock, tmp_path))
    assert shared({"a": lambda: 1}, partial(lock, tmp_path)) == {"a": 1}


def test_processes_that_train_together_lock_nothing(tmp_path, monkeypatch, holder):
    """Each does every piece: they would wait for one another."""
    monkeypatch.setattr("toykit.training.Processes.here", lambda: Two())
    with held(tmp_path / "b.lock", wait=False) as mine:
        assert mine


class Two:
    several = True


def test_what_is_remembered_is_made_once(tmp_path):
    made = []

    def make(value: float) -> dict[str, list[float]]:
        made.append(value)
        return {"values": [value, 2.0]}

    makes = {"one": partial(make, 1.5), "two, three": partial(make, 2.5)}
    found = remembered(makes, tmp_path / "deeper")
    assert found == {"one": {"values": [1.5, 2.0]}, "two, three": {"values": [2.5, 2.0]}}
    assert remembered(makes, tmp_path / "deeper") == found and made == [1.5, 2.5]
    assert sorted(p.name for p in (tmp_path / "deeper").glob("*.json")) == ["one.json", "two, three.json"]
    assert remembered(makes, None) == remembered(makes, None) == found and len(made) == 6


def test_progress_counts_what_is_found_too(tmp_path, capsys):
    for _ in range(2):
        remembered({"a": os.getpid, "b": os.getpid}, tmp_path, progress=True, unit="seed")
        assert "2/2" in capsys.readouterr().err
