"""The page, the tables, the figures and the notebook, drawn from results alone."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from toykit import atlas
from toykit.plots.style import alt_text

BOOK = Path(__file__).parents[2] / "notebooks" / "atlas.ipynb"


@pytest.fixture
def results(by_hand):
    return by_hand | {"finding": atlas.finding(by_hand)}


def test_the_table_of_a_rung_has_means_with_half_widths_and_the_reference_first(results):
    made = atlas.figures_table(results, "gpt")
    assert made.columns == ("method", "kind", *atlas.MEASURES)
    assert made.rows[0][:3] == ("reference", "untrained", "0.050")
    rows = {row[0]: row for row in made.rows}
    assert rows["rloo"][2] == "0.068 ± 0.025"  # 0.01 over three seeds: 4.303 x 0.01 / sqrt(3)
    assert set(rows["slic"][2:]) == {"–"}


def test_the_finding_stands_first_and_names_every_measure(results):
    said = atlas.sentence(results)
    assert "over 9 methods" in said
    for measure in atlas.MEASURES:
        assert f"{measure} 0.98 [" in said
    assert said.endswith("alone, in pass@1: on policy 1.00 [1.00, 1.00], offline –.")


def test_what_is_absent_is_said_with_its_reason(results):
    said = "\n".join(atlas.absences(results))
    assert "cql is left out: it trains values" in said
    assert "slic failed on gpt, shared: logp must be finite" in said
    assert re.search("not in these results.*: lite_ppo, ", said)
    assert re.search("not audited, no group: dpo, slic", said)


def test_the_page_holds_everything_and_nothing_from_elsewhere(results):
    made = atlas.page(results)
    assert made.startswith("<!doctype html>") and "http" not in made
    assert made.index("How far does the exact rung") < made.index("<img")
    assert made.count("<img") == made.count('alt="') == 2
    for name in results["methods"]:
        assert name in made
    assert "✗ fault" in made and 'title="fault: &lt;nan&gt;" aria-label="fault"' in made
    assert "12 s on 1 workers" in made


def test_a_page_without_audits_says_so(results):
    for one in results["methods"].values():
        one["audit"] = None
    assert "No method of these results is audited." in atlas.page(results)


def test_the_figures_have_a_panel_a_measure_and_words(results):
    n = len(atlas.MEASURES)
    assert len(atlas.measures(results).axes) == n
    drawn = atlas.prediction(results)
    assert len([ax for ax in drawn.axes if ax.get_visible()]) == n + 1
    assert "rank correlation" in alt_text(drawn).lower()
    shown = atlas.verdicts(results)
    assert [t.get_text() for t in shown.axes[0].texts].count("✗") == 8
    assert "rloo in edges.empty" in alt_text(shown)


def test_the_notebook_is_valid_and_reads_what_it_is_told():
    made = nbformat.reads(atlas.notebook('loaded("atlas.json")'), as_version=4)
    nbformat.validate(made)
    assert 'atlas.loaded("atlas.json")' in made.cells[1].source


def test_the_notebook_that_is_kept_is_the_current_one():
    kept, made = nbformat.read(BOOK, as_version=4), nbformat.reads(atlas.notebook(), as_version=4)
    assert [c.source for c in kept.cells] == [c.source for c in made.cells], "run: toykit.atlas.notebook()"
