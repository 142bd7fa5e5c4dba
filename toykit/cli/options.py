"""Options of several commands: `-o name=value`, those of a task, typed by its constructor's annotations, and others."""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from toykit._checks import one_of

Sharding = Annotated[
    str,
    typer.Option(
        metavar="ddp|fsdp",
        help="Whether each of several processes holds all of the model or a part of it.",
        rich_help_panel="The run",
    ),
]


class Misfit(Exception):
    """A value is not of the type that was asked for."""


def task_options(task: str, given: Sequence[str]) -> dict[str, Any]:
    """{name: value} for `toykit.tasks.make(task, ...)` from texts "name=value".

    A value is read as JSON (4, true, [2, 3]), as a list without its brackets (2,3), or as text: the first of these
    that fits the option's annotation. Raises ValueError for an unknown task or option (with the nearest one), an
    option that is there twice, and a value that does not fit.
    """
    from toykit.tasks import constructor

    known = inspect.signature(constructor(task), eval_str=True).parameters
    options: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"option must be NAME=VALUE, got {text!r}")
        one_of(f"option of task {task}", name, known)
        if name in options:
            raise ValueError(f"option {name} must be given once, got it again as {value!r}")
        options[name] = read(f"option {name} of task {task}", value, known[name].annotation)
    return options


def read(what: str, text: str, hint: Any) -> Any:
    """The value that `text` stands for under a type annotation; raises ValueError, naming `what`, where none fits."""
    for value in _readings(text):
        try:
            return fitted(value, hint)
        except Misfit:
            continue
    wanted = getattr(hint, "__name__", str(hint)) if not typing.get_args(hint) else str(hint)
    raise ValueError(f"{what} must be of type {wanted}, got {text!r}")


def fitted(value: Any, hint: Any) -> Any:
    """`value` as the annotation has it (lists become tuples, whole numbers floats); raises Misfit where it cannot."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _first_fit(value, inner)
    if origin is tuple:
        if not isinstance(value, list):
            raise Misfit
        kinds = inner[:1] * len(value) if inner[1:] == (...,) else inner
        if len(kinds) != len(value):
            raise Misfit
        return tuple(fitted(v, kind) for v, kind in zip(value, kinds, strict=True))
    if hint is float and type(value) is int:
        return float(value)
    if hint in (Any, inspect.Parameter.empty) or (hint is None and value is None) or type(value) is hint:
        return value
    raise Misfit


def _first_fit(value: Any, hints: Sequence[Any]) -> Any:
    for hint in hints:
        try:
            return fitted(value, hint)
        except Misfit:
            continue
    raise Misfit


def _readings(text: str) -> Iterator[Any]:
    for candidate in (text, f"[{text}]"):
        try:
            yield json.loads(candidate)
        except json.JSONDecodeError:
            continue
    yield text.split(",")
    yield text
