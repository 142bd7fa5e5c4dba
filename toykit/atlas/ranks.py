"""How far one rung predicts another: rank correlations over the methods, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from toykit.diagnostics import rank_correlation

RESAMPLES = 2000
LEVEL = 0.95
FEWEST = 8  # methods; of fewer, resamples say little


def averages(results: Mapping[str, Any], rung: str, measure: str) -> dict[str, list[float]]:
    """{method: [the mean over the problems for each seed]} of a measure; without methods that failed on a problem."""
    found = {}
    for name, one in results["methods"].items():
        trained = list(one["rungs"][rung].values())
        if not any("failed" in at for at in trained):
            columns = zip(*(at["figures"][measure] for at in trained), strict=True)
            found[name] = [sum(column) / len(column) for column in columns]
    return found


def on_problem(results: Mapping[str, Any], rung: str, measure: str, problem: str) -> dict[str, list[float]]:
    """{method: [a value a seed]} of a measure on one problem; without methods that failed there."""
    trained = {name: one["rungs"][rung][problem] for name, one in results["methods"].items()}
    return {name: at["figures"][measure] for name, at in trained.items() if "failed" not in at}


def correlation(x: Sequence[float], y: Sequence[float], seed: int = 0) -> dict[str, Any] | None:
    """Spearman's rank correlation of two figures of n methods, with a bootstrap interval over the methods.

    Returns {"rho", "low", "high", "n"}: the percentiles of `RESAMPLES` resamples of the methods, those left out in
    which all values of one figure are equal. None for fewer than `FEWEST` methods, and where a figure is the same for
    all of them.
    """
    a, b = (torch.tensor(v, dtype=torch.float64) for v in (x, y))
    if len(a) < FEWEST or bool((a == a[0]).all()) or bool((b == b[0]).all()):
        return None
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(a), (RESAMPLES, len(a)), generator=draw)
    resampled = rank_correlation(a[rows], b[rows])
    resampled = resampled[resampled.isfinite()]
    low, high = resampled.quantile(torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)).tolist()
    return {"rho": float(rank_correlation(a, b)), "low": low, "high": high, "n": len(a)}


def between(first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]]) -> dict[str, Any] | None:
    """`correlation` of the means over seeds of the methods that both have."""
    names = [name for name in first if name in second]
    x, y = ([sum(of[name]) / len(of[name]) for name in names] for of in (first, second))
    return correlation(x, y)


def halves(values: Mapping[str, Sequence[float]]) -> dict[str, Any] | None:
    """`correlation` of a rung with itself, the first half of the seeds against the others: no other can predict it
    better than another draw of it does."""
    first = {name: v[: len(v) // 2] for name, v in values.items()}
    return between(first, {name: v[len(v) // 2 :] for name, v in values.items()})


def finding(results: Mapping[str, Any]) -> dict[str, Any]:
    """The exact rung against the gpt rung, by measure.

    {"all": ..., "kinds": {kind: ...}, "problems": {problem: ...}, "halves": {rung: ...}} of what `correlation` gives:
    of the means over the problems, of the methods of one kind alone, of one problem, of one half of a rung's seeds with
    the other.
    """
    methods = results["methods"]
    kinds = sorted({one["kind"] for one in methods.values()}, reverse=True)
    found = {}
    for measure in results["settings"]["measures"]:
        exact, gpt = (averages(results, rung, measure) for rung in ("exact", "gpt"))
        alone = {kind: {name: v for name, v in exact.items() if methods[name]["kind"] == kind} for kind in kinds}
        each = {
            problem: between(*(on_problem(results, rung, measure, problem) for rung in ("exact", "gpt")))
            for problem in results["problems"]
        }
        found[measure] = {
            "all": between(exact, gpt),
            "kinds": {kind: between(of, gpt) for kind, of in alone.items()},
            "problems": each,
            "halves": {"exact": halves(exact), "gpt": halves(gpt)},
        }
    return found
