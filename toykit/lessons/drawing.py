"""What the figures of several lessons share: the runs of a comparison, recorded and live."""

from __future__ import annotations

from matplotlib.axes import Axes

from toykit.lessons.base import Results
from toykit.plots import Role, curve_with_interval


def draw_runs(
    ax: Axes, results: Results, arm: str, figure: str, look: Role, live: Results | None = None, label: str | None = None
) -> None:
    """An arm's figure at the stops of `compare`'s results, mean and 95 % interval over its seeds; `live` as crosses."""
    path = results["runs"][arm][figure]
    line = curve_with_interval(ax, results["stops"], path, arm if label is None else label, look, markers=6)
    if live is not None and figure in live["runs"].get(arm, {}):
        now = live["runs"][arm][figure][0]
        ax.plot(live["stops"], now, "x", color=line.get_color(), markersize=6, markeredgewidth=1.6)
