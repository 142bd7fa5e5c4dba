"""Small tables that read well as text, in a notebook and by a screen reader."""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from toykit._checks import at_least

NARROWEST = 8


@dataclass(frozen=True, repr=False)
class Table:
    """Rows under named columns: text by `str`, a table with headings in a notebook.

    Numbers stand to the right, everything else to the left; floats are rounded to `digits` significant digits.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    caption: str = ""
    digits: int = 6

    def __post_init__(self) -> None:
        at_least("digits", self.digits, 1)
        for i, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"rows must have {len(self.columns)} entries, got {len(row)} in row {i}")

    def text(self, width: int | None = None) -> str:
        """The table in letters; with `width`, lines of at most so many, as far as cells can be wrapped for it."""
        body = [[self._text(v) for v in row] for row in self.rows]
        natural = [max(map(len, column)) for column in zip(self.columns, *body, strict=True)]
        widths, right = _narrowed(natural, width), self._right()

        def lines(cells: Sequence[str]) -> list[str]:
            wrapped = [textwrap.wrap(c, w) if len(c) > w else [c] for c, w in zip(cells, widths, strict=True)]
            return [line(row) for row in zip_longest(*wrapped, fillvalue="")]

        def line(cells: Sequence[str]) -> str:
            padded = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True))
            return "  ".join(padded).rstrip()

        rows = ["\n".join(lines(cells)) for cells in body]
        between = "\n\n" if any("\n" in row for row in rows) else "\n"
        head = [*([self.caption] if self.caption else []), *lines(self.columns), line(["-" * w for w in widths])]
        return "\n".join([*head, *([between.join(rows)] if rows else [])])

    def __str__(self) -> str:
        return self.text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        sides = ["right" if r else "left" for r in self._right()]

        def row(tag: str, texts: Iterable[str]) -> str:
            cells = zip(texts, sides, strict=True)
            return "".join(
                f'<{tag} style="text-align: {side}">{html.escape(t)}</{tag.split()[0]}>' for t, side in cells
            )

        caption = f'<caption style="text-align: left">{html.escape(self.caption)}</caption>' if self.caption else ""
        head = row('th scope="col"', self.columns)
        body = "".join(f"<tr>{row('td', map(self._text, values))}</tr>" for values in self.rows)
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def markdown(self) -> str:
        """The table in Markdown, without its caption; signs that Markdown would read are escaped."""

        def line(cells: Iterable[str]) -> str:
            return "| " + " | ".join(cells) + " |"

        marks = ["---:" if right else ":---" for right in self._right()]
        body = [[_escaped(self._text(v)) for v in row] for row in self.rows]
        return "\n".join(map(line, [map(_escaped, self.columns), marks, *body]))

    def _right(self) -> list[bool]:
        """Which columns hold numbers only."""
        columns = list(zip(*self.rows, strict=True)) or [()] * len(self.columns)
        return [bool(column) and all(_is_number(v) for v in column) for column in columns]

    def _text(self, value: Any) -> str:
        return number(value, self.digits)


def table(rows: Iterable[Mapping[str, Any]], caption: str = "", digits: int = 6) -> Table:
    """A `Table` of mappings: the first row's keys are the columns; a key that a row lacks is left empty."""
    listed = list(rows)
    columns = tuple(listed[0]) if listed else ()
    return Table(columns, tuple(tuple(row.get(c, "") for c in columns) for row in listed), caption, digits)


VERDICTS = {True: "✓ holds", False: "✗ does not hold", None: "– not run"}


def claims_table(claims: Iterable[Mapping[str, Any]], caption: str = "") -> Table:
    """The table of a lesson's claims from their JSON records (lesson, claim, kind, rung, statement, holds, ...).

    Seconds and the command are left out: they differ from run to run and stand in the record.
    """
    return Table(
        ("claim", "kind", "rung", "statement", "measured", "expected", "decided by", "verdict"),
        tuple(_claim_row(claim) for claim in claims),
        caption,
    )


def _claim_row(claim: Mapping[str, Any]) -> tuple[Any, ...]:
    verdict = VERDICTS[claim.get("holds")]
    if claim.get("recorded"):
        verdict += " (recorded)"
    name = ".".join(str(part) for part in (claim.get("lesson"), claim["claim"]) if part)
    return (
        name,
        claim["kind"],
        claim["rung"],
        claim["statement"],
        _short(claim.get("measured")),
        _short(claim.get("expected")),
        _decided(claim),
        verdict,
    )


def _decided(claim: Mapping[str, Any]) -> str:
    seeds = claim.get("seeds")
    count = len(seeds) if isinstance(seeds, Sequence) and not isinstance(seeds, str) else seeds
    over = f", {count} seed{'s' if count != 1 else ''}" if count else ""
    if claim.get("interval") is not None:
        low, high = claim["interval"]
        return f"95% [{_short(low)}, {_short(high)}]{over}"
    if claim.get("tolerance") is not None:
        return f"tolerance {_short(claim['tolerance'])}{over}"
    return over.removeprefix(", ")


def _short(value: Any) -> str:
    """A measured value in at most a few digits; a list by its entries."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_short(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_short, value))
    return number(value, 4)


def _narrowed(widths: list[int], total: int | None) -> list[int]:
    """Widths that fit into `total` with two letters between them: the widest give way, to no less than `NARROWEST`."""
    widths = list(widths)
    while total is not None and widths and sum(widths) + 2 * (len(widths) - 1) > total and max(widths) > NARROWEST:
        widths[widths.index(max(widths))] -= 1
    return widths


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|~$])", r"\\\1", " ".join(text.split()))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def number(value: Any, digits: int = 6) -> str:
    """A value as text: a float to `digits` significant digits, anything else by `str`."""
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)
