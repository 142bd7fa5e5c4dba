"""The atlas as a file: numbers rounded, written whole, and what of the catalogue is not in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toykit.atlas.runs import methods
from toykit.training.checkpoint import write_whole
from toykit.training.store import data_folder

Results = dict[str, Any]
DIGITS = 6
COMMAND = "toykit atlas --record"


def rounded(value: Any) -> Any:
    """A value for JSON with its floats to `DIGITS` significant digits."""
    if isinstance(value, Mapping):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def text(results: Mapping[str, Any]) -> str:
    """Results as JSON; raises ValueError for a number that is not finite."""
    return json.dumps(rounded(results), indent=1, allow_nan=False) + "\n"


def record(results: Mapping[str, Any]) -> Path:
    """Keeps results as the project's; raises ValueError where a method of the catalogue is not in them."""
    if absent := missing(results):
        raise ValueError(f"methods must be all of the catalogue to be recorded, got none of {', '.join(absent)}")
    write_whole(path := record_path(), text(results).encode())
    return path


def recorded() -> Results:
    """The project's atlas; raises FileNotFoundError with the command that makes it where there is none."""
    if not (path := record_path()).exists():
        raise FileNotFoundError(f"{path} must exist, it is made by: {COMMAND}")
    return loaded(path)


def loaded(path: str | Path) -> Results:
    """Results from a file that `text` was written to."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def record_path() -> Path:
    return data_folder() / "results" / "atlas" / "atlas.json"


def missing(results: Mapping[str, Any]) -> list[str]:
    """The methods that the atlas would train today and that these results lack."""
    return [name for name in methods() if name not in results["methods"]]
