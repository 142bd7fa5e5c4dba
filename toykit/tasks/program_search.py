"""Programs of the stack language, all of a length or drawn at random, and the functions that they compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from toykit.tasks.stack_machine import END, EXTRA, GROWS, TAKES, WORDS, run
from toykit.tasks.tree import Tree


@dataclass(frozen=True, eq=False)
class Functions:
    """F functions, those with the most programs first, and the P programs that compute them.

    outputs   int64 [F, n]  at the test inputs
    held_out  int64 [F, m]  at the held-out inputs: what the function's shortest program has there
    programs  int64 [P, T]  in order of their length; after its `end` a program is filled with more of them
    of        int64 [P]     the function that a program computes at the test inputs
    """

    outputs: Tensor
    held_out: Tensor
    programs: Tensor
    of: Tensor

    @property
    def counts(self) -> Tensor:
        """int64 [F]: how many programs there are of each."""
        return self.of.bincount(minlength=len(self.outputs))


def n_words(extra: bool) -> int:
    """Size of the language, with `swap`, `max` and `mod` or without."""
    return len(WORDS + EXTRA) if extra else len(WORDS)


def program_tree(length: int, extra: bool) -> Tree:
    """Every string of words up to its first `end`, or of `length` tokens."""
    return Tree(n_words(extra), length, stop=(END,))


def every_program(length: int, extra: bool) -> Tensor:
    """int64 [P, length]: all that end within `length` tokens, in order; raises ValueError where they are too many."""
    tree = program_tree(length, extra)
    filled = tree.tokens.masked_fill(~tree.mask, END)
    return filled[filled[:, -1] == END]


def random_programs(n: int, length: int, extra: bool, generator: torch.Generator) -> Tensor:
    """int64 [P, length], P <= n: the different ones of `n` random programs that end and leave one value, in order.

    Each token is drawn uniformly from those that find their values on the stack and leave few enough on it for the
    program to come to its `end` in time; values beyond the cap may still be errors.
    """
    words = n_words(extra)
    takes, grows = torch.tensor(TAKES[:words]), torch.tensor(GROWS[:words])
    depth, over = torch.zeros(n, dtype=torch.int64), torch.zeros(n, dtype=torch.bool)
    programs = torch.full((n, length), END)
    for t in range(length):
        after = depth[:, None] + grows
        left = length - 2 - t  # tokens after this one and before the last `end`
        may = (depth[:, None] >= takes) & (after >= 1) & (after - 1 <= left)
        may[:, END] = depth == 1
        token = torch.multinomial(may.double(), 1, generator=generator)[:, 0].masked_fill(over, END)
        programs[:, t] = token
        over |= token == END
        depth = torch.where(over, 1, after.gather(1, token[:, None])[:, 0])
    return programs.unique(dim=0)


def by_function(programs: Tensor, inputs: Sequence[int], held_out: Sequence[int], clip: int, extra: bool) -> Functions:
    """The functions of `programs` int64 [P, T], each in the order of `Functions` and with its own look.

    Left out are constants, functions of which no program has an output at the held-out inputs, and those that look
    like an earlier one once their outputs are clipped to -clip..clip. Ties go by the outputs, ascending.
    """
    programs = programs[(programs != END).sum(1).argsort(stable=True)]
    outputs, ok = run(programs, inputs, extra=extra)
    kept = ok & (outputs != outputs[:, :1]).any(1)
    programs = programs[kept]
    functions, of, counts = outputs[kept].unique(dim=0, return_inverse=True, return_counts=True)
    elsewhere, there = run(programs, held_out, extra=extra)
    first = _first(of.masked_fill(~there, len(functions)), len(functions) + 1)[:-1]
    order = counts.argsort(descending=True, stable=True)
    order = order[first[order] < len(programs)]
    looks = functions[order].clamp(-clip, clip).unique(dim=0, return_inverse=True)[1]
    order = order[_first(looks, len(order))[looks] == torch.arange(len(order))]
    place = torch.full((len(functions),), -1)
    place[order] = torch.arange(len(order))
    known = place[of] >= 0
    return Functions(functions[order], elsewhere[first[order]], programs[known], place[of][known])


def _first(groups: Tensor, n: int) -> Tensor:
    """int64 [n]: the first place of each of n groups in `groups` [P], P where there is none."""
    places = torch.arange(len(groups))
    return torch.full((n,), len(groups)).scatter_reduce(0, groups, places, "amin")
