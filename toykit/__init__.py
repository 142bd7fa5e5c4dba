"""A laboratory for reinforcement learning of language models on problems small enough to be solved exactly.

Nothing is imported until it is used: `import toykit` is quick, and `toykit.GPT` loads what it needs.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_MODULES = (
    "tasks",
    "policies",
    "rollouts",
    "rewards",
    "objectives",
    "selection",
    "training",
    "exact",
    "diagnostics",
    "control",
    "plots",
    "audit",
    "atlas",
    "exercises",
    "lessons",
    "notebook",
)

_NAMES = {
    "setup": "notebook",
    "check": "notebook",
    "explore": "plots",
    "Slider": "plots",
    "Choice": "plots",
    "Vocab": "tasks",
    "Prompts": "tasks",
    "Tree": "tasks",
    "TabularLM": "policies",
    "GPT": "policies",
    "GPTConfig": "policies",
    "export": "policies",
    "Rollouts": "rollouts",
    "Enumerated": "rollouts",
    "Sampled": "rollouts",
    "PolicyGradient": "objectives",
    "Advantage": "objectives",
    "Clip": "objectives",
    "KL": "objectives",
    "Trainer": "training",
}

__all__ = ["__version__", *_MODULES, *_NAMES]


def __getattr__(name: str) -> Any:
    """Imports a module or a public name on first use; raises AttributeError with the nearest name."""
    if name in _MODULES:
        return importlib.import_module(f"toykit.{name}")
    if name in _NAMES:
        value = getattr(importlib.import_module(f"toykit.{_NAMES[name]}"), name)
        globals()[name] = value
        return value
    import difflib

    near = difflib.get_close_matches(name, __all__, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise AttributeError(f"module 'toykit' has no attribute {name!r}{hint}", name=name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
