"""What every test file of a lesson asks of its `LESSON`."""

from __future__ import annotations

import copy

import pytest

from toykit.lessons import Lesson, judge, run
from toykit.plots.images import pixels


def pytest_collection_modifyitems(items):
    """The tests of one lesson go to one process, so that its results are made once (`--dist loadgroup`)."""
    for item in items:
        lesson = getattr(getattr(item, "module", None), "LESSON", None)
        if isinstance(lesson, Lesson):
            item.add_marker(pytest.mark.xdist_group(lesson.number))


@pytest.fixture(scope="module")
def results(request):
    """What the exact rung gives, made once a file."""
    return run(request.module.LESSON, "exact")


@pytest.fixture(scope="module")
def verdicts(request):
    """Judges a rung's results: {claim: whether it holds, None where it is not decided}."""

    def of(results, rung="exact"):
        rows = judge(request.module.LESSON, rung, results, from_record=False)
        return {row["claim"]: row["holds"] for row in rows}

    return of


@pytest.fixture(scope="module")
def failing(verdicts):
    """Judges a rung's results: the claims that do not hold or are not decided."""

    def of(results, rung="exact"):
        return [claim for claim, holds in verdicts(results, rung).items() if not holds]

    return of


@pytest.fixture(scope="module")
def spoiled(results):
    """A copy of the results in which a function has changed what it likes, or (path, value) one entry.

    A value that is a function is that of the entry as it was.
    """

    def make(change):
        wrong = part = copy.deepcopy(results)
        if callable(change):
            change(wrong)
            return wrong
        (*path, name), value = change
        for key in path:
            part = part[key]
        part[name] = value(part[name]) if callable(value) else value
        return wrong

    return make


@pytest.fixture(scope="session")
def draws_every_preset():
    """Whether an explorer draws a picture of its own for each preset."""

    def every(explorer):
        pictures = [pixels(explorer.figure(**state)).copy() for state in explorer.presets.values()]
        return all(a.shape != b.shape or (a != b).any() for i, a in enumerate(pictures) for b in pictures[:i])

    return every
