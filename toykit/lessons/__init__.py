"""What does the paper claim, and does it hold? One module a paper."""

from toykit.lessons.base import Claim, Evidence, Experiment, Lesson, at_most, below, difference, effect, within
from toykit.lessons.registry import all_lessons, claims, judge, load, picture, record, recorded, row, run

__all__ = [
    "Claim",
    "Evidence",
    "Experiment",
    "Lesson",
    "all_lessons",
    "at_most",
    "below",
    "claims",
    "difference",
    "effect",
    "judge",
    "load",
    "picture",
    "record",
    "recorded",
    "row",
    "run",
    "within",
]
