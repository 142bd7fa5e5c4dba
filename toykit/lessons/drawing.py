"""What the figures of several lessons share: the runs of a comparison, recorded and live."""

from __future__ import annotations

import numpy as np
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


def draw_against(ax: Axes, results: Results, arm: str, x: str, y: str, how: Role, live: Results | None = None) -> None:
    """The way of an arm's means over its seeds in two figures, without a label; `live` as crosses."""
    runs = results["runs"][arm]
    ax.plot(*(np.mean(runs[k], axis=0) for k in (x, y)), color=how.color, linestyle=how.linestyle, marker=how.marker)
    if live is not None and arm in live["runs"]:
        now = (live["runs"][arm][k][0] for k in (x, y))
        ax.plot(*now, "x", color=how.color, markersize=6, markeredgewidth=1.6)
