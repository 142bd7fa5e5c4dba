"""What an audit finds: one property a line, with its number and a verdict."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from toykit._checks import one_of
from toykit.plots.tables import number

EXACT, BIASED, FAULT, NOTE, NONE = "exact", "biased", "fault", "note", "-"
VERDICTS = {
    EXACT: "agrees with what is expected",
    BIASED: "differs from what is expected, by what is measured",
    FAULT: "no loss should do this",
    NOTE: "a number without a right or wrong",
    NONE: "does not apply",
}
LEAK = 1e-4  # share of a push that is not linear in its own reward; the eps of a standard deviation makes 1e-6 of it
SAME = 1e-6  # relative difference below which two exact gradients are the same; rounding is 1e-10 of it


@dataclass(frozen=True)
class Property:
    """A measured property: `measured` and `expected` are JSON, `problem` can be rebuilt by its name."""

    name: str
    verdict: str
    measured: Any
    expected: Any
    problem: str
    detail: str

    def __post_init__(self) -> None:
        one_of("verdict", self.verdict, VERDICTS)

    def row(self) -> dict[str, Any]:
        return asdict(self)


def same(error: float) -> str:
    """The verdict on a relative error."""
    return EXACT if error < SAME else BIASED


def relative(found: Tensor, wanted: Tensor) -> float:
    """||found - wanted|| / ||wanted||, inf where only the latter is 0."""
    size, away = float(wanted.norm()), float((found - wanted).norm())
    return away / size if size > 0 else (torch.inf if away > 0 else 0.0)


def cosine(a: Tensor, b: Tensor) -> float:
    """The cosine of the angle between two tensors, 0 where one of them is 0."""
    size = float(a.norm() * b.norm())
    return float((a * b).sum()) / size if size > 0 else 0.0


@dataclass(frozen=True)
class Fit:
    """The nearest combination of some tensors: their weights, the relative error that is left, and the cosine."""

    weights: tuple[float, ...]
    error: float
    cosine: float


def fit(found: Tensor, *parts: Tensor) -> Fit:
    """Least squares of `found` on `parts`; the error is relative to `found`."""
    design = torch.stack([part.flatten() for part in parts], -1)
    solution = torch.linalg.lstsq(design, found.flatten()[:, None], driver="gelsd").solution[:, 0]
    near = (design @ solution).view_as(found)
    size = float(found.norm())
    error = float((found - near).norm()) / size if size > 0 else 0.0
    return Fit(tuple(solution.tolist()), error, cosine(found, near))


def short(value: float) -> str:
    """A number in a sentence: three significant digits, and 0 for what rounding leaves."""
    return "0" if abs(value) < 1e-12 else number(float(value), 3)
