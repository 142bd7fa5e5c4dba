"""The house style: one look for every figure, readable without colour."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toykit._checks import at_least, one_of
from toykit.objectives import CATALOGUE

# Okabe and Ito's colours (without their yellow, too pale for a line on white), and a neutral grey.
BLACK, GREY, ORANGE, SKY = "#000000", "#6E6E6E", "#E69F00", "#56B4E9"
GREEN, BLUE, VERMILION, PURPLE = "#009E73", "#0072B2", "#D55E00", "#CC79A7"


@dataclass(frozen=True)
class Role:
    """How one thing is drawn wherever it appears: a colour, and a line style, marker and hatch that do without it."""

    color: str
    linestyle: Any = "-"
    marker: str = "o"
    hatch: str = ""


DASH_DOT, LONG_DASH, DASH_DOT_DOT = (0, (5, 2, 1, 2)), (0, (8, 3)), (0, (5, 2, 1, 2, 1, 2))

ROLES = {
    "prior": Role(GREY, "--", "s", "...."),
    "likelihood": Role(ORANGE, ":", "^", "xxx"),
    "posterior": Role(BLUE, "-", "o", ""),
    "policy": Role(VERMILION, DASH_DOT, "D", "////"),
    "exact": Role(BLACK, "-", "o", ""),
    "estimate": Role(PURPLE, LONG_DASH, "v", "\\\\\\\\"),
}
ROLES["reference"] = ROLES["prior"]
ROLES["target"] = ROLES["posterior"]

CYCLE = (
    Role(BLUE, "-", "o", ""),
    Role(VERMILION, "--", "s", "////"),
    Role(GREEN, DASH_DOT, "^", "...."),
    Role(PURPLE, ":", "D", "xxx"),
    Role(ORANGE, LONG_DASH, "v", "\\\\\\\\"),
    Role(SKY, DASH_DOT_DOT, "P", "++++"),
    Role(BLACK, (0, (2, 1)), "X", "----"),
    Role(GREY, (0, (8, 2, 2, 2)), "*", "oo"),
)

METHODS = tuple(CATALOGUE)  # a method's place, and with it its look, stays as long as new ones go to the end

STYLE: dict[str, Any] = {
    "figure.dpi": 110,
    "savefig.dpi": 110,
    "figure.facecolor": "white",
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # a fixed height: matplotlib's search for one takes a tenth of the drawing time
    "axes.titlepad": 7,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.prop_cycle": cycler(color=[r.color for r in CYCLE]) + cycler(linestyle=[r.linestyle for r in CYCLE]),
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.7,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.handlelength": 2.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "hatch.linewidth": 0.6,
}


def use() -> None:
    """Makes the house style matplotlib's default (`matplotlib.rcdefaults()` undoes it)."""
    matplotlib.rcParams.update(STYLE)


@contextmanager
def context() -> Iterator[None]:
    """The house style inside a `with` block only."""
    applied = _use_once.cache_info().currsize
    with matplotlib.rc_context(STYLE):
        yield
    if not applied:
        _use_once.cache_clear()  # a first figure inside has set the style, and leaving the block has undone it


@cache
def _use_once() -> None:
    use()


def role(name: str) -> Role:
    """The look of a named role; raises ValueError with the nearest name for an unknown one."""
    return ROLES[one_of("role", name, ROLES)]


def method(name: str) -> Role:
    """The look of a training method: the same in every figure, whatever stands beside it.

    A name that is not in the catalogue gets a place by its spelling; where that collides with a neighbour, pass a
    `Role` of your own.
    """
    place = METHODS.index(name) if name in METHODS else zlib.crc32(name.encode())
    first, turn = CYCLE[place % len(CYCLE)], (place // len(CYCLE)) % len(CYCLE)
    if turn == 0:
        return first
    other = CYCLE[(place + 3 * turn) % len(CYCLE)]  # the second time round: the same colours, other lines
    return Role(first.color, other.linestyle, other.marker, other.hatch)


def look(of: str | Role) -> Role:
    """A `Role` as it is, or the one with this name: a role's, else a method's."""
    if isinstance(of, Role):
        return of
    return ROLES[of] if of in ROLES else method(of)


def figure(
    n_columns: int = 1,
    n_rows: int = 1,
    height: float = 2.9,
    width: float | None = None,
    widths: Sequence[float] | None = None,
    alt: str = "",
    **subplots: Any,
) -> tuple[Figure, Any]:
    """A figure of the house at notebook width, and its axes as matplotlib's `subplots` gives them.

    `height` is inches a row, `width` inches in all (7 for one column, else 8.5), `widths` the columns' relative
    widths, `alt` the text for those who do not see the figure; `subplots` are passed on (sharex, sharey, ...).
    The first figure of a process makes the style matplotlib's default. It is not one of pyplot's figures: it is
    shown as the last value of a cell, needs no closing and leaves no global state behind.
    """
    at_least("n_columns", n_columns, 1)
    at_least("n_rows", n_rows, 1)
    _use_once()
    made = Figure(figsize=(width or (7.0 if n_columns == 1 else 8.5), height * n_rows), layout="constrained")
    axes = made.subplots(n_rows, n_columns, width_ratios=widths, **subplots)
    for ax in made.axes:
        ax.locator_params(nbins=5)
    if alt:
        describe(made, alt)
    return made, axes


def panel_labels(axes: Iterable[Axes] | Axes) -> None:
    """Writes (a), (b), ... above the left corner of each panel, before its title."""
    panels = [axes] if isinstance(axes, Axes) else _flat(axes)
    for letter, ax in zip("abcdefghijkl", panels, strict=False):
        title = ax.get_title(loc="left")
        ax.set_title(f"({letter}) {title}".rstrip(), loc="left")


def _flat(axes: Any) -> list[Axes]:
    return [axes] if isinstance(axes, Axes) else [ax for part in axes for ax in _flat(part)]


def describe(made: Figure, alt: str) -> Figure:
    """Gives a figure its text for screen readers and returns it."""
    made.set_label(alt)
    return made


def alt_text(made: Figure) -> str:
    """A figure's text for screen readers: the one it was given, else its titles, axes and legends in words."""
    if given := str(made.get_label()):
        return given
    return "Figure. " + " ".join(_in_words(ax) for ax in made.axes)


def _in_words(ax: Axes) -> str:
    title = ax.get_title(loc="left") or ax.get_title()
    labels = [label for label in (ax.get_ylabel(), ax.get_xlabel()) if label]
    shown = ax.get_legend_handles_labels()[1]
    parts = [title, " against ".join(labels), f"showing {', '.join(shown)}" if shown else ""]
    return "; ".join(part for part in parts if part) + "."
