"""`toykit horizons`."""

from __future__ import annotations

import pytest

from toykit.cli.horizons import COLUMNS
from toykit.control import listed


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(listed, "available", lambda: ["decoy_corridor(4, 0.05)", "dice_tree()"])


def test_json_is_a_list_of_entries(toykit):
    one, other = toykit("horizons", "--json").json
    keys = ["environment", "states", "actions", "horizon", "optimum", "first", "least", "near", "gap"]
    assert list(one) == list(other) == [*keys, "effective_horizon"]
    assert (one["environment"], one["least"], other["gap"]) == ("decoy_corridor(4, 0.05)", 2, 0.5)


def test_tables_are_printed_as_text_and_in_markdown(toykit):
    lines = toykit("horizons").out.splitlines()
    assert all(name in lines[0] for name in COLUMNS) and lines[-1].split()[0] == "dice_tree()"
    rows = toykit("horizons", "--markdown").out.splitlines()
    assert len(rows) == 4 and rows[3] == "| dice\\_tree() | 4 | 4 | 2 | 1 | 0.5 | 2 | 2 | 0.5 | 3 |"
    assert toykit("horizons", "--json", "--markdown").refused("json and markdown must not both be given")
