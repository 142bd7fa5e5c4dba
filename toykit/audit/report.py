"""An audit as a table, as JSON, and in a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from toykit.audit.diagnosis import Diagnosis
from toykit.audit.findings import VERDICTS, Property
from toykit.plots.tables import Table


@dataclass(frozen=True, repr=False)
class Audit:
    """What was found of an objective: text by `str`, tables in a notebook, figures by `toykit.audit.figures`."""

    objective: str
    properties: tuple[Property, ...]
    diagnosis: tuple[Diagnosis, ...] = ()
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Property:
        """The property of this name; raises KeyError where it was not measured."""
        found = {one.name: one for one in self.properties}
        return found[name]

    def row(self) -> dict[str, Any]:
        """The audit as `toykit audit --json` gives it."""
        return {
            "objective": self.objective,
            "properties": [one.row() for one in self.properties],
            "diagnosis": [one.row() for one in self.diagnosis],
            "notes": list(self.notes),
        }

    def table(self) -> Table:
        """A line a property."""
        rows = tuple((one.name, one.verdict, one.detail, one.problem) for one in self.properties)
        return Table(("property", "verdict", "what was measured", "problem"), rows, self.caption())

    def bugs(self) -> Table:
        """A line a likely bug."""
        rows = tuple((one.bug, one.words, one.evidence, one.problem) for one in self.diagnosis)
        return Table(("likely bug", "what it is", "evidence", "problem"), rows)

    def caption(self) -> str:
        counts = {v: sum(one.verdict == v for one in self.properties) for v in VERDICTS}
        said = ", ".join(f"{n} {v}" for v, n in counts.items() if n and v != "-")
        more = f" ({'; '.join(self.notes)})" if self.notes else ""
        bugs = f"likely bugs: {', '.join(one.bug for one in self.diagnosis)}" if self.diagnosis else "no likely bug"
        return f"{self.objective}{more}: {said}; {bugs}"

    def text(self, width: int | None = None) -> str:
        """The tables in letters, wrapped to `width`."""
        parts = [self.table().text(width)] + ([self.bugs().text(width)] if self.diagnosis else [])
        return "\n\n".join(parts)

    def __str__(self) -> str:
        return self.text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.table()._repr_html_() + (self.bugs()._repr_html_() if self.diagnosis else "")
