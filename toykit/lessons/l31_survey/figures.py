"""The figures of lesson 31: the map of the field, drawn from the catalogue, and a picture of each rung's results."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from toykit.diagnostics import interval
from toykit.lessons.base import Results
from toykit.lessons.compare import last
from toykit.lessons.l31_survey.explorer import method_explorer, method_figure, method_words
from toykit.lessons.l31_survey.sampled import ARMS
from toykit.objectives import entries
from toykit.plots import describe, figure, panel_labels
from toykit.plots.style import BLACK, CYCLE, GREY, VERMILION

__all__ = [
    "field_map",
    "map_figure",
    "method_explorer",
    "method_figure",
    "method_words",
    "methods_figure",
    "optima_figure",
]

# Names side by side in the map's columns, and the columns' widths; what is not named here has one, and is 1 wide.
ACROSS, WIDTHS = {entries.NO_CRITIC: 2}, {entries.NO_CRITIC: 2.4, entries.MODEL: 1.3, entries.PIPELINE: 1.1}
HEADS = {
    entries.NO_CRITIC: "policy gradient\nwithout a critic",
    entries.CRITIC: "with a\ncritic",
    entries.MATCHING: "distribution\nmatching",
    entries.PREFERENCE: "direct\npreference",
    entries.LIKELIHOOD: "maximum\nlikelihood",
    entries.MODEL: "reward model",
    entries.VALUE: "offline\nvalues",
    entries.PIPELINE: "several\nin a row",
}


def field_map() -> dict[tuple[str, str], list[tuple[str, str]]]:
    """{(reward source, optimiser): [(method, density), ...]}, of every method of the catalogue."""
    cells: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for name in entries.names():
        of = entries.entry(name)
        cells.setdefault((of.reward, of.optimiser), []).append((name, of.density))
    return cells


def map_figure() -> Figure:
    """The map: where the reward comes from (rows) by how it is optimised (columns); rewards of steps are marked."""
    cells = field_map()
    sources = list(dict.fromkeys(source for source, _ in cells))
    across = [ACROSS.get(way, 1) for way in entries.OPTIMISERS]
    left = np.cumsum([0, *(WIDTHS.get(way, 1) for way in entries.OPTIMISERS)])

    def lines(source: str) -> int:
        return max(-(-len(cells.get((source, w), ())) // n) for w, n in zip(entries.OPTIMISERS, across, strict=True))

    top = np.cumsum([0, *(lines(source) + 0.5 for source in sources)])
    made, ax = figure(1, height=0.155 * top[-1] + 0.9, width=9.6)
    for i, source in enumerate(sources):
        for j, way in enumerate(entries.OPTIMISERS):
            for k, (name, density) in enumerate(cells.get((source, way), ())):
                x, y = left[j] + 0.06 + k % across[j] * 1.2, top[i] + 0.75 + k // across[j]
                ink, style = (BLACK, "normal") if density in ("outcome", "-") else (VERMILION, "italic")
                ax.text(x, y, name, fontsize=6.6, va="center", color=ink, style=style)
    ax.hlines(top[1:-1], 0, left[-1], color="#DDDDDD", linewidth=0.8)
    ax.vlines(left[1:-1], 0, top[-1], color="#DDDDDD", linewidth=0.8)
    ax.set(xlim=(0, left[-1]), ylim=(top[-1], 0))
    ax.set_yticks((top[:-1] + top[1:]) / 2, sources, fontsize=7.5)
    ax.set_xticks((left[:-1] + left[1:]) / 2, [HEADS[way] for way in entries.OPTIMISERS], fontsize=7.5)
    ax.tick_params(length=0, labeltop=True, labelbottom=False)
    ax.set_xlabel("rows: source of the reward; columns: how it is optimised; red italics: a reward for each step")
    ax.xaxis.label.set_size(8)
    ax.grid(False)
    words = [f"{s} by {w}: {', '.join(name for name, _ in found)}" for (s, w), found in cells.items()]
    return describe(made, "The map of the field. " + "; ".join(words) + ".")


def optima_figure(results: Results) -> Figure:
    """Where DPO and IPO go with certain preferences, what the group's statistics do to the mean, and the noise."""
    made, (first, second, third) = figure(3, height=2.9, width=9.2)
    found, sizes = results["certain"], results["sizes"]
    first.plot(found["steps"], [1 - p for p, _ in found["dpo"]], color=CYCLE[0].color, label="DPO")
    first.axhline(1 - found["ipo"][0], color=CYCLE[1].color, linestyle="--", label="IPO's optimum")
    first.set(title="mass off the best answer", xlabel="steps", xscale="log", yscale="log", ylim=(1e-6, 2))
    first.legend(loc="lower left")
    g = np.array(sizes["size"])
    rows = {"group std": sizes["group std"]["ratio"], "RLOO": sizes["RLOO"]["ratio"], "centred": (g - 1) / g}
    for how, (label, values) in zip(CYCLE, rows.items(), strict=False):
        second.plot(g, values, color=how.color, linestyle=how.linestyle, marker=how.marker, label=label)
    second.axhline(sizes["1/std"], color=GREY, linestyle=":", label="1/std")
    second.set(title="mean gradient over the true one", xlabel="group size G", ylim=(0, 3.2))
    second.legend(loc="upper left", ncols=2)
    for how, name in zip((CYCLE[1], CYCLE[3]), ("RLOO", "REINFORCE"), strict=True):
        noise = np.sqrt(sizes[name]["variance"])
        third.plot(g, noise, color=how.color, linestyle=how.linestyle, marker=how.marker, label=name)
    third.plot(g, noise[-1] * np.sqrt(g[-1] / g), color=GREY, linestyle=":", linewidth=3, zorder=0, label="1/sqrt(G)")
    third.set(title="noise of the gradient", xlabel="group size G", yscale="log", ylim=(0.02, 1))
    third.legend(loc="upper right")
    for ax in (second, third):
        ax.set_xscale("log")
        ax.set_xticks(g, [str(x) for x in g])
        ax.minorticks_off()
    panel_labels((first, second, third))
    return made


PANELS = {"accuracy": "held-out accuracy", "kl": "KL to the base, nats", "entropy": "entropy of an answer, nats"}


def methods_figure(results: Results) -> Figure:
    """Every method at the last update: mean and 95 % interval over the seeds; dotted: where all began."""
    names = [name for name in ARMS if name in results["runs"]]
    made, axes = figure(3, height=0.22 * len(names) + 0.9, width=9.2, widths=(1.3, 1, 1))
    place = -np.arange(len(names))
    for ax, (figure_name, title) in zip(axes, PANELS.items(), strict=True):
        for y, name in zip(place, names, strict=True):
            values = last(results, name, figure_name)
            mean = float(np.mean(values))
            if len(values) > 1:
                at = interval(values)
                ax.plot([at.low, at.high], [y, y], "-", color=CYCLE[0].color, linewidth=2)
            ax.plot(mean, y, "o", color=CYCLE[0].color, markersize=5)
        start = [results["runs"][name][figure_name][0][0] for name in names]
        ax.axvline(float(np.median(start)), color=GREY, linestyle=":")
        ax.set(title=title, ylim=(place[-1] - 0.6, 0.6))
        ax.set_yticks(place, names if ax is axes[0] else [""] * len(names))
    panel_labels(axes)
    return made
