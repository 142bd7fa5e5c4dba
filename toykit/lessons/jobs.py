"""An experiment in several processes on one device: all make the same call on one folder and share its pieces.

A device waits, where models are small, for the processor that says what is next: several processes say more. See
`toykit.lessons.sharing` for the pieces.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from toykit._checks import at_least
from toykit._malloc import keep_freed
from toykit.lessons.base import Experiment, Results
from toykit.training.processes import launched
from toykit.training.speed import Seen, peak, watching

SPAWN = multiprocessing.get_context("spawn")  # a process that is forked cannot use CUDA


def check_jobs(jobs: int, folder: Path | None) -> None:
    """Raises ValueError for a number below 1, and for several where nothing can be shared."""
    if at_least("jobs", jobs, 1) > 1 and folder is None:
        raise ValueError(f"jobs must be 1 where nothing is kept in a folder that they could share, got {jobs}")
    if jobs > 1 and (world := launched()) > 1:
        raise ValueError(f"jobs must be 1 where {world} processes train together, got {jobs}")


def perform(experiment: Experiment, options: Mapping[str, Any]) -> Results:
    """What an experiment gives. On CUDA its float32 products, among them all that draw completions, are made in TF32,
    with ten bits of mantissa; updates under autocast have seven."""
    before = torch.get_float32_matmul_precision()
    if str(options.get("device", "cpu")).startswith("cuda"):
        torch.set_float32_matmul_precision("high")
    try:
        return experiment.run(**options)
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def beside(number: str, rung: str, jobs: int, options: Mapping[str, Any], seen: Seen) -> Iterator[None]:
    """Within, jobs - 1 further processes run a lesson's experiment with the same options and share torch's threads.

    At the end what they saw is added to `seen`. One that ended early is warned of: the others have done its pieces.
    After an error here, Ctrl-C among them, all are stopped as Ctrl-C stops a run.
    """
    before = torch.get_num_threads()
    threads = max(1, before // jobs)
    others = [_started(number, rung, {**options, "progress": False}, threads) for _ in range(jobs - 1)]
    torch.set_num_threads(threads)
    try:
        yield
        for process, answers in others:
            answer = _answer(process, answers)
            if isinstance(answer, Seen):
                seen.add(answer)
            else:
                said = f"a process ended early, the others did its share: {answer}"
                warnings.warn(said, RuntimeWarning, stacklevel=3)
    finally:
        torch.set_num_threads(before)
        for process, _ in others:
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, signal.SIGINT)
        for process, _ in others:
            process.join()


def _started(number: str, rung: str, options: dict[str, Any], threads: int) -> tuple[BaseProcess, Connection]:
    ours, theirs = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=_run, args=(number, rung, options, threads, theirs))
    process.start()
    theirs.close()
    return process, ours


def _answer(process: BaseProcess, answers: Connection) -> Seen | str:
    """What a process saw, or why there is nothing."""
    try:
        found: Seen | str = answers.recv()
    except EOFError:
        found = ""
    process.join()
    return found or f"exit status {process.exitcode}"


def _run(number: str, rung: str, options: dict[str, Any], threads: int, answers: Connection) -> None:
    """One of the further processes. Ctrl-C in a terminal is the first one's, which hands it on."""
    if hasattr(os, "setpgid"):  # not on Windows, where it is everybody's
        os.setpgid(0, 0)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_freed()
    torch.set_num_threads(threads)
    try:
        from toykit.lessons.registry import load

        with watching() as seen:
            perform(load(number).experiments[rung], options)
        seen.held = peak(str(options.get("device", "cpu")))
        answers.send(seen)
    except KeyboardInterrupt:
        pass
    except Exception as error:
        answers.send(f"{type(error).__name__}: {error}")


def _end_with_parent() -> None:
    """Interrupts this process when the one that started it is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGINT)
