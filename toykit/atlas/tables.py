"""The atlas as tables and sentences, drawn from its results alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toykit.atlas.kept import missing
from toykit.atlas.ranks import averages
from toykit.diagnostics import Interval, interval
from toykit.plots.tables import Table

DASH = "–"
SIGNS = {"exact": "=", "biased": "≠", "fault": "✗", "note": "·", "-": ""}
"""What stands for a verdict of an audit in the matrix."""


def intervals(results: Mapping[str, Any], rung: str, measure: str) -> dict[str, Interval]:
    """{method: the mean over problems and seeds with its 95 % interval over seeds} of a measure."""
    return {name: interval(values) for name, values in averages(results, rung, measure).items()}


def figures_table(results: Mapping[str, Any], rung: str) -> Table:
    """A line a method: each measure's mean over the problems, with the half width of its interval over the seeds."""
    measures = list(results["settings"]["measures"])
    known = {measure: intervals(results, rung, measure) for measure in measures}
    rows = tuple((name, one["kind"], *(_cell(known[m].get(name)) for m in measures)) for name, one in _methods(results))
    seeds = results["settings"]["seeds"]
    caption = f"{rung} rung: means over the problems after {results['settings']['steps']} updates, {seeds} seeds, 95 %"
    return Table(("method", "kind", *measures), (_start(results, rung), *rows), caption)


def finding_table(results: Mapping[str, Any]) -> Table:
    """A line a measure: the rank correlation of the rungs with its interval, also of methods of one kind alone, on each
    problem alone, and of a rung with itself."""
    problems, first = list(results["problems"]), next(iter(results["finding"].values()))
    kinds = list(first["kinds"])
    columns = (
        "measure",
        "all",
        *(f"{kind} alone" for kind in kinds),
        *problems,
        "exact with itself",
        "gpt with itself",
    )
    rows = tuple(
        (
            measure,
            correlated(found["all"]),
            *(correlated(found["kinds"][kind]) for kind in kinds),
            *(correlated(found["problems"][p]) for p in problems),
            *(correlated(found["halves"][rung]) for rung in ("exact", "gpt")),
        )
        for measure, found in results["finding"].items()
    )
    return Table(columns, rows, "Spearman's rank correlation over the methods, exact rung with gpt rung")


def sheets(results: Mapping[str, Any]) -> tuple[tuple[str, ...], dict[str, dict[str, dict[str, str]]]]:
    """(the properties that some audit has, {method: {property: {"verdict", "detail"}}}) of the methods audited."""
    found = {name: one["audit"]["properties"] for name, one in _methods(results) if one["audit"] is not None}
    return tuple(dict.fromkeys(p for sheet in found.values() for p in sheet)), found


def sentence(results: Mapping[str, Any]) -> str:
    """The first finding in words: how far the exact rung predicts the gpt rung."""
    parts = [f"{measure} {correlated(found['all'])}" for measure, found in results["finding"].items()]
    first = next((found["all"] for found in results["finding"].values() if found["all"]), None)
    n = len(results["methods"]) if first is None else first["n"]
    measure, found = next(iter(results["finding"].items()))
    alone = ", ".join(f"{kind} {correlated(of)}" for kind, of in found["kinds"].items())
    return (
        f"How far does the exact rung predict the gpt rung? Rank correlation over {n} methods, of means over the "
        f"problems, with 95 % bootstrap intervals: {'; '.join(parts)}. Of "
        f"methods of one kind alone, in {measure}: {alone}."
    )


def absences(results: Mapping[str, Any]) -> list[str]:
    """What is not there, and why: methods left out, not yet recorded, not audited, and runs that failed."""
    said = [f"{name} is left out: {why}" for name, why in results["left_out"].items()]
    if absent := missing(results):
        said.append(f"in the catalogue and not in these results, until toykit atlas is run: {', '.join(absent)}")
    why = {name: one["unaudited"] for name, one in _methods(results) if one["audit"] is None}
    said += [f"not audited, {w}: {', '.join(n for n in why if why[n] == w)}" for w in dict.fromkeys(why.values())]
    for name, one in _methods(results):
        for rung, trained in one["rungs"].items():
            said += [f"{name} failed on {rung}, {p}: {at['failed']}" for p, at in trained.items() if "failed" in at]
    return said


def correlated(found: Mapping[str, Any] | None) -> str:
    """ "0.81 [0.62, 0.90]"."""
    return DASH if found is None else f"{found['rho']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def _methods(results: Mapping[str, Any]) -> Sequence[tuple[str, Any]]:
    return list(results["methods"].items())


def reference(results: Mapping[str, Any], rung: str, measure: str) -> float:
    """A measure of the reference policies, the mean over the problems."""
    values = [problem["reference"][rung][measure] for problem in results["problems"].values()]
    return sum(values) / len(values)


def _start(results: Mapping[str, Any], rung: str) -> tuple[str, ...]:
    measures = results["settings"]["measures"]
    return ("reference", "untrained", *(f"{reference(results, rung, m):.3f}" for m in measures))


def _cell(found: Interval | None) -> str:
    return DASH if found is None else f"{found.mean:.3f} ± {found.high - found.mean:.3f}"
