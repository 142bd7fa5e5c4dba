"""The atlas as figures: the measures of every method with their intervals, and one rung against the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from toykit.atlas.tables import SIGNS, correlated, intervals, reference, sentence, sheets
from toykit.plots.charts import legend_below
from toykit.plots.style import BLUE, GREY, VERMILION, figure

LOOKS = {"exact": (BLUE, "o", BLUE), "gpt": (VERMILION, "s", "white")}  # colour, marker, filled with
SHADES = {"exact": "#d9efe6", "biased": "#fbeccb", "fault": "#f6d5c3", "note": "#e8edf3"}
KINDS = {"on policy": (BLUE, "o"), "offline": (VERMILION, "s")}


def measures(results: Mapping[str, Any]) -> Figure:
    """A line a method, a panel a measure: means over the problems with 95 % intervals over the seeds, on both rungs."""
    names, shown = list(results["methods"]), list(results["settings"]["measures"])
    alt = "A line for each method and a panel for each measure, with intervals, on the exact and on the gpt rung."
    high = 1.3 + 0.2 * len(names)
    made, axes = figure(len(shown), 1, width=11.0, height=high, alt=alt, sharey=True, squeeze=False)
    for ax, measure in zip(axes[0], shown, strict=True):
        for rung, (color, marker, fill) in LOOKS.items():
            known = intervals(results, rung, measure)
            at = [i + (0.14 if rung == "gpt" else -0.14) for i, name in enumerate(names) if name in known]
            means = [known[name].mean for name in names if name in known]
            half = [known[name].high - known[name].mean for name in names if name in known]
            style = {"fmt": marker, "color": color, "markerfacecolor": fill, "markersize": 3.5, "elinewidth": 1.1}
            ax.errorbar(means, at, xerr=half, label=rung, **style)
        ax.axvline(reference(results, "exact", measure), color=GREY, linestyle=":", linewidth=1.2, label="reference")
        ax.set(title=measure, ylim=(len(names) - 0.4, -0.6))
        ax.xaxis.set_major_locator(MaxNLocator(4))
    axes[0, 0].set_yticks(range(len(names)), names)
    legend_below(made, axes[0, 0], ncols=3)
    return made


def prediction(results: Mapping[str, Any]) -> Figure:
    """A panel a measure, a mark a method: the gpt rung against the exact one; and all rank correlations."""
    shown = list(results["settings"]["measures"])
    rows = -(-(len(shown) + 1) // 3)
    made, _ = figure(3, rows, width=9.5, height=2.7, alt=sentence(results), squeeze=False)
    for ax, measure in zip(made.axes, shown, strict=False):
        _against(ax, results, measure)
    _correlations(made.axes[len(shown)], results, shown)
    for ax in made.axes[len(shown) + 1 :]:
        ax.set_visible(False)
    return made


def verdicts(results: Mapping[str, Any]) -> Figure:
    """The audits: a line a method, a column a property, a sign on a shade for each verdict."""
    columns, audited = sheets(results)
    faults = [f"{name} in {c}" for name, sheet in audited.items() for c, p in sheet.items() if p["verdict"] == "fault"]
    alt = f"The audits' verdicts, methods by properties. Faults: {', '.join(faults) or 'none'}."
    made, ax = figure(1, 1, width=11.0, height=2.4 + 0.2 * len(audited), alt=alt)
    for y, sheet in enumerate(audited.values()):
        for x, column in enumerate(columns):
            verdict = sheet[column]["verdict"] if column in sheet else "-"
            if verdict in SHADES:
                ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=SHADES[verdict], edgecolor="white"))
            ax.text(x, y, SIGNS[verdict], ha="center", va="center", fontsize=9)
    ax.set_xticks(range(len(columns)), columns, rotation=90)
    ax.set_yticks(range(len(audited)), list(audited))
    ax.set(
        xlim=(-0.5, len(columns) - 0.5),
        ylim=(len(audited) - 0.5, -0.5),
        title="   ".join(f"{SIGNS[v]} {v}" for v in SHADES),
    )
    ax.grid(False)
    return made


def _against(ax: Axes, results: Mapping[str, Any], measure: str) -> None:
    exact, gpt = (intervals(results, rung, measure) for rung in ("exact", "gpt"))
    for kind, (color, marker) in KINDS.items():
        names = [n for n, one in results["methods"].items() if one["kind"] == kind and n in exact and n in gpt]
        x, y = ([of[name].mean for name in names] for of in (exact, gpt))
        ax.plot(x, y, linestyle="", marker=marker, color=color, markersize=4.5, alpha=0.75, label=kind)
    start = [reference(results, rung, measure) for rung in ("exact", "gpt")]
    ax.plot(*([v] for v in start), linestyle="", marker="*", color="black", markersize=9, label="reference")
    ax.set(title=f"{measure}\nρ = {correlated(results['finding'][measure]['all'])}", xlabel="exact", ylabel="gpt")
    if measure == next(iter(results["settings"]["measures"])):
        ax.legend(loc="best", handletextpad=0.2, handlelength=1.2)


def _correlations(ax: Axes, results: Mapping[str, Any], shown: list[str]) -> None:
    for i, measure in enumerate(shown):
        found = results["finding"][measure]["all"]
        if found is None:
            continue
        low, high = found["rho"] - found["low"], found["high"] - found["rho"]
        ax.errorbar([found["rho"]], [i], xerr=[[max(low, 0.0)], [max(high, 0.0)]], fmt="o", color=BLUE, elinewidth=1.4)
    ax.axvline(0, color=GREY, linestyle=":", linewidth=1.2)
    ax.set(
        title="Rank correlation\nover the methods, 95 %",
        ylim=(len(shown) - 0.5, -0.5),
        xlim=(min(ax.get_xlim()[0], -0.05), 1.04),
    )
    ax.set_yticks(range(len(shown)), shown)
