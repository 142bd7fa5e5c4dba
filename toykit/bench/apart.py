"""Work in a process of its own, a piece at a time: what one of two does to the machine must not slow the other."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch

from toykit.bench.base import Case
from toykit.training.machine import peak_memory

Turn = Callable[[], bool]
Loop = Callable[[Turn], Any]


class Apart:
    """A loop that runs in a process of its own and stands still between its turns.

    maker   "module:function"; with `given` (numbers, words) it makes, in the other process, a function that is called
            with `turn`, and must call that before its first piece of work and after each one, and end when it says
            False

    A call lets it do one piece of work and returns the seconds which that took there; `peak` is then the memory in
    bytes that the process has held at most (None where the system does not tell), and `ready_s` the seconds which it
    took to get ready. The process has as many compute threads as this one. What it prints goes to stderr. Raises
    ImportError where something could not be imported there, and RuntimeError for any other error.
    """

    def __init__(self, maker: str, *given: Any) -> None:
        code = "import sys; from toykit.bench.apart import serve; serve(*sys.argv[1:])"
        words = [sys.executable, "-W", "ignore", "-c", code, maker, json.dumps(given)]
        threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
        self._maker = maker
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=os.environ | threads
        )
        try:
            self.ready_s, self.peak = self._answer()
        except BaseException:
            self.close()
            raise

    def __call__(self) -> float:
        with suppress(BrokenPipeError):  # then there is no answer either
            self._process.stdin.write("\n")  # type: ignore[union-attr]
        took, self.peak = self._answer()
        return took

    def close(self) -> None:
        """Ends the loop after its latest turn."""
        self._process.communicate()

    def _answer(self) -> tuple[float, int | None]:
        if not (said := self._process.stdout.readline()):  # type: ignore[union-attr]
            raise RuntimeError(f"the process of {self._maker} ended with status {self._process.wait()}")
        found = json.loads(said)
        if "error" in found:
            raise (ImportError if found["import"] else RuntimeError)(found["error"])
        return found["seconds"], found["peak"]


def against_apart(ours: Callable[[], Any], maker: str | None, *given: Any) -> Case:
    """Ours here, and in a process of its own the peer that `maker` makes (none for None)."""
    if maker is None:
        return Case("", ours)
    peer = Apart(maker, *given)
    return Case("", ours, peer, close=peer.close)


def serve(maker: str, given: str) -> None:
    """The other process's side: a line of JSON on stdout when the loop is ready, and after each turn.

    A turn begins with a line on stdin, and the end of stdin ends the loop.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    began, more = 0.0, True

    def turn() -> bool:
        nonlocal began, more
        print(json.dumps({"seconds": time.perf_counter() - began, "peak": peak_memory()}), file=answers)
        more = bool(sys.stdin.readline())
        began = time.perf_counter()
        return more

    module, function = maker.split(":")
    try:
        make = getattr(importlib.import_module(module), function)
        began = time.perf_counter()
        make(*json.loads(given))(turn)
        if more:
            raise RuntimeError(f"the loop of {maker} ended before the benchmark did")
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        print(json.dumps({"error": told, "import": isinstance(error, ImportError)}), file=answers)
