"""The lessons' exercises: every wrong version that an exercise knows is told its own mistake."""

import pytest

import toykit.lessons.reading_audit
import toykit.lessons.start  # noqa: F401  (both register the exercises of their notebooks)
from toykit.exercises import flaws, registry
from toykit.lessons import all_lessons

all_lessons()  # their modules register their exercises

every_exercise = pytest.mark.parametrize("exercise", registry().values(), ids=lambda e: e.name)


@every_exercise
def test_the_reference_passes_and_every_wrong_version_is_told_its_own_mistake(exercise):
    assert flaws(exercise) == []


@every_exercise
def test_it_knows_three_mistakes_or_for_a_value_one(exercise):
    assert len(exercise.mistakes) >= (3 if exercise.cases else 1)


@every_exercise
def test_its_name_says_the_lesson(exercise):
    lesson = exercise.name.split(".")[0]
    assert lesson.isdigit() or lesson == "audit"
