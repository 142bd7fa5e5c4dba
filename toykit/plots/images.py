"""Figures as PNG pictures: fast ones for an explorer, small ones for a notebook, several in one."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave

from toykit.plots.canvas import FrameCanvas
from toykit.plots.style import alt_text

TITLE_INCHES, LINE_INCHES, WIDEST_INCHES = 0.34, 0.18, 9.5
LETTERS_AN_INCH = 13


def png(made: Figure, small: bool = True) -> bytes:
    """A figure as PNG bytes: the same figure gives the same bytes.

    `small` packs harder, for pictures that are stored; without it drawing is faster. The figure's alternative text
    travels in the file's description.
    """
    out = io.BytesIO()
    metadata: dict[str, Any] = {
        "Software": None,
        "Description": alt_text(made),
    }  # no version: bytes change only with the picture
    packing = {"compress_level": 9 if small else 1}
    imsave(out, pixels(made), format="png", dpi=made.get_dpi(), metadata=metadata, pil_kwargs=packing)
    return out.getvalue()


def pixels(made: Figure) -> np.ndarray:
    """A figure as uint8 [height, width, 4]."""
    canvas = made.canvas if isinstance(made.canvas, FrameCanvas) else FigureCanvasAgg(made)
    canvas.draw()
    return np.array(canvas.buffer_rgba())


@dataclass(frozen=True)
class Panel:
    """A picture uint8 [height, width, 4] of a montage, with its title and the words that stand under it."""

    title: str
    picture: np.ndarray
    words: str = ""


def montage(panels: Sequence[Panel], dpi: float) -> Figure:
    """One figure of several pictures, each under its title, none of them rescaled.

    They stand side by side as long as they fit a notebook's width and below each other where they do not.
    """
    wide = max(panel.picture.shape[1] for panel in panels)
    lines = [textwrap.wrap(panel.words, int(wide / dpi * LETTERS_AN_INCH)) for panel in panels]
    top, picture = round(TITLE_INCHES * dpi), max(panel.picture.shape[0] for panel in panels)
    high = top + picture + round(LINE_INCHES * dpi * max(map(len, lines)))
    columns = min(len(panels), max(1, int(WIDEST_INCHES * dpi // wide)))
    total = (columns * wide, -(-len(panels) // columns) * high)
    sheet = Figure(figsize=(total[0] / dpi, total[1] / dpi), dpi=dpi)
    for i, panel in enumerate(panels):
        left, ceiling = (i % columns) * wide, total[1] - (i // columns) * high
        x = (left + 0.08 * dpi) / total[0]
        sheet.text(x, (ceiling - top / 2) / total[1], panel.title, va="center", fontsize=11, weight="bold")
        floor = ceiling - top - panel.picture.shape[0]
        sheet.figimage(panel.picture, xo=left, yo=floor, resize=False)
        sheet.text(x, floor / total[1], "\n".join(lines[i]), va="top", fontsize=9, linespacing=1.3)
    return sheet


def register(shell: Any) -> None:
    """Lets an IPython shell show figures that are not pyplot's, with their alternative text."""
    formatters = shell.display_formatter.formatters
    formatters["image/png"].for_type(Figure, _picture)
    formatters["text/plain"].for_type(Figure, lambda made, printer, cycle: printer.text(alt_text(made)))


def _picture(made: Figure) -> tuple[bytes, dict[str, Any]]:
    return png(made), {"alt": alt_text(made)}
