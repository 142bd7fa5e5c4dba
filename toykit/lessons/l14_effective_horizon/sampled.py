"""Lesson 14 on the gpt rung: rooms whose lookahead is known, and completions with a decoy."""

from __future__ import annotations

from pathlib import Path

from toykit.lessons.base import Results
from toykit.lessons.l14_effective_horizon import completions, rooms
from toykit.lessons.rungs import SEEDS


def gpt(
    seeds: tuple[int, ...] = SEEDS,
    designs: tuple[str, ...] = rooms.DESIGNS,
    learners: tuple[str, ...] = rooms.LEARNERS,
    folder: Path | None = None,
    progress: bool = False,
) -> Results:
    """Both experiments; with other designs or learners the rooms alone."""
    at = (None, None) if folder is None else (folder / "rooms", folder / "completions")
    found = {"rooms": rooms.experiment(seeds, designs, learners, at[0], progress)}
    if (designs, learners) != (rooms.DESIGNS, rooms.LEARNERS):
        return found
    return found | {"completions": completions.experiment(seeds, at[1], progress)}
