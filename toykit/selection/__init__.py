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
from toykit.selection.recomposition import RECOMPOSITIONS, Recomposer, Recomposition, recomposition

__all__ = [
    "RECOMPOSITIONS",
    "SELECTIONS",
    "Recomposer",
    "Recomposition",
    "Selection",
    "dynamic_sampling",
    "greedy_failures",
    "informative",
    "overlong_filter",
    "recomposition",
    "selection",
]
