"""Names of other libraries' losses with options: "grpo,beta=0.04"."""

from __future__ import annotations

import json
from typing import Any


def parsed(text: str) -> tuple[str, dict[str, Any]]:
    """(name, options) of "name,option=value,..."; values are read as JSON, else as text.

    Raises ValueError for an option without a value.
    """
    name, *rest = text.split(",")
    options = {}
    for part in rest:
        key, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"option must be NAME=VALUE, got {part!r} in {text!r}")
        try:
            options[key] = json.loads(value)
        except json.JSONDecodeError:
            options[key] = value
    return name, options
