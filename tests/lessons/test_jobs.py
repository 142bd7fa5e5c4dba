"""Processes that share an experiment: nothing is done twice, and what one of them leaves the others do."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from toykit.lessons import load, run
from toykit.lessons.base import Experiment, Results
from toykit.lessons.jobs import beside, perform
from toykit.training.speed import Seen, watching

SHORT = {"size": "tiny", "seeds": (0, 1)}
KILLED = """
import multiprocessing, sys, time
from pathlib import Path
from toykit.lessons.jobs import beside
from toykit.training.speed import Seen

if __name__ == "__main__":
    with beside("54", "gpt", 2, {"folder": Path(sys.argv[1])}, Seen()):
        print(multiprocessing.active_children()[0].pid, flush=True)
        time.sleep(600)
"""


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_what_three_do_is_what_one_does_and_nothing_is_done_twice(tmp_path):
    lesson, found, drawn = load("47"), [], []
    for jobs in (1, 3):
        with watching() as seen, beside("47", "llm", jobs, SHORT | {"folder": tmp_path / str(jobs)}, seen):
            found.append(lesson.experiments["llm"].run(folder=tmp_path / str(jobs), **SHORT))
        drawn.append(seen.drawn)
        assert seen.processes == jobs and torch.get_num_threads() == 1 and not multiprocessing.active_children()
    assert found[0] == found[1] and drawn[0] == drawn[1] > 0


def test_results_say_how_many_worked_side_by_side(tmp_path):
    made = run(load("47"), "llm", jobs=2, folder=tmp_path, **SHORT)["made"]
    assert made["speed"]["processes"] == 2 and made["seeds"] == [0, 1]


def test_products_are_made_in_tf32_on_cuda_and_there_only():
    seen = []

    def run(device: str) -> Results:
        seen.append((device, torch.get_float32_matmul_precision()))
        return {}

    for device in ("cuda", "cuda:1", "cpu"):
        perform(Experiment(run), {"device": device})
    assert seen == [("cuda", "high"), ("cuda:1", "high"), ("cpu", "highest")]
    assert torch.get_float32_matmul_precision() == "highest"


def test_one_that_ends_early_is_warned_of():
    with pytest.warns(RuntimeWarning, match="ended early.*ValueError: lesson must be one of"), pytest.raises(KeyError):
        with beside("99", "llm", 2, {}, Seen()):
            pass
        raise KeyError("what comes after")


def test_an_error_stops_all(tmp_path):
    with pytest.raises(ZeroDivisionError), beside("54", "gpt", 2, {"folder": tmp_path}, Seen()):
        while multiprocessing.active_children() and not list(tmp_path.rglob("measured.json")):
            time.sleep(0.1)
        raise ZeroDivisionError
    assert not multiprocessing.active_children()
    assert len(list(tmp_path.rglob("measured.json"))) < 50  # of as many runs


def test_none_outlives_the_first(tmp_path):
    (tmp_path / "killed.py").write_text(KILLED)
    command = [sys.executable, str(tmp_path / "killed.py"), str(tmp_path / "kept")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        other = int(first.stdout.readline())
        first.kill()
    until = time.monotonic() + 120
    while running(other) and time.monotonic() < until:
        time.sleep(0.1)
    assert not running(other)


def running(pid: int) -> bool:
    """Whether a process is there; one that has ended and was not waited for is not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
