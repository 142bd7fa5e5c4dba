"""`--verifier`: one of toykit's own by name, or a function of a Python file of yours."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toykit._checks import nearest
from toykit.tasks.verifiers import Verifier, verifier


def find_verifier(spec: str) -> Verifier:
    """The verifier of a name ("number"), or of "FILE.py:FUNCTION".

    Raises ValueError for an unknown name or function, with the nearest one, and for a file that does not run;
    FileNotFoundError for one that is not there. What goes wrong in the function itself is raised as ValueError with
    the completion that it was given.
    """
    path, _, name = spec.rpartition(":")
    if spec.endswith(".py"):
        raise ValueError(f"verifier must be FILE.py:FUNCTION, got {spec!r} without a function")
    if not path.endswith(".py"):
        return verifier(spec)
    found = _functions(Path(path))
    if name not in found:
        raise ValueError(f"verifier must be a function of {path}, got {name!r}{nearest(name, found)}")
    return _guarded(spec, found[name])


def _functions(path: Path) -> dict[str, Callable[..., Any]]:
    """Runs a Python file and returns what can be called in it."""
    if not path.is_file():
        raise FileNotFoundError(f"verifier file {str(path)!r} does not exist")
    named = importlib.util.spec_from_file_location(f"toykit_verifier_{path.stem}", path)
    assert named is not None and named.loader is not None
    module = importlib.util.module_from_spec(named)
    sys.modules[named.name] = module  # as for any imported file: dataclasses look themselves up there
    try:
        named.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"verifier file {str(path)!r} must run, got {type(error).__name__}: {error}") from error
    return {name: value for name, value in vars(module).items() if callable(value)}


def _guarded(spec: str, function: Callable[..., Any]) -> Verifier:
    def judge(completion: str, answer: str) -> float:
        try:
            return float(function(completion, answer))
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            raise ValueError(f"verifier {spec} must return a number, got {said} for {completion!r}") from error

    return judge
