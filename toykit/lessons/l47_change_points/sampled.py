"""Lesson 47 on the gpt and llm rungs: learning anew where the rule has changed, and watching a run for a bug."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from toykit.lessons.base import Results
from toykit.lessons.l47_change_points.drift import DRIFT
from toykit.lessons.l47_change_points.monitor import MONITOR
from toykit.lessons.rungs import SEEDS, Setup


class Size(NamedTuple):
    """A size of the llm rung: the model, and how its run is set up."""

    model: Mapping[str, int]
    setup: Setup


SIZES = {name: Size(dict(setup.base), setup) for name, setup in MONITOR.llm.items()}  # type: ignore[arg-type]


def gpt(
    seeds: tuple[int, ...] = SEEDS,
    stops: tuple[int, ...] = (),
    folder: Path | None = None,
    progress: bool = False,
    only: tuple[str, ...] = (),
) -> Results:
    """Both experiments; with `stops` or `only`, the first alone, at other stops or with some of its arms."""
    found = DRIFT.on_gpt(seeds, stops, None if folder is None else folder / "drift", progress, only)
    if stops or only:
        return found
    return found | {"monitor": MONITOR.on_gpt(seeds, (), None if folder is None else folder / "monitor", progress)}


def llm(
    seeds: tuple[int, ...] = SEEDS,
    size: str = "60m",
    device: str = "cpu",
    folder: Path | None = None,
    progress: bool = False,
) -> Results:
    """The bug in the verifier of a transformers model's run. No weights are shipped: it is pretrained first."""
    found = MONITOR.on_llm(seeds, size, device, folder, progress)
    return {"monitor": {name: found.pop(name) for name in ("stops", "runs")}} | found
