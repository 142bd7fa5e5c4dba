"""Which prompts and rollouts next?"""

from toykit.selection.filters import (
    SELECTIONS,
    Selection,
    dynamic_sampling,
    greedy_failures,
    informative,
    overlong_filter,
    selection,
)

__all__ = [
    "SELECTIONS",
    "Selection",
    "dynamic_sampling",
    "greedy_failures",
    "informative",
    "overlong_filter",
    "selection",
]
