"""The charts that lessons share: curves with their interval over seeds, bars, labels at the lines' ends or below."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from toykit._checks import one_of
from toykit.diagnostics import t_quantile
from toykit.plots.style import Role, look


def mean_interval(runs: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean [...] and half width [...] of the 95 % t interval over the seeds of `runs` [seeds, ...].

    The half width is 0 for a single seed: there is nothing to estimate it from.
    """
    values = np.asarray(runs, dtype=float)
    if values.ndim == 0 or values.shape[0] == 0:
        raise ValueError(f"runs must have shape [seeds, ...] with at least one seed, got {list(values.shape)}")
    n = values.shape[0]
    if n == 1:
        return values[0], np.zeros_like(values[0])
    return values.mean(0), t_quantile(0.95, n - 1) * values.std(0, ddof=1) / math.sqrt(n)


def curve_with_interval(
    ax: Axes, x: Any, runs: Any, label: str = "", role: str | Role = "", markers: int = 7
) -> Line2D:
    """Draws the mean of `runs` [seeds, steps] against `x` [steps] with its 95 % band, and returns the line.

    `role` is a role's or a method's name, or a `Role` (without it, the label is looked up); about `markers` markers
    are drawn, so that lines differ without their colours.
    """
    x, (mean, half) = np.asarray(x, dtype=float), mean_interval(runs)
    if x.shape != mean.shape:
        raise ValueError(f"x must have one entry a step, got {list(x.shape)} for runs with {list(mean.shape)}")
    how = look(role or label)
    every = max(1, len(x) // max(1, markers))
    (line,) = ax.plot(
        x, mean, label=label, color=how.color, linestyle=how.linestyle, marker=how.marker, markevery=every
    )
    if half.any():
        ax.fill_between(x, mean - half, mean + half, color=how.color, alpha=0.18, linewidth=0)
    return line


def legend_below(made: Figure, axes: Axes | Iterable[Axes], **style: Any) -> None:
    """One legend below all panels for the labels of `axes`, each once; `style` are arguments of `Figure.legend`."""
    panels = [axes] if isinstance(axes, Axes) else axes
    shown = {label: line for ax in panels for line, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    made.legend(shown.values(), shown.keys(), loc="outside lower center", **style)


LAYOUTS = ("grouped", "plain", "overlay", "stacked")


def bars(
    ax: Axes,
    series: Mapping[str, Any],
    labels: Sequence[str] | None = None,
    layout: str = "grouped",
    roles: Mapping[str, str | Role] | None = None,
) -> None:
    """Draws named series of n values as bars: side by side, laid over each other, or stacked.

    The look of each comes from its name (or from `roles`). "plain" is side by side too, each series as one shape, which
    draws fast enough for an explorer. "overlay" fills the first and outlines the others, which
    stays readable with many bars; "stacked" piles positive parts upwards and negative ones downwards. `labels` name
    the n places.
    """
    one_of("layout", layout, LAYOUTS)
    values = {name: np.asarray(v, dtype=float).ravel() for name, v in series.items()}
    counts = {v.size for v in values.values()}
    if len(counts) != 1:
        raise ValueError(f"series must have the same number of values, got {sorted(counts)}")
    n = counts.pop()
    looks = {name: look((roles or {}).get(name, name)) for name in values}
    if layout == "plain":
        _shapes(ax, values, looks)
    elif layout == "overlay":
        _overlay(ax, values, looks, n)
    else:
        _boxes(ax, values, looks, layout == "stacked")
    ax.grid(False, axis="x")
    if labels is not None:
        ax.set_xticks(range(n), labels)
    elif n <= 12:
        ax.set_xticks(range(n))
    room = 0.5 if n > 1 else 0.8  # a single bar looks better thin
    ax.set_xlim(-room, n - 1 + room)


def _overlay(ax: Axes, values: Mapping[str, np.ndarray], looks: Mapping[str, Role], n: int) -> None:
    edges = np.arange(n + 1) - 0.5
    for i, (name, v) in enumerate(values.items()):
        how = looks[name]
        if i == 0:
            ax.stairs(v, edges, fill=True, facecolor=how.color, alpha=0.35, label=name)
        else:
            ax.stairs(v, edges, edgecolor=how.color, linestyle=how.linestyle, linewidth=1.6, label=name)


def _shapes(ax: Axes, values: Mapping[str, np.ndarray], looks: Mapping[str, Role]) -> None:
    width = 0.8 / len(values)
    for i, (name, v) in enumerate(values.items()):
        how, start = looks[name], np.arange(v.size) + (i - len(values) / 2) * width
        edges = np.stack([start, start + width], 1).ravel()
        heights = np.stack([v, np.zeros_like(v)], 1).ravel()[:-1]
        ax.stairs(heights, edges, fill=True, facecolor=how.color, edgecolor="white", hatch=how.hatch, label=name)


def _boxes(ax: Axes, values: Mapping[str, np.ndarray], looks: Mapping[str, Role], stacked: bool) -> None:
    width = 0.72 if stacked else 0.8 / len(values)
    up = down = 0.0
    for i, (name, v) in enumerate(values.items()):
        how, place = looks[name], np.arange(v.size) + (0.0 if stacked else (i - (len(values) - 1) / 2) * width)
        bottom = np.where(v >= 0, up, down) if stacked else 0.0
        ax.bar(
            place,
            v,
            width * 0.94,
            bottom,
            facecolor=_mixed(how.color, "white", 0.25),
            edgecolor=_mixed(how.color, "black", 0.35),
            hatch=how.hatch,
            linewidth=0.8,
            label=name,
        )
        if stacked:
            up, down = up + np.clip(v, 0, None), down + np.clip(v, None, 0)
    ax.axhline(0, color="#444444", linewidth=0.8)


def label_lines(ax: Axes, size: float = 9) -> None:
    """Writes each labelled line's name at its right end, pushed apart where ends meet. Call it last, for a legend."""
    lines = [
        line for line in ax.lines if not str(line.get_label()).startswith("_") and np.isfinite(line.get_ydata()).any()
    ]
    points = ax.figure.dpi / 72
    ends, limits = [], ax.get_ylim()
    for line in lines:
        x, y = (np.asarray(v, dtype=float) for v in line.get_data())
        last = np.flatnonzero(np.isfinite(y))[-1]
        inside = float(np.clip(y[last], min(limits), max(limits)))
        ends.append((float(ax.transData.transform((x[last], inside))[1]) / points, x[last], inside, line))
    wanted = [end[0] for end in ends]
    for (_, x_end, y_end, line), rise in zip(ends, spread(wanted, size * 1.25) - np.array(wanted), strict=True):
        ax.annotate(
            str(line.get_label()),
            (x_end, y_end),
            xytext=(6, float(rise)),
            textcoords="offset points",
            va="center",
            fontsize=size,
            color=_mixed(line.get_color(), "black", 0.3),
            annotation_clip=False,
        )


def spread(places: Sequence[float], gap: float) -> np.ndarray:
    """The places moved as little as they must so that no two are nearer than `gap`, in the same order.

    Least squares under an ordering constraint: after `gap` times the rank is subtracted it is isotonic regression.
    """
    order = np.argsort(places, kind="stable")
    blocks: list[tuple[float, int]] = []  # (mean, size) of runs that move together
    for rank, i in enumerate(order):
        mean, size = places[i] - gap * rank, 1
        while blocks and blocks[-1][0] >= mean:
            before, n = blocks.pop()
            mean, size = (before * n + mean * size) / (n + size), n + size
        blocks.append((mean, size))
    moved = np.empty(len(places))
    moved[order] = np.repeat([m for m, _ in blocks], [n for _, n in blocks]) + gap * np.arange(len(places))
    return moved


def _mixed(color: Any, other: Any, share: float) -> tuple[float, float, float]:
    a, b = to_rgb(color), to_rgb(other)
    mixed = [(1 - share) * x + share * y for x, y in zip(a, b, strict=True)]
    return mixed[0], mixed[1], mixed[2]
