"""The atlas as a notebook, whose cells draw from recorded results alone."""

from __future__ import annotations

import json
from typing import Any

CELLS: tuple[tuple[str, str, str], ...] = (  # kind, tag, source
    (
        "markdown",
        "question",
        """# The atlas: every method of the catalogue, side by side

What does an objective really do to the distribution, and does a table say what a network will do? Every method is
audited exactly, and trained on three small problems on two rungs: a table, and a small GPT that starts from the same
law. All runs make the same number of updates, at a learning rate that follows one rule. Nothing is trained here: the
cells draw what `toykit atlas` has recorded.""",
    ),
    (
        "code",
        "setup",
        """import toykit
from toykit import atlas

_ = toykit.setup(seed=0)
results = atlas.{loaded}
for name, problem in results["problems"].items():
    print(f"{name}: {problem['about']}")""",
    ),
    (
        "markdown",
        "prediction",
        """## Does the exact rung predict the gpt rung?

**Predict.** Five measures are taken after training. For which of them will the methods stand in the same order on both
rungs, and for which not? Think of what a network shares between prefixes and a table does not.""",
    ),
    ("code", "finding", "atlas.finding_table(results)"),
    ("code", "finding-figure", "atlas.prediction(results)"),
    (
        "markdown",
        "limits",
        """Methods that share most of their code are not independent, so that the intervals, which resample methods,
are too narrow. The last two columns hold one half of a rung's seeds against the other half: what they lack to 1 is
noise.""",
    ),
    (
        "markdown",
        "measures",
        """## What is done to the distribution

A line a method: means over the problems with 95 % intervals over the seeds. Look for methods that are alike in pass@1
and far apart in entropy or in the support that they keep.""",
    ),
    ("code", "measures-figure", "atlas.measures(results)"),
    ("code", "exact-table", 'atlas.figures_table(results, "exact")'),
    ("code", "gpt-table", 'atlas.figures_table(results, "gpt")'),
    (
        "markdown",
        "audits",
        """## What the objectives do, exactly

The audits' verdicts, a line a method and a column a property. `toykit audit NAME` shows what was measured.""",
    ),
    ("code", "verdicts", "atlas.verdicts(results)"),
    ("markdown", "absences", "## What is not here"),
    ("code", "absences-list", 'print("\\n".join(atlas.absences(results)))'),
)


def notebook(loaded: str = "recorded()") -> str:
    """The notebook's file, not executed; `loaded` is the call of `toykit.atlas` that gives the results."""
    cells = [_cell(i, *cell, loaded) for i, cell in enumerate(CELLS)]
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    made = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _cell(place: int, kind: str, tag: str, source: str, loaded: str) -> dict[str, Any]:
    lines = source.replace("{loaded}", loaded).splitlines(keepends=True)
    made: dict[str, Any] = {"cell_type": kind, "id": f"cell-{place:02}", "metadata": {"tags": [tag]}, "source": lines}
    return made | ({"execution_count": None, "outputs": []} if kind == "code" else {})
