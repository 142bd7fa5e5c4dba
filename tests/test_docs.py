"""The documents say what is there."""

from __future__ import annotations

import importlib.util
import re
from itertools import pairwise
from pathlib import Path

from typer.testing import CliRunner

from toykit.cli.commands import app
from toykit.lessons import all_lessons, claims
from toykit.plots.tables import VERDICTS

ROOT = Path(__file__).parents[1]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()


def order() -> list[str]:
    """The order of the packages that test_layers enforces, without what only starts the command line."""
    spec = importlib.util.spec_from_file_location("layers", ROOT / "tests" / "test_layers.py")
    layers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(layers)
    return [name for name in layers.ORDER if name != "__main__"]


def test_the_picture_of_the_packages_shows_the_order_that_is_enforced():
    arrows = re.findall(r"^ +(\w+)(?:\[.*?\])? --> (\w+)", ARCHITECTURE, re.MULTILINE)
    names = order()
    assert arrows == list(pairwise(names))


def test_every_package_has_its_line_in_the_table():
    listed = re.findall(r"^\| `(\w+)` \|", ARCHITECTURE, re.MULTILINE)
    assert listed[3:] == order()  # after the three rungs
    assert {p.stem for p in (ROOT / "toykit").iterdir() if p.stem[0] != "_"} == set(order())


def links(text: str) -> list[str]:
    """Relative targets of links, without anchors."""
    found = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text)
    return [target for target in found if "://" not in target and not target.startswith("mailto:")]


def test_every_relative_link_leads_somewhere():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "notebooks").rglob("*.md")]
    assert len(pages) >= 4
    dead = [f"{page.name}: {t}" for page in pages for t in links(page.read_text()) if not (page.parent / t).exists()]
    assert dead == []


def test_the_ledger_lists_every_claim_and_the_verdicts_of_the_recorded_ones():
    lines = (ROOT / "docs" / "claims.md").read_text().splitlines()
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines if line.startswith("| ")][
        2:
    ]
    found = {(lesson, claim): (kind, rung, row[-1]) for lesson, claim, kind, rung, *row in cells}
    expected = {(lesson.number, c.id): (c.kind, c.rung) for lesson in all_lessons() for c in lesson.claims}
    assert {key: value[:2] for key, value in found.items()} == expected, "run: make claims"
    for lesson in all_lessons():
        for rung in [r for r, e in lesson.experiments.items() if e.recorded]:
            for row in claims(lesson, rung):
                verdict = VERDICTS[row["holds"]] + " (recorded)" * row["recorded"]
                assert found[lesson.number, row["claim"]][2] == verdict, "run: make claims"


def test_the_page_of_speed_has_the_recorded_figures():
    table = CliRunner().invoke(app, ["bench", "--recorded", "--markdown"]).stdout
    assert (ROOT / "docs" / "speed.md").read_text().endswith(f"\n\n{table}"), "run: make speed"
