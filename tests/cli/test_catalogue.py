"""`toykit catalogue`, and the page that it makes."""

from __future__ import annotations

import json
from pathlib import Path

from toykit.objectives import CATALOGUE, OFFLINE, PIPELINES

PAGE = Path(__file__).parents[2] / "docs" / "catalogue.md"


def test_the_page_is_what_the_command_prints(toykit):
    made = toykit("catalogue", "--markdown").out
    text = PAGE.read_text()
    assert text[text.index("## ") :] == made, "run: make catalogue"
    assert text.startswith("# The catalogue of methods")


def test_the_list_has_every_method_under_its_optimiser(toykit):
    lines = toykit("catalogue").out.splitlines()
    names = {line.split()[0] for line in lines if line}
    assert names >= CATALOGUE.keys() | OFFLINE.keys() | PIPELINES.keys()
    assert lines[0] == "policy gradient without a critic" and "direct preference loss" in lines


def test_json_is_a_list_of_entries_and_one_entry_for_a_name(toykit):
    found = json.loads(toykit("catalogue", "--json").out)
    keys = ["name", "kind", "reward", "density", "optimiser", "loss", "source", "pieces", "needs"]
    assert all(list(one) == keys for one in found) and len(found) == len(CATALOGUE) + len(OFFLINE) + len(PIPELINES)
    assert json.loads(toykit("catalogue", "ipo", "--json").out) == next(x for x in found if x["name"] == "ipo")


def test_a_name_shows_its_pieces_and_an_unknown_one_the_nearest(toykit):
    text = toykit("catalogue", "gspo").out
    assert "Clip(low=0.0003, high=0.0004" in text and "arXiv 2507.18071" in text
    assert toykit("catalogue", "gsop").refused("method must be one of", "did you mean 'gspo'?")
    assert toykit("catalogue", "--json", "--markdown").refused("json and markdown must not both be given")
