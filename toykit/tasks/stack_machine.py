"""A stack language in which no program can hang or reach Python, run on many programs at once.

Values are integer vectors over fixed inputs. `x`, `1` and `2` push; `dup` copies the top; `+`, `-` and `*` take the top
two, a below b, and push a op b; `end` ends the program. A larger language has `swap`, `max` and `mod` too. There are no
loops and no jumps: a program makes as many steps as it has tokens, at most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WORDS = ("x", "1", "2", "+", "-", "*", "dup", "end")
EXTRA = ("swap", "max", "mod")
X, ONE, TWO, PLUS, MINUS, TIMES, DUP, END, SWAP, MAX, MOD = range(len(WORDS + EXTRA))
CAP = 1_000_000  # a value beyond it is an error, in either direction

TAKES = (0, 0, 0, 2, 2, 2, 1, 0, 2, 2, 2)  # values that a token needs on the stack
GROWS = (1, 1, 1, -1, -1, -1, 1, 0, 0, -1, -1)  # by how many values it changes the stack

AT_ONCE = 1 << 16  # programs; bounds the memory of their stacks


def _mod(a: Tensor, b: Tensor) -> Tensor:
    """a mod b with the sign of b, elementwise; above the cap, which is an error, where b is 0."""
    return torch.where(b == 0, CAP + 1, a.remainder(b.masked_fill(b == 0, 1)))


_BINARY: dict[int, Callable[[Tensor, Tensor], Tensor]] = {
    PLUS: torch.add,
    MINUS: torch.sub,
    TIMES: torch.mul,
    MAX: torch.maximum,
    MOD: _mod,
}


def run(
    programs: Tensor,
    inputs: Sequence[int],
    mask: Tensor | None = None,
    extra: bool = False,
    needs_end: bool = False,
) -> tuple[Tensor, Tensor]:
    """What programs int64 [..., T] compute at n inputs: outputs int64 [..., n] and ok bool [...].

    A program is over at its first `end`, at the first token that `mask` [..., T] hides, or after T tokens; it has
    outputs where exactly one value is left, and with `needs_end` only where it came to its `end`. Too few values for a
    token, a value beyond `CAP` at any input, mod 0 and a token outside the language (8 words, 11 with `extra`) are
    errors, whatever follows them. Where a program has no outputs, `ok` is False and the outputs are 0.
    """
    length = programs.shape[-1]
    tokens = torch.nn.functional.pad(programs.reshape(-1, length), (0, 1))
    seen = torch.ones_like(programs) if mask is None else mask.long()
    lengths = seen.cumprod(-1).sum(-1).flatten()
    x = torch.tensor(inputs, device=programs.device)
    n_words = len(WORDS + EXTRA) if extra else len(WORDS)
    pieces = zip(tokens.split(AT_ONCE), lengths.split(AT_ONCE), strict=True)
    outputs, ok = zip(*(_run(*piece, x, n_words, needs_end) for piece in pieces), strict=True)
    return torch.cat(outputs).view(*programs.shape[:-1], len(inputs)), torch.cat(ok).view(programs.shape[:-1])


def _run(tokens: Tensor, lengths: Tensor, x: Tensor, n_words: int, needs_end: bool) -> tuple[Tensor, Tensor]:
    """`run` for tokens [N, T + 1], of which the first lengths [N] <= T are read; rows that are over are dropped."""
    n, steps = tokens.shape
    room = steps // 2  # with more values on the stack, T tokens are too few to come back to one
    outputs, ok = x.new_zeros(n, len(x)), torch.zeros(n, dtype=torch.bool, device=x.device)
    rows, depth = torch.arange(n, device=x.device), x.new_zeros(n)
    stack = x.new_zeros(n, room, len(x))
    takes, grows = x.new_tensor(TAKES), x.new_tensor(GROWS)
    constants = torch.stack([x, torch.full_like(x, 1), torch.full_like(x, 2)])
    for t in range(steps):
        token, cut = tokens[rows, t], lengths[rows] == t
        ended = (token == END) & ~cut
        done = (ended if needs_end else ended | cut) & (depth == 1)
        outputs[rows[done]], ok[rows[done]] = stack[done, 0], True
        word = token.clamp(0, n_words - 1)
        after = depth + grows[word]
        goes = ~(ended | cut) & (token == word) & (depth >= takes[word]) & (after <= room)
        rows, token, stack, depth, after = (a[goes] for a in (rows, token, stack, depth, after))
        value = _apply(token, stack, depth, constants)
        stack[torch.arange(len(rows), device=x.device), after - 1] = value
        fine = (value.abs() <= CAP).all(-1)
        rows, stack, depth = rows[fine], stack[fine], after[fine]
    return outputs, ok


def _apply(token: Tensor, stack: Tensor, depth: Tensor, constants: Tensor) -> Tensor:
    """The new top values [N, n]; `swap` also puts the old top below it."""
    row = torch.arange(len(token), device=token.device)
    top, below = (stack[row, (depth - i).clamp(min=0)] for i in (1, 2))
    value = torch.where((token == DUP)[:, None], top, constants[token.clamp(max=TWO)])
    for word, operation in _BINARY.items():
        here = (token == word).nonzero()[:, 0]
        value[here] = operation(below[here], top[here])
    here = (token == SWAP).nonzero()[:, 0]
    value[here] = below[here]
    stack[here, depth[here] - 2] = top[here]
    return value
