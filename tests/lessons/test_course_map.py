"""The map of the course is made from the lessons, and the page that is kept is the current one."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import pytest

from toykit.lessons import all_lessons, load
from toykit.lessons.course_map import course_map

PAGE = Path(__file__).parents[2] / "notebooks" / "README.md"


def test_the_page_is_current():
    assert PAGE.read_text() == course_map(all_lessons()), "run: python -m toykit.lessons.course_map"


def test_a_lesson_has_its_line_with_minutes_needs_and_pieces():
    first = replace(load("01"), minutes=7, needs=("02",), pieces=("objectives.KL",))
    second = replace(first, number="02", slug="other", title="Another", needs=())
    found = course_map([first, second])
    title = first.title
    assert f"| 01 | [{title}](foundations/01_kl_as_bayes.ipynb) | 7 | 02 | `objectives.KL` |" in found
    assert "| 02 | [Another](foundations/02_other.ipynb) | 7 | – |" in found


def test_parts_and_needs_must_exist():
    with pytest.raises(
        ValueError, match="part must be one of foundations, methods, control, got 'nowhere' of lesson 01"
    ):
        course_map([replace(load("01"), part="nowhere")])
    with pytest.raises(ValueError, match=r"needs must be lessons, got \['77'\] of lesson 01"):
        course_map([replace(load("01"), needs=("77",))])


@pytest.mark.parametrize("lesson", all_lessons(), ids=lambda lesson: lesson.number)
def test_every_piece_that_a_lesson_names_is_there(lesson):
    assert lesson.pieces
    for piece in lesson.pieces:
        package, name = piece.rsplit(".", 1)
        assert hasattr(importlib.import_module(f"toykit.{package}"), name), piece
