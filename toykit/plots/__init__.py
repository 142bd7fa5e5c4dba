"""How is it seen? The house style, the charts that lessons share, tables, and explorers."""

from toykit.plots.canvas import wipe
from toykit.plots.charts import bars, curve_with_interval, label_lines, legend_below, mean_interval
from toykit.plots.controls import Choice, Slider
from toykit.plots.explorer import Explorer, explore
from toykit.plots.images import png
from toykit.plots.style import (
    Role,
    alt_text,
    context,
    describe,
    figure,
    method,
    panel_labels,
    role,
    use,
)
from toykit.plots.tables import Table, claims_table, table

__all__ = [
    "Choice",
    "Explorer",
    "Role",
    "Slider",
    "Table",
    "alt_text",
    "bars",
    "claims_table",
    "context",
    "curve_with_interval",
    "describe",
    "explore",
    "figure",
    "label_lines",
    "legend_below",
    "mean_interval",
    "method",
    "panel_labels",
    "png",
    "role",
    "table",
    "use",
    "wipe",
]
