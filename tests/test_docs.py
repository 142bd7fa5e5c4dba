"""The documents say what is there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

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
    assert arrows == list(zip(names, names[1:], strict=False))


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
