"""The curves of an audit: six panels, each left out where it was not measured."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toykit.audit.report import Audit
from toykit.plots.style import BLUE, GREY, ORANGE, VERMILION, figure

Row = Mapping[str, Any]


def figures(found: Audit) -> Figure | None:
    """One figure with what has been measured over a range; None where nothing was.

    Difficulty, length, the growth of right completions, group size, the response to a ratio, and bias off policy.
    """
    known = {p.name: p.measured for p in found.properties if isinstance(p.measured, Mapping)}
    drawn = [(draw, known) for names, draw in PANELS if all(name in known for name in names)]
    if not drawn:
        return None
    columns = min(3, len(drawn))
    rows = -(-len(drawn) // columns)
    alt = f"What was measured of {found.objective}, over ranges: " + "; ".join(p.detail for p in _shown(found))
    made, _ = figure(columns, rows, width=3.4 * columns, height=2.9, alt=alt, squeeze=False)
    for ax, (draw, row) in zip(made.axes, drawn, strict=False):
        draw(ax, row)
    for ax in made.axes[len(drawn) :]:
        ax.set_visible(False)
    return made


def _shown(found: Audit) -> list[Any]:
    wanted = [name for names, _ in PANELS for name in names]
    return [p for p in found.properties if p.name in wanted]


def _difficulty(ax: Axes, known: Row) -> None:
    row = known["difficulty.weight"]
    ax.plot(row["p"], row["weight"], color=BLUE, marker="o", label="measured")
    ax.plot(row["p"], row["curves"]["1: the gradient of E[r]"], color=GREY, linestyle="--", label="constant")
    ax.set(title="Weight of a prompt", xlabel="its success probability p")
    _from_zero(ax, row["weight"])
    ax.legend()


def _lengths(ax: Axes, known: Row) -> None:
    seen: list[float] = []
    for kind, color, marker, line in (("correct", BLUE, "o", "-"), ("wrong", VERMILION, "s", "--")):
        weight = known[f"lengths.weight.{kind}"]["weight"]
        pairs = [(int(n), w) for n, w in weight.items() if w is not None]
        ax.plot([n for n, _ in pairs], [w for _, w in pairs], color=color, marker=marker, linestyle=line, label=kind)
        seen += [w for _, w in pairs]
    ax.axhline(1, color=GREY, linestyle=":", linewidth=1.2)
    ax.set(title="Push on a token, by length", xlabel="tokens of its completion", xticks=[1, 2, 3])
    _from_zero(ax, seen)
    ax.legend()


def _growth(ax: Axes, known: Row) -> None:
    row = known["winner.growth"]
    ax.plot(row["probability"], row["growth"], color=BLUE, marker="o", label="measured")
    ax.plot(row["probability"], row["along_reward"], color=GREY, linestyle="--", marker="s", label="along E[r]")
    ax.axhline(0, color="#444444", linewidth=0.8)
    ax.set(title="Growth of right completions", xlabel="probability", ylabel="d log p in a step")
    ax.legend()


def _scale(ax: Axes, known: Row) -> None:
    row = {int(g): c for g, c in known["groups.scale"].items()}
    ax.plot(list(row), list(row.values()), color=BLUE, marker="o")
    ax.set(title="Size of the update", xlabel="group size G", ylabel="times the gradient of E[r]")
    _from_zero(ax, row.values())


def _clip(ax: Axes, known: Row) -> None:
    row = known["offpolicy.clip"]
    for kind, color, line in (("right", BLUE, "-"), ("wrong", VERMILION, "--")):
        pairs = [(x, y) for x, y in zip(row["ratio"], row[kind], strict=True) if 0.24 < x < 4.1]
        ax.plot([x for x, _ in pairs], [y for _, y in pairs], color=color, linestyle=line, label=kind)
    ax.axvline(1, color=GREY, linestyle=":", linewidth=1.2)
    ax.set(title="Push, by the ratio to the old policy", xlabel="ratio", xscale="log")
    ax.set_xticks([0.25, 0.5, 1, 2, 4], ["1/4", "1/2", "1", "2", "4"])
    ax.minorticks_off()
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.3 * (high - low))  # room for the legend
    ax.legend(loc="upper center", ncols=2)


def _offpolicy(ax: Axes, known: Row) -> None:
    row = known["offpolicy.bias"]
    ax.plot(row["age"], row["bias"], color=BLUE, marker="o", label="bias, relative")
    ax.plot(row["age"], row["variance"], color=ORANGE, marker="s", linestyle="--", label="variance, times")
    ax.set(title="On old completions", xlabel="steps old")
    _from_zero(ax, [*row["bias"], *row["variance"]])
    ax.legend()


def _from_zero(ax: Axes, values: Collection[float]) -> None:
    """Limits that hold 0 and all values, with some room."""
    low, high = min(0.0, *values), max(0.0, *values)
    room = 0.08 * (high - low or 1.0)
    ax.set_ylim(low - room * (low < 0), high + room)


PANELS: tuple[tuple[tuple[str, ...], Callable[[Axes, Row], None]], ...] = (
    (("difficulty.weight",), _difficulty),
    (("lengths.weight.correct", "lengths.weight.wrong"), _lengths),
    (("winner.growth",), _growth),
    (("groups.scale",), _scale),
    (("offpolicy.clip",), _clip),
    (("offpolicy.bias",), _offpolicy),
)
