"""The exercises of lesson 19, with the mistakes that they know."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from toykit.exercises import Case, Exercise, Mistake, register

OPS = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}
NEEDS = dict.fromkeys(OPS, 2) | {"dup": 1}


def phase(rates: Tensor, kept: Tensor, m: int, nested: bool) -> Tensor:
    """int64 [m]: the ids of the m lowest rates [n], ascending; among those `kept` int64 [k] if nested, else of all. Of
    equal rates the lowest id is taken first."""
    among = kept.sort().values if nested else torch.arange(len(rates))
    return among[rates[among].argsort(stable=True)[:m]].sort().values


def _rates(n: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(n, generator=draw, dtype=torch.float64)


def _highest(rates: Tensor, kept: Tensor, m: int, nested: bool) -> Tensor:
    return phase(-rates, kept, m, nested)


def _within(rates: Tensor, kept: Tensor, m: int, nested: bool) -> Tensor:
    among = kept if nested else torch.arange(len(rates))
    return rates[among].argsort(stable=True)[:m].sort().values


def _last_of_equals(rates: Tensor, kept: Tensor, m: int, nested: bool) -> Tensor:
    among = kept.sort().values if nested else torch.arange(len(rates))
    back = among.flip(0)
    return back[rates[back].argsort(stable=True)[:m]].sort().values


def apply(stack: list[int], word: str, x: int, swapped: bool = False) -> None:
    """Changes the stack as a word does that is not `end`; ValueError where it finds too few values."""
    if word in OPS:
        if len(stack) < 2:
            raise ValueError("too few values")
        b, a = stack.pop(), stack.pop()
        stack.append(OPS[word](b, a) if swapped else OPS[word](a, b))
    elif word == "dup":
        if not stack:
            raise ValueError("too few values")
        stack.append(stack[-1])
    else:
        stack.append(x if word == "x" else int(word))


def outputs(program: Sequence[str], inputs: Sequence[int]) -> list[int]:
    """What a program of the stack language gives at each input; ValueError where it has no output."""
    return [_run(program, x) for x in inputs]


def _run(program: Sequence[str], x: int, leftover: bool = False, swapped: bool = False, beyond: bool = False) -> int:
    stack: list[int] = []
    for word in program:
        if word != "end":
            apply(stack, word, x, swapped)
        elif not beyond:
            break
    if len(stack) != 1 and not (leftover and stack):
        raise ValueError("not one value")
    return stack[-1]


def _lenient(program: Sequence[str], inputs: Sequence[int]) -> list[int]:
    """Skips what finds too few values."""
    found = []
    for x in inputs:
        stack: list[int] = []
        for word in program[: program.index("end")]:
            if len(stack) >= NEEDS.get(word, 0):
                apply(stack, word, x)
        if len(stack) != 1:
            raise ValueError("not one value")
        found.append(stack[0])
    return found


def _program(text: str, label: str) -> Case:
    return Case((text.split(), [-2, 0, 3]), label)


PREDICT = register(
    Exercise(
        name="19.predict",
        reference=(-1, 1, -1),
        mistakes=(
            Mistake("More tries at hard problems cost tries at those that were nearly learned.", (1, 1, -1)),
            Mistake(
                "That is what the paper reports; at equal rollouts the toy pays for the one with the other.", (1, 1, 1)
            ),
            Mistake("The second stage works where nothing is solved yet: coverage rises.", (-1, -1, -1)),
            Mistake("Without the first stage nothing is learned that is not hard.", (-1, 1, 1)),
        ),
        reason="Two stages trade average success for coverage; stage 2 alone loses both.",
    )
)

PHASE = register(
    Exercise(
        name="19.ex1",
        reference=phase,
        cases=(
            Case((_rates(12, 0), torch.arange(12), 4, False), "the first phase"),
            Case((_rates(12, 1), torch.tensor([1, 3, 4, 6, 9, 11]), 3, True), "nested"),
            Case((_rates(12, 2), torch.tensor([1, 3, 4, 6, 9, 11]), 3, False), "ranked again"),
            Case(
                (torch.tensor([0.5, 0.0, 0.5, 0.25] * 3, dtype=torch.float64), torch.arange(12), 8, False),
                "equal rates",
            ),
        ),
        mistakes=(
            Mistake("Those are the easiest: the lowest pass rates are wanted.", _highest),
            Mistake("Places among those that were kept are not ids: index `kept` with them.", _within),
            Mistake(
                "Nested means: among those that the phase before has kept.", lambda r, k, m, n: phase(r, k, m, False)
            ),
            Mistake("Not nested means: what was dropped may come back.", lambda r, k, m, n: phase(r, k, m, True)),
            Mistake("Of equal rates the lowest id is taken; sort with stable=True.", _last_of_equals),
        ),
        reason="In toykit it is `training.hardest`, and `Curriculum(..., nested=...)` calls it when a phase begins.",
    )
)

DERIVE = register(
    Exercise(
        name="19.ex2",
        reference=(139, math.sqrt(63)),
        tolerance=5e-3,
        mistakes=(
            Mistake("138 tries have a chance of 0.4993: one more.", (138, math.sqrt(63))),
            Mistake("0.5 / 0.005 forgets that tries may succeed more than once.", (100, math.sqrt(63))),
            Mistake(
                "The mean comes off first: (1 - 1/64) over the standard deviation, which is sqrt(63)/64.", (139, 8.0)
            ),
            Mistake("That divides by the sample's standard deviation, over G - 1.", (139, 7.875)),
        ),
        reason="ln 2 / -ln 0.995 = 138.3; (1 - 1/64) / (sqrt(63) / 64) = sqrt(63), and sqrt(G - 1) for every G.",
    )
)

REPAIR = register(
    Exercise(
        name="19.ex3",
        reference=outputs,
        cases=(
            _program("x x * end", "a square"),
            _program("x 1 - end", "a difference"),
            _program("x end x", "tokens behind the end"),
            _program("1 x end", "two values left"),
            _program("x + end", "too few values"),
            _program("dup x end", "dup on an empty stack"),
            _program("end", "no value"),
        ),
        mistakes=(
            Mistake(
                "Two values are left on the stack: that is no output, or `1 x` would pass as `x`.",
                lambda program, inputs: [_run(program, x, leftover=True) for x in inputs],
            ),
            Mistake(
                "`-` takes b from a, and b is on top.",
                lambda program, inputs: [_run(program, x, swapped=True) for x in inputs],
            ),
            Mistake(
                "A program is over at its first `end`.",
                lambda program, inputs: [_run(program, x, beyond=True) for x in inputs],
            ),
            Mistake("What finds too few values is an error, not nothing.", _lenient),
        ),
        reason="Whatever the interpreter lets pass, training will find.",
    )
)
