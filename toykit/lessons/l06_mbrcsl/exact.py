"""Lesson 06 on the exact rung: what completeness costs on LinearQ, and what stitching costs on two trajectories."""

from __future__ import annotations

from toykit.lessons.base import Results
from toykit.lessons.l06_mbrcsl import linear, stitching


def run(seeds: tuple[int, ...] = tuple(range(40))) -> Results:
    """All exact results; the seeds are those of the random MDPs on which C5 is tried."""
    return {"linear": linear.run(), "stitching": stitching.run(seeds)}
