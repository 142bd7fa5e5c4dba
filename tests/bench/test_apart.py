"""Work in a process of its own, a turn at a time."""

from __future__ import annotations

import os
import time

import pytest
import torch

from toykit.bench.apart import Apart, against_apart

HERE = "tests.bench.test_apart"


def sleeper(seconds):
    """Makers for the other process, by their names in this file."""

    def loop(turn):
        print("what it prints is not an answer")
        while turn():
            time.sleep(seconds)

    return loop


def threads():
    """Each turn sleeps as many hundredths of a second as the process may have compute threads."""
    return sleeper(int(os.environ["OMP_NUM_THREADS"]) / 100)


def once():
    return lambda turn: turn()


def unimportable():
    raise ImportError("no such library")


def failing():
    def loop(turn):
        turn()
        raise ValueError("the loop's own trouble")

    return loop


def deadly():
    os._exit(3)


@pytest.fixture
def begun():
    """A function that starts work of this file; all of it is ended."""
    every = []

    def start(name, *given):
        every.append(Apart(f"{HERE}:{name}", *given))
        return every[-1]

    yield start
    for work in every:
        work.close()


def test_a_call_is_a_turn_and_its_seconds_are_those_of_the_work(begun):
    work = begun("sleeper", 0.05)
    assert work.ready_s >= 0
    for _ in range(2):
        began = time.perf_counter()
        assert 0.05 <= work() <= time.perf_counter() - began
    assert work.peak is None or work.peak > 2**20
    time.sleep(0.2)
    assert work() < 0.2  # it stood still in between
    work.close()
    assert work._process.returncode == 0


def test_the_process_may_have_as_many_threads_as_this_one(begun):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert begun("threads")() >= 0.03
    finally:
        torch.set_num_threads(before)


def test_a_loop_that_ends_too_soon_is_an_error_and_not_a_fast_peer(begun):
    with pytest.raises(RuntimeError, match=f"the loop of {HERE}:once ended before the benchmark did"):
        begun("once")()


def test_what_the_loop_raises_comes_out_of_the_call(begun):
    work = begun("failing")
    with pytest.raises(RuntimeError, match="ValueError: the loop's own trouble"):
        work()
    with pytest.raises(RuntimeError, match=f"the process of {HERE}:failing ended with status 0"):
        work()


def test_what_cannot_be_imported_there_is_an_import_error_here(begun):
    with pytest.raises(ImportError, match="no such library"):
        begun("unimportable")
    with pytest.raises(ImportError, match="no_such_module"):
        Apart("no_such_module:work")


def test_a_process_that_dies_is_an_error(begun):
    with pytest.raises(RuntimeError, match=f"the process of {HERE}:deadly ended with status 3"):
        begun("deadly")


def test_a_peer_that_is_not_wanted_is_not_begun():
    case = against_apart(print, None)
    assert (case.ours, case.peer) == (print, None)
