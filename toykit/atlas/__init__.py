"""Every method of the catalogue side by side: audited, and trained on the same problems on two rungs."""

from __future__ import annotations

from toykit.atlas.book import notebook
from toykit.atlas.figures import measures, prediction, verdicts
from toykit.atlas.kept import loaded, missing, record, recorded, text
from toykit.atlas.making import Settings, make
from toykit.atlas.page import page
from toykit.atlas.problems import PROBLEMS, Problem
from toykit.atlas.ranks import correlation, finding
from toykit.atlas.runs import MEASURES, left_out, methods
from toykit.atlas.tables import absences, figures_table, finding_table, sentence

__all__ = [
    "MEASURES",
    "PROBLEMS",
    "Problem",
    "Settings",
    "absences",
    "correlation",
    "figures_table",
    "finding",
    "finding_table",
    "left_out",
    "loaded",
    "make",
    "measures",
    "methods",
    "missing",
    "notebook",
    "page",
    "prediction",
    "record",
    "recorded",
    "sentence",
    "text",
    "verdicts",
]
