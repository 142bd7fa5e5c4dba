"""What is recorded of the atlas: by which command, and that what is said of it follows from its numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from toykit.atlas import MEASURES, PROBLEMS, absences, finding, loaded, missing
from toykit.atlas.kept import rounded

PATH = Path(__file__).parents[2] / "data" / "results" / "atlas" / "atlas.json"


@pytest.fixture(scope="module")
def results():
    return loaded(PATH)


def test_it_names_its_command_seeds_versions_and_seconds(results):
    made = results["made"]
    assert made["command"] == "toykit atlas --record" and made["seconds"] > 0
    assert len(made["seeds"]) >= 10 and {"python", "toykit", "torch"} <= set(made["versions"])


def test_every_method_has_every_measure_with_every_seed(results):
    assert set(results["problems"]) == set(PROBLEMS) and len(PROBLEMS) == 3
    for one in results["methods"].values():
        for rung in ("exact", "gpt"):
            for at in one["rungs"][rung].values():
                assert "failed" in at or {len(at["figures"][m]) for m in MEASURES} == {len(results["made"]["seeds"])}


def test_the_finding_follows_from_the_figures(results):
    assert rounded(finding(results)) == results["finding"]


def test_the_page_says_what_of_today_s_catalogue_is_not_recorded(results):
    said = " ".join(absences(results))
    assert all(name in said for name in missing(results))


def test_the_networks_start_where_the_tables_do(results):
    assert all(0 <= problem["apart"] < 0.001 for problem in results["problems"].values())
