"""The levels of a completion tree, and the two recursions over them: down from the root, and up from the completions.

Both work on tables [..., N, V] of something at each node and token, a whole depth at a time, whatever the leading axes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

IDENTITY = {torch.add: 0, torch.mul: 1}


@dataclass(frozen=True)
class Level:
    """The nodes of one depth, and the way on from them.

    nodes  which they are
    on     where in their rows of the table, flattened, the tokens stand that lead to the next depth's nodes, in order
    """

    nodes: slice
    on: slice | Tensor


def as_run(places: Tensor) -> slice | Tensor:
    """int64 [n] as a slice where the places follow each other: a slice of a tensor is a view, which copies nothing."""
    first, n = int(places[0]) if len(places) else 0, len(places)
    return slice(first, first + n) if torch.equal(places, torch.arange(first, first + n)) else places


def down(levels: Sequence[Level], table: Tensor, join: Callable[..., Tensor] = torch.add) -> Tensor:
    """What `table` holds at the tokens on the way from the root to each node, joined: [..., N].

    `join` is torch.add, for which the root has 0, or torch.mul, for which it has 1.
    """
    found = [torch.full_like(table[..., :1, 0], IDENTITY[join])]
    for level in levels[:-1]:
        found.append(join(table[..., level.nodes, :], found[-1][..., None]).flatten(-2)[..., level.on])
    return torch.cat(found, -1)


def up_(levels: Sequence[Level], table: Tensor) -> Tensor:
    """Sets every token of `table` that leads on to the sum over the node it leads to, in place; returns the table."""
    for above, below in reversed(list(pairwise(levels))):
        table[..., above.nodes, :].flatten(-2)[..., above.on] = table[..., below.nodes, :].sum(-1)
    return table
