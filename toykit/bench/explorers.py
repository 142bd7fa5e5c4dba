"""The benchmark of the explorers: how long a reader waits after moving a slider."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

from toykit.bench.base import TINY, Benchmark, Case
from toykit.lessons.registry import modules
from toykit.plots import context, png
from toykit.plots.explorer import Explorer

ENDING = "_explorer"
MOVES = 6  # of each control


def makers() -> dict[str, Callable[..., Explorer]]:
    """{"01 posterior_explorer": function} of every lesson, and of the notebook to start from."""
    found = {f"00 {name}": fn for name, fn in _functions("toykit.lessons.start")}
    for number, package in modules().items():
        for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
            found |= {f"{number} {name}": fn for name, fn in _functions(f"{package}.{info.name}")}
    return found


def _functions(module: str) -> Iterator[tuple[str, Callable[..., Explorer]]]:
    """The functions that a module itself defines and whose name says that they make an explorer."""
    made = importlib.import_module(module)
    for name, fn in inspect.getmembers(made, inspect.isfunction):
        if name.endswith(ENDING) and fn.__module__ == module:
            yield name, fn


def moves(explorer: Explorer) -> list[dict[str, Any]]:
    """States that each differ from the defaults in one control, which goes over its values, at most 6 of them."""
    found = []
    for name, control in explorer.controls.items():
        others = [value for value in control.values if value != control.start]
        found += [{name: value} for value in others[:: -(-len(others) // MOVES)]]
    return found


def redraws(explorer: Explorer) -> Callable[[], bytes]:
    """A function that moves a control and draws the picture that the reader then sees, which is not remembered."""
    states = cycle(moves(explorer))

    def redraw() -> bytes:
        with context():
            return png(explorer.figure(**next(states)), small=False)

    return redraw


def _every_explorer(size: str, peer: bool) -> list[Case]:
    chosen = list(makers().items())[: 1 if size == TINY else None]
    return [Case(name, redraws(make(live=False))) for name, make in chosen]


EXPLORERS = (
    Benchmark(
        "explorer",
        "redraw of each explorer after a slider moves; the slowest one's is shown",
        None,
        0.1,
        _every_explorer,
        "seconds, at most the goal",
    ),
)
