"""`toykit audit`: the sheet as text, JSON and a page, and one line for what is not there."""

from __future__ import annotations

import sys

import pytest

WRONG = """
def loss(logp, rewards, mask):
    advantage = rewards - rewards.mean(-1, keepdim=True)
    return -(advantage[..., None] * logp).sum(-1).mean()  # without the mask
"""


def test_a_method_is_audited_as_json(toykit):
    found = toykit("audit", "dr_grpo", "--json").json
    assert set(found) == {"objective", "properties", "diagnosis", "notes"}
    keys = {"name", "verdict", "measured", "expected", "problem", "detail"}
    assert found["objective"] == "dr_grpo" and all(set(row) == keys for row in found["properties"])
    assert found["diagnosis"] == []


def test_a_function_of_a_file_as_a_table_and_a_page(toykit, tmp_path):
    path, out = tmp_path / "losses.py", tmp_path / "sheet.html"
    path.write_text(WRONG)
    found = toykit("audit", f"{path}:loss", "--html", str(out))
    assert "likely bugs: mask_missing" in found.out and f"wrote {out}" in found.err
    assert out.read_text().startswith("<!doctype html>") and "mask_missing" in out.read_text()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("grpp", "did you mean 'grpo'"),
        ("absent.py:f", "must name a file that exists, got absent.py"),
        ("absent_module:f", "a module 'absent_module' that does not exist"),
        ("verl:vanilla", "verl must be installed"),
    ],
)
def test_what_is_not_there_is_one_line(toykit, name, words, monkeypatch):
    monkeypatch.setitem(sys.modules, "verl", None)
    assert toykit("audit", name).refused(words)
