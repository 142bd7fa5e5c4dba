"""A figure that an explorer keeps: what does not change is drawn once."""

from __future__ import annotations

from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator


def wipe(made: Figure) -> Any:
    """Removes what was drawn in a figure and returns its axes, to be drawn on again.

    Axes, limits that were set, scales, ticks, labels and the layout of the first drawing stay. An explorer that
    keeps its figure so redraws several times faster, and its panels do not jump. What frames the data is drawn anew
    only when limits, titles or labels change: numbers that follow the sliders belong in the text below.
    """
    if isinstance(made.get_layout_engine(), ConstrainedLayoutEngine) and any(ax.has_data() for ax in made.axes):
        made.draw_without_rendering()  # places the axes, for good
        made.set_layout_engine("none")
        FrameCanvas(made)
    for ax in made.axes:
        for container in [*ax.containers]:  # bars and error bars, which a legend would find again
            container.remove()
        for artist in _drawn(ax):
            artist.remove()
        ax.set_prop_cycle(None)
        ax.relim()
    return made.axes[0] if len(made.axes) == 1 else made.axes


class FrameCanvas(FigureCanvasAgg):
    """A canvas that keeps the picture of everything but the data, and draws the data on a copy of it."""

    def __init__(self, figure: Figure) -> None:
        super().__init__(figure)
        self._frame: tuple[Any, Any] = (None, None)  # (what it shows, its pixels)

    def draw(self) -> None:
        shown = [_frame_of(ax) for ax in self.figure.axes]
        drawn = [[*_drawn(ax), *ax.spines.values()] for ax in self.figure.axes]
        if shown != self._frame[0]:
            visible = [artist for artists in drawn for artist in artists if artist.get_visible()]
            for artist in visible:
                artist.set_visible(False)
            super().draw()
            self._frame = shown, self.copy_from_bbox(self.figure.bbox)
            for artist in visible:
                artist.set_visible(True)
        self.restore_region(self._frame[1])
        for artists in drawn:
            for artist in sorted(artists, key=lambda a: a.get_zorder()):
                artist.draw(self.renderer)


def _drawn(ax: Axes) -> list[Artist]:
    legend = ax.get_legend()
    return [*ax.lines, *ax.patches, *ax.collections, *ax.texts, *ax.images, *([legend] if legend else [])]


def _frame_of(ax: Axes) -> tuple[Any, ...]:
    """What the frame of an axes shows; frames with equal values look the same."""
    titles = tuple(ax.get_title(loc=side) for side in ("left", "center", "right"))
    return titles, _axis(ax.xaxis), _axis(ax.yaxis), ax.get_xlim(), ax.get_ylim()


def _axis(axis: Axis) -> tuple[Any, ...]:
    """Ticks that were set are compared one by one; others follow from the limits."""
    places = list(axis.get_ticklocs()) if isinstance(axis.get_major_locator(), FixedLocator) else []
    words = axis.get_major_formatter().format_ticks(places) if places else []
    return axis.get_label_text(), axis.get_scale(), places, words
