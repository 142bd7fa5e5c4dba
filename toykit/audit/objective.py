"""What is audited: one function of keyword tensors, whatever library it comes from."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toykit._checks import nearest, one_of
from toykit.objectives import CATALOGUE, OFFLINE, PIPELINES

INPUTS = ("logp", "old_logp", "ref_logp", "rewards", "advantages", "mask", "vocab_logp", "ref_vocab_logp")
PREFIXES = ("trl", "verl")


@dataclass(frozen=True)
class Objective:
    """A loss under audit: `fn` of the keyword tensors that it `takes`, a scalar to be minimised.

        logp, old_logp, ref_logp  [B, G, T]  log-probabilities of the policy, the behaviour policy and the reference
        rewards                   [B, G]
        advantages                [B, G]     rewards minus the mean of the group's other completions
        mask                      [B, G, T]  bool
        vocab_logp, ref_vocab_logp  [B, G, T, V]  of every token, for a KL or an entropy over the vocabulary

    A `batched` function also takes leading axes, independent batches, and returns a loss for each. `wants_groups`
    says that it is given `groups` too (the adapters' own way to completions and exact values). With `solution` each
    group that it is given has one member more at its end, the prompt's solution from elsewhere (`Problem.solution`).
    `notes` say what of a method is not in the function.
    """

    name: str
    fn: Callable[..., Any]
    takes: tuple[str, ...]
    batched: bool = False
    wants_groups: bool = False
    offline: bool = False
    solution: bool = False
    notes: tuple[str, ...] = field(default=())


def as_objective(given: Any, name: str | None = None) -> Objective:
    """An objective from a name, a toykit method or objective, or a function of the common signature.

    Names are those of the catalogue, `trl:LOSS_TYPE`, `verl:POLICY_LOSS`, `verl:ESTIMATOR+POLICY_LOSS`,
    `module:function` and `file.py:function`; the last two run that code. Raises ValueError for what is not there,
    and for a function that asks for other arguments.
    """
    if isinstance(given, Objective):
        return given
    if isinstance(given, str):
        return _named(given)
    from toykit.audit.catalogue import from_method
    from toykit.audit.offline import from_offline, is_offline

    if is_offline(given):
        return from_offline(given, name or type(given).__name__)
    if hasattr(given, "prepare") or hasattr(given, "objective"):
        return from_method(given, name or type(given).__name__)
    if not callable(given):
        raise ValueError(f"objective must be a name, a toykit objective or a function, got {type(given).__name__}")
    called = name or str(getattr(given, "__name__", type(given).__name__))
    return Objective(called, given, _taken(given, called))


def _taken(fn: Callable[..., Any], name: str) -> tuple[str, ...]:
    """Which of the inputs the function asks for by name; raises ValueError naming others that it needs."""
    parameters = inspect.signature(fn).parameters.values()
    kinds = inspect.Parameter
    by_name = [p for p in parameters if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)]
    unknown = [p.name for p in parameters if p.kind is kinds.POSITIONAL_ONLY]
    unknown += [p.name for p in by_name if p.name not in INPUTS and p.default is kinds.empty]
    if unknown:
        hint = nearest(unknown[0], INPUTS)
        raise ValueError(
            f"{name} must take only {', '.join(INPUTS)} (any of them, by name) and arguments with defaults, "
            f"got {', '.join(unknown)}{hint}"
        )
    taken = tuple(p.name for p in by_name if p.name in INPUTS)
    if "logp" not in taken:
        raise ValueError(f"{name} must take logp, the log-probabilities that are trained, got {', '.join(taken)}")
    return taken


def _named(text: str) -> Objective:
    first, colon, rest = text.partition(":")
    if not colon:
        return _method(text)
    if first == "trl":
        from toykit.audit.trl import trl_loss

        return trl_loss(rest)
    if first == "verl":
        from toykit.audit.verl import verl_loss

        return verl_loss(rest)
    source, _, attribute = text.rpartition(":")
    module = _file(Path(source)) if source.endswith(".py") else _module(source)
    if not hasattr(module, attribute):
        near = nearest(attribute, [n for n in dir(module) if not n.startswith("_")])
        raise ValueError(f"objective must name something in {source}, got {attribute!r}{near}")
    return as_objective(getattr(module, attribute), name=text)


def _method(name: str) -> Objective:
    from toykit.audit.catalogue import from_method
    from toykit.audit.offline import named

    one_of("objective", name, [*CATALOGUE, *OFFLINE, *PIPELINES])
    return from_method(CATALOGUE[name](), name) if name in CATALOGUE else named(name)


def _file(path: Path) -> Any:
    if not path.is_file():
        raise ValueError(f"objective must name a file that exists, got {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{path} could not be run: {type(error).__name__}: {error}") from error
    return module


def _module(name: str) -> Any:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise ValueError(f"{name} could not be imported: {error}") from error
        known = [*CATALOGUE, *OFFLINE, *(f"{prefix}:..." for prefix in PREFIXES)]
        raise ValueError(
            f"objective must be one of {', '.join(known)}, module:function or file.py:function, "
            f"got a module {name!r} that does not exist"
        ) from error
    except Exception as error:
        raise ValueError(f"{name} could not be imported: {type(error).__name__}: {error}") from error
