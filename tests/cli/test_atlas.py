"""`toykit atlas`: results, page and notebook, made or from the record."""

from __future__ import annotations

import json

import nbformat
import pytest

from toykit.atlas import making, problems, record, recorded
from toykit.atlas.kept import record_path

WRITTEN = ("atlas.json", "atlas.html", "atlas.ipynb")


@pytest.fixture
def small(monkeypatch):
    for name in ("lengths", "shared"):
        monkeypatch.delitem(problems.PROBLEMS, name)
    monkeypatch.setattr(problems, "FIT_STEPS", 20)
    monkeypatch.setattr(making, "_sheet", lambda name: {"audit": None, "unaudited": "not here"})
    problems._fitted.cache_clear()
    yield
    problems._fitted.cache_clear()


def test_it_writes_results_page_and_notebook_and_goes_on(toykit, small, tmp_path):
    words = ("atlas", "rloo", "sft", "--seeds", 2, "--steps", 1, "--workers", 1, "--out", "made")
    found = toykit(*words, "--json")
    assert found.status == 0 and set(found.json["methods"]) == {"rloo", "sft"}
    assert "rloo (1 of 2)" in found.err and "wrote atlas.json" in found.err
    assert json.loads((tmp_path / "made" / "atlas.json").read_text()) == found.json
    assert (tmp_path / "made" / "atlas.html").read_text().startswith("<!doctype html>")
    nbformat.validate(nbformat.read(tmp_path / "made" / "atlas.ipynb", as_version=4))
    again = toykit(*words)
    assert "rloo" not in again.err.replace("wrote", "")  # both were kept
    assert "exact rung: means over the problems after 1 updates" in again.out and "reference" in again.out
    assert toykit(*words[:4], 3, *words[5:]).refused("out must be a folder for these settings")


def test_what_is_recorded_is_drawn_without_running_anything(toykit, small, tmp_path, monkeypatch):
    made = making.make(["rloo"], making.Settings(2, 1), workers=1)
    monkeypatch.setattr("toykit.atlas.kept.missing", lambda results: [])
    assert record(made) == record_path()
    found = toykit("atlas", "--recorded", "--out", "drawn", "--json")
    assert found.json == recorded()
    assert all((tmp_path / "drawn" / name).exists() for name in WRITTEN)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--recorded",), "must exist, it is made by: toykit atlas --record"),
        (("--recorded", "grpo"), "recorded must be given alone"),
        (("--record", "grpo"), "record must be given for all methods"),
        (("grpp",), "did you mean 'grpo'"),
        (("grpo", "--seeds", "1"), "seeds must be >= 2, got 1"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(toykit, words, said):
    assert toykit("atlas", *words).refused(said)
