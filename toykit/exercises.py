"""Exercises that name the mistake: an answer is compared with a reference and with the usual wrong versions."""

from __future__ import annotations

import contextlib
import copy
import html
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from toykit._checks import one_of, positive


@dataclass(frozen=True)
class Mistake:
    """A usual wrong answer (a function, or a value), and one sentence that says what is wrong with it."""

    message: str
    wrong: Any


@dataclass(frozen=True)
class Case:
    """Arguments that a function answer is tried on; `label` says what is special about them."""

    args: tuple[Any, ...]
    label: str = ""


@dataclass(frozen=True)
class Exercise:
    """A question with its answer: a function tried on `cases`, or without cases a value (number, array or text).

    A case on which the reference raises demands the same exception of the answer. `tolerance` is absolute below 1
    and relative above; `reason` is told with a right answer. Cases stand in the order in which they are tried:
    plain ones first, edge cases last.
    """

    name: str
    reference: Any
    cases: tuple[Case, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    tolerance: float = 1e-9
    points: float = 1
    reason: str = ""

    def __post_init__(self) -> None:
        positive("tolerance", self.tolerance)
        positive("points", self.points)
        if callable(self.reference) != bool(self.cases):
            raise ValueError(f"cases must be given for a function and only then, got {len(self.cases)} in {self.name}")


@dataclass(frozen=True)
class Verdict:
    """What `grade` found: whether the answer is right, the points it earns and what to tell."""

    name: str
    passed: bool
    points: float
    message: str

    def __str__(self) -> str:
        return f"{'✓' if self.passed else '✗'} {self.name}: {self.message}"

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        return f"{'✓' if self.passed else '✗'} **{html.escape(self.name)}**: {html.escape(self.message, quote=False)}"


@dataclass(frozen=True)
class Raised:
    """An exception as a result, so that raising can be what is asked."""

    kind: type[Exception]
    text: str


_REGISTRY: dict[str, Exercise] = {}


def register(exercise: Exercise) -> Exercise:
    """Makes an exercise known by its name, such as "01.ex1", and returns it.

    The same name replaces what was there, so that a lesson can be loaded again.
    """
    _REGISTRY[exercise.name] = exercise
    return exercise


def registry() -> Mapping[str, Exercise]:
    """All exercises that were registered, by name."""
    return MappingProxyType(_REGISTRY)


def find(name: str) -> Exercise:
    """The exercise with this name, or the only one whose name ends in it after a dot ("ex1" for "01.ex1").

    Raises ValueError with the nearest name where there is none, with all of them where there are several.
    """
    if name in _REGISTRY:
        return _REGISTRY[name]
    ending = [full for full in _REGISTRY if full.endswith(f".{name}")]
    if len(ending) > 1:
        raise ValueError(f"name must say which lesson's {name!r} is meant: {', '.join(sorted(ending))}")
    return _REGISTRY[ending[0] if ending else one_of("name", name, _REGISTRY)]


def grade(exercise: Exercise, answer: Any) -> Verdict:
    """Judges an answer. Nothing is raised and nothing goes to stderr, whatever the answer does.

    A wrong answer that equals a known mistake on every case is told that mistake; any other is told the first case
    where it differs and by how much. The reference's values are never shown.
    """
    if exercise.cases and not callable(answer):
        return _failed(exercise, f"expected a function, got {type(answer).__name__}")
    expected, got = results(exercise, exercise.reference), results(exercise, answer)
    problems = [difference(g, e, exercise.tolerance) for g, e in zip(got, expected, strict=True)]
    first = next((i for i, problem in enumerate(problems) if problem), None)
    if first is None:
        return Verdict(exercise.name, True, exercise.points, f"all checks passed. {exercise.reason}".strip())
    for mistake in exercise.mistakes:
        wrong = results(exercise, mistake.wrong)
        if all(not difference(g, w, exercise.tolerance) for g, w in zip(got, wrong, strict=True)):
            return _failed(exercise, mistake.message)
    return _failed(exercise, _where(exercise, first) + problems[first])


def _failed(exercise: Exercise, message: str) -> Verdict:
    return Verdict(exercise.name, False, 0, message)


def _where(exercise: Exercise, i: int) -> str:
    if not exercise.cases:
        return ""
    label = exercise.cases[i].label
    return f"case {i + 1} of {len(exercise.cases)}{f' ({label})' if label else ''}: "


def results(exercise: Exercise, answer: Any) -> list[Any]:
    """The answer's result on each case (a `Raised` where it raises), or the answer itself where there are no cases."""
    if not exercise.cases:
        return [answer]
    return [_result(answer, case) for case in exercise.cases]


def _result(answer: Callable[..., Any], case: Case) -> Any:
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            return answer(*(_fresh(arg) for arg in case.args))
        except Exception as error:
            return Raised(type(error), str(error))


def _fresh(value: Any) -> Any:
    """A copy, so that an answer that writes into its argument spoils nothing for the next."""
    if isinstance(value, torch.Generator):
        return value.clone_state()
    if isinstance(value, tuple | list):
        return type(value)(map(_fresh, value)) if not hasattr(value, "_fields") else type(value)(*map(_fresh, value))
    return value.clone() if isinstance(value, Tensor) else copy.deepcopy(value)


def difference(got: Any, expected: Any, tolerance: float) -> str:
    """What tells a result from the expected one, in words that do not give it away; "" where they are equal."""
    if isinstance(expected, Raised) or isinstance(got, Raised):
        return _raised_differently(got, expected)
    if got is None and expected is not None:
        return "got None; does the function return its result?" if not isinstance(expected, str) else "got None"
    if isinstance(expected, str | bool) or isinstance(got, str):
        return "" if type(got) is type(expected) and got == expected else f"got {got!r}, which is not right"
    if isinstance(expected, Mapping):
        return _mapping_differs(got, expected, tolerance)
    if isinstance(expected, tuple) and any(isinstance(part, Tensor | tuple | Mapping) for part in expected):
        return _parts_differ(got, expected, tolerance)
    return _numbers_differ(got, expected, tolerance)


def _raised_differently(got: Any, expected: Any) -> str:
    if not isinstance(got, Raised):
        return f"this must raise {expected.kind.__name__}, and your function returned a result"
    if not isinstance(expected, Raised):
        return f"your function raised {got.kind.__name__}: {got.text}"
    if issubclass(got.kind, expected.kind):
        return ""
    return f"this must raise {expected.kind.__name__}, and your function raised {got.kind.__name__}: {got.text}"


def _mapping_differs(got: Any, expected: Mapping[str, Any], tolerance: float) -> str:
    if not isinstance(got, Mapping) or set(got) != set(expected):
        return f"expected a dict with the keys {', '.join(map(str, expected))}, got {_kind(got)}"
    found = ((key, difference(got[key], expected[key], tolerance)) for key in expected)
    return next((f"{key}: {problem}" for key, problem in found if problem), "")


def _parts_differ(got: Any, expected: Sequence[Any], tolerance: float) -> str:
    if not isinstance(got, tuple | list) or len(got) != len(expected):
        return f"expected {len(expected)} results, got {_kind(got)}"
    found = (difference(g, e, tolerance) for g, e in zip(got, expected, strict=True))
    return next((f"result {i + 1}: {problem}" for i, problem in enumerate(found) if problem), "")


def _numbers_differ(got: Any, expected: Any, tolerance: float) -> str:
    """Shape first, then dtype (where both are tensors), then values."""
    want = _tensor(expected)
    try:
        have = _tensor(got)
    except (TypeError, ValueError, RuntimeError):
        return f"expected numbers, got {_kind(got)}"
    if have.shape != want.shape:
        return f"the shape must be {list(want.shape)}, got {list(have.shape)}"
    if isinstance(expected, Tensor) and isinstance(got, Tensor) and got.dtype != expected.dtype:
        return f"the dtype must be {_name(expected)}, got {_name(got)}"
    a, b = have.to(torch.float64), want.to(torch.float64)
    if bool((a.isnan() & ~b.isnan()).any()):
        return f"{int((a.isnan() & ~b.isnan()).sum())} of {a.numel()} values are NaN and must not be"
    near = b.isfinite() & ((a - b).abs() <= tolerance * b.abs().clamp(min=1.0))
    equal = near | (a == b) | (a.isnan() & b.isnan())
    if bool(equal.all()):
        return ""
    if a.numel() == 1:
        return f"got {a.item():.6g}, which is not right (tolerance {tolerance:g})"
    return f"{int((~equal).sum())} of {a.numel()} values are not right (tolerance {tolerance:g})"


def _tensor(value: Any) -> Tensor:
    return value.detach().cpu() if isinstance(value, Tensor) else torch.as_tensor(value, dtype=_wide(value))


def _wide(value: Any) -> torch.dtype | None:
    """float64 for what Python counts with, whatever torch's default is; arrays keep their own."""
    return None if hasattr(value, "dtype") else torch.float64


def _name(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _kind(value: Any) -> str:
    sized = isinstance(value, tuple | list | Mapping)
    return f"{type(value).__name__} of {len(value)}" if sized else type(value).__name__


def flaws(exercise: Exercise) -> list[str]:
    """What is wrong with an exercise itself, for its tests: empty where every mistake fails and is told as itself."""
    found = []
    if not grade(exercise, exercise.reference).passed:
        found.append("the reference does not pass")
    for mistake in exercise.mistakes:
        verdict = grade(exercise, mistake.wrong)
        if verdict.passed:
            found.append(f"passes though wrong: {mistake.message}")
        elif verdict.message != mistake.message:
            found.append(f"told {verdict.message!r} instead of {mistake.message!r}")
    return found
