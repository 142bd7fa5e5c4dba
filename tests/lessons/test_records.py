"""Every lesson's records: those that are there are judged and drawn, those that are not are said to be missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from toykit.lessons.registry import claims, load, modules, picture, recorded

IN_WORDS = {("35", "G7")}  # effects whose measured value is not the middle of the interval


@pytest.fixture(params=sorted(modules()))
def lesson(request):
    return load(request.param)


def test_every_effect_of_the_gpt_rung_is_decided_by_its_record(lesson):
    rows = claims(lesson, "gpt")
    assert rows
    assert all(row["recorded"] and len(row["seeds"]) >= 5 and row["holds"] is not None for row in rows)
    for row in rows:
        if row["kind"] == "effect" and (lesson.number, row["claim"]) not in IN_WORDS:
            low, high = row["interval"]
            assert low <= row["measured"] <= high


def test_recorded_figures_are_drawn(lesson):
    found = recorded(lesson, "gpt")
    assert found is not None and lesson.figures["gpt"]
    for name in lesson.figures["gpt"]:
        assert isinstance(picture(lesson, "gpt", name), Figure)


def test_a_rung_that_was_not_run_is_null(lesson, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TOYKIT_DATA", str(tmp_path))
    assert picture(lesson, "llm", next(iter(lesson.figures["llm"]))) is None
    assert f"toykit run {lesson.number} --rung llm --device cuda --record" in capsys.readouterr().out
    rows = claims(lesson, "llm")
    assert rows and all(row["holds"] is None for row in rows)


def test_the_notebook_is_there(lesson):
    assert (Path(__file__).parents[2] / lesson.notebook).is_file()
