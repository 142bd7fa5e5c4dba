"""The map of the course, `notebooks/README.md`, made from the lessons by `python -m toykit.lessons.course_map`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from toykit.lessons.base import Lesson
from toykit.lessons.registry import all_lessons
from toykit.training.checkpoint import write_whole
from toykit.training.store import data_folder

PARTS = {
    "foundations": "What policy optimisation does to a distribution, at its simplest.",
    "methods": "What a method changes of policy optimisation, and what that does to the distribution.",
    "control": "RL with states: value, models, planning.",
}

HEAD = """# The map of the course

Begin with [Start here](00_start_here.ipynb) (10 minutes): one problem, three rungs.
Then take any lesson whose needs you have met.
Every lesson has an exact rung, an explorer, a gpt rung with its recorded result, and exercises.
[The atlas](atlas.ipynb) holds every method of the catalogue beside the others.

Beside the lessons: [Read your objective's specification sheet](foundations/audit.ipynb) (30 minutes), on what a loss
does in expectation; you find a planted bug.

This page is made by `python -m toykit.lessons.course_map`.
"""


def course_map(lessons: Sequence[Lesson]) -> str:
    """The page: a table of lessons for each part, in the order of `PARTS`.

    Raises ValueError for a lesson of an unknown part, or one that needs a lesson that does not exist.
    """
    numbers = {lesson.number for lesson in lessons}
    for lesson in lessons:
        if lesson.part not in PARTS:
            raise ValueError(f"part must be one of {', '.join(PARTS)}, got {lesson.part!r} of lesson {lesson.number}")
        if missing := set(lesson.needs) - numbers:
            raise ValueError(f"needs must be lessons, got {sorted(missing)} of lesson {lesson.number}")
    parts = [_part(name, [lesson for lesson in lessons if lesson.part == name]) for name in PARTS]
    return "\n".join([HEAD, *filter(None, parts)])


def _part(name: str, lessons: Sequence[Lesson]) -> str:
    if not lessons:
        return ""
    rows = [
        f"| {lesson.number} | [{lesson.title}]({Path(lesson.notebook).relative_to('notebooks')}) | {lesson.minutes} "
        f"| {', '.join(lesson.needs) or '–'} | {', '.join(f'`{piece}`' for piece in lesson.pieces)} |"
        for lesson in lessons
    ]
    head = ["| lesson | title | minutes | needs | pieces |", "|---|---|---|---|---|"]
    return "\n".join([f"## {name.capitalize()}\n", PARTS[name] + "\n", *head, *rows]) + "\n"


def page() -> Path:
    """Where the map is kept."""
    return data_folder().parent / "notebooks" / "README.md"


if __name__ == "__main__":
    write_whole(page(), course_map(all_lessons()).encode())
    print(page())
