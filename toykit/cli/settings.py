"""A command's settings: one dataclass whose fields are the options, and the command line that they came from."""

from __future__ import annotations

import inspect
import shlex
import typing
from collections.abc import Callable, Collection
from dataclasses import MISSING, asdict, fields
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from typer.models import ArgumentInfo, OptionInfo

S = TypeVar("S")


def of_settings(kind: type[S]) -> Callable[[Callable[[S], None]], Callable[..., None]]:
    """A decorator: a function of one dataclass becomes a function of its fields, which typer makes into options."""

    def decorate(fn: Callable[[S], None]) -> Callable[..., None]:
        @wraps(fn)
        def command(**given: Any) -> None:
            fn(kind(**given))

        hints = typing.get_type_hints(kind, include_extras=True)
        empty = inspect.Parameter.empty
        command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter(
                    f.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=empty if f.default is MISSING else f.default,
                    annotation=hints[f.name],
                )
                for f in fields(kind)  # type: ignore[arg-type]
            ]
        )
        command.__annotations__ = hints
        return command

    return decorate


def command_line(name: str, settings: Any, without: Collection[str] = ()) -> str:
    """`toykit name ...` that gives these settings: what differs from the defaults, apart from the fields `without`."""
    hints = typing.get_type_hints(type(settings), include_extras=True)
    words, positional = ["toykit", name], []
    for f in fields(settings):
        value, info = getattr(settings, f.name), typing.get_args(hints[f.name])[-1]
        if f.name in without or value == f.default or value is None:
            continue
        if isinstance(info, ArgumentInfo):
            positional.append(str(value))
        elif isinstance(value, bool):
            words.append(_flag(info, f.name, value))
        else:
            for each in value if isinstance(value, list | tuple) else [value]:
                words += [_flag(info, f.name), str(each)]
    return shlex.join([*words[:2], *positional, *words[2:]])


def as_json(settings: Any, without: Collection[str] = ()) -> dict[str, Any]:
    """The settings as a JSON-able mapping; paths become texts."""
    found = {k: v for k, v in asdict(settings).items() if k not in without}
    return {k: str(v) if isinstance(v, Path) else v for k, v in found.items()}


def _flag(info: OptionInfo, name: str, value: bool = True) -> str:
    """An option's first name, "--name" where it declares none; of "--yes/--no" the part that `value` picks."""
    declared = [d for d in (info.default, *(info.param_decls or ())) if isinstance(d, str)]
    first = declared[0] if declared else "--" + name.replace("_", "-")
    yes, _, no = first.partition("/")
    return yes if value else no
