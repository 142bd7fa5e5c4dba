"""The stack language: by hand, against the plain interpreter, and on a million random programs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

import toykit
from toykit.tasks.program_search import random_programs
from toykit.tasks.stack_machine import END, EXTRA, WORDS, run
from toykit.tasks.tree import Tree

EIGHT = ("x", "1", "2", "+", "-", "*", "dup", "end")
ELEVEN = (*EIGHT, "swap", "max", "mod")
ERROR, LEFT_OVER, NO_END = "error", "left over", "no end"
INPUTS = (-2, -1, 0, 1, 2, 3)


def plain(program: Sequence[str], inputs: Sequence[int], words=ELEVEN, needs_end=False) -> list[int] | str:
    """The outputs of one program in plain Python, or why it has none."""
    stack: list[list[int]] = []
    ended = False
    for word in program:
        if word == "end":
            ended = True
            break
        if word not in words or len(stack) < {"x": 0, "1": 0, "2": 0, "dup": 1}.get(word, 2):
            return ERROR
        if word == "x":
            stack.append(list(inputs))
        elif word in ("1", "2"):
            stack.append([int(word)] * len(inputs))
        elif word == "dup":
            stack.append(stack[-1])
        else:
            b, a = stack.pop(), stack.pop()
            if word == "swap":
                stack += [b, a]
            elif word == "mod" and 0 in b:
                return ERROR
            else:
                stack.append([value(word, p, q) for p, q in zip(a, b, strict=True)])
        if max(map(abs, stack[-1])) > 1_000_000:
            return ERROR
    if len(stack) != 1:
        return LEFT_OVER
    return NO_END if needs_end and not ended else stack[0]


def value(word: str, a: int, b: int) -> int:
    if word == "+":
        return a + b
    if word == "-":
        return a - b
    if word == "*":
        return a * b
    return max(a, b) if word == "max" else a % b


def tokens(*programs: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Programs as a padded tensor, and its mask."""
    rows = [[ELEVEN.index(word) for word in program.split()] for program in programs]
    longest = max(map(len, rows))
    mask = torch.tensor([[i < len(row) for i in range(longest)] for row in rows])
    return torch.tensor([row + [END] * (longest - len(row)) for row in rows]), mask


def found(program: str, inputs=INPUTS, **options) -> list[int] | None:
    """The outputs of one program, None where it has none."""
    programs, mask = tokens(program)
    outputs, ok = run(programs, inputs, mask, **options)
    assert bool(ok) or not bool(outputs.any())
    return outputs[0].tolist() if ok else None


def test_the_words_are_in_the_order_of_their_tokens():
    assert (WORDS, WORDS + EXTRA) == (EIGHT, ELEVEN)


@pytest.mark.parametrize(
    ("program", "outputs"),
    [
        ("x end", [-2, -1, 0, 1, 2, 3]),
        ("2 end", [2, 2, 2, 2, 2, 2]),
        ("x dup * 1 + end", [5, 2, 1, 2, 5, 10]),
        ("x 1 - end", [-3, -2, -1, 0, 1, 2]),  # a - b: b is the top
        ("1 x - end", [3, 2, 1, 0, -1, -2]),
        ("x 1 2 + * end", [-6, -3, 0, 3, 6, 9]),
        ("x end +", [-2, -1, 0, 1, 2, 3]),  # what follows an `end` is not run
        ("x 2 *", [-4, -2, 0, 2, 4, 6]),  # T tokens end a program too
        ("dup x end", None),
        ("+ x end", None),
        ("x + end", None),
        ("x x end", None),
        ("end", None),
        ("x swap end", None),  # not a word of the small language
    ],
)
def test_programs_by_hand(program, outputs):
    assert found(program) == outputs


@pytest.mark.parametrize(
    ("program", "outputs"),
    [
        ("x 1 swap - end", [3, 2, 1, 0, -1, -2]),
        ("x 1 max end", [1, 1, 1, 1, 2, 3]),
        ("x 2 mod end", [0, 1, 0, 1, 0, 1]),  # the sign of the divisor
        ("x 1 2 - mod end", [0, 0, 0, 0, 0, 0]),
        ("1 x mod end", None),  # 0 is among the inputs
        ("x swap end", None),
        ("x 1 swap end", None),
    ],
)
def test_the_larger_language_by_hand(program, outputs):
    assert found(program, extra=True) == outputs


def test_a_value_beyond_the_cap_at_any_input_is_an_error():
    assert found("x dup * end", (0, 1000, -1000)) == [0, 10**6, 10**6]
    assert found("x dup * end", (0, 1, 1001)) is None
    assert found("x 2 - end", (0, 1, 2 - 10**6)) == [-2, -1, -(10**6)]
    assert found("x 2 - end", (0, 1, 1 - 10**6)) is None
    assert found("1 x dup * - x dup * + end", (0, 1, 1001)) is None  # 1, if it were not for the cap


def test_without_an_end_a_program_is_judged_unless_it_needs_one():
    for program in ("x 2 *", "x"):
        assert found(program) is not None
        assert found(program, needs_end=True) is None
        assert found(f"{program} end", needs_end=True) == found(program)


def test_hidden_tokens_are_not_read():
    programs, mask = tokens("x 1 + end", "x 1 + dup", "x 1 + +", "dup 1 + end")
    mask[:, 3:] = False
    outputs, ok = run(programs, (5,), mask)
    assert ok.tolist() == [True, True, True, False] and outputs[:3].tolist() == [[6]] * 3
    assert not bool(run(programs, (5,), mask, needs_end=True)[1].any())
    assert not bool(run(programs, (5,), torch.zeros_like(mask))[1].any())


def test_leading_axes_are_kept():
    programs, mask = tokens("x end", "1 end", "+ end", "x x + end", "2 end", "dup")
    outputs, ok = run(programs.view(3, 2, -1), (1, 7), mask.view(3, 2, -1))
    assert outputs.tolist() == [[[1, 7], [1, 1]], [[0, 0], [2, 14]], [[2, 2], [0, 0]]]
    assert ok.tolist() == [[True, True], [False, True], [True, False]]
    assert run(programs[:0], (1, 7))[0].shape == (0, 2)


def test_all_programs_of_six_tokens_are_counted():
    """24,868 come to their end without an error, 903 of them leave one value; they compute 61 functions."""
    tree = Tree(8, 6, (END,))
    outputs, ok = run(tree.tokens, INPUTS, tree.mask)
    rows = zip(tree.tokens.tolist(), tree.mask.sum(1).tolist(), strict=True)
    reasons = [plain([EIGHT[i] for i in row[:n]], INPUTS) for row, n in rows]
    assert len(reasons) - reasons.count(ERROR) == 24_868
    assert [r if isinstance(r, list) else None for r in reasons] == [
        o if k else None for o, k in zip(outputs.tolist(), ok.tolist(), strict=True)
    ]
    assert int(ok.sum()) == 903
    assert len(outputs[ok].unique(dim=0)) == 61


def test_in_the_small_language_only_an_odd_number_of_words_leaves_one_value():
    """Each word but `end` changes the stack by one: of whole programs without an `end` none of 6 tokens has outputs."""
    for length, without_end in ((5, 864), (6, 0)):
        tree = Tree(8, length, (END,))
        judged, ended = (run(tree.tokens, INPUTS, tree.mask, needs_end=n)[1] for n in (False, True))
        assert int((judged & ~ended).sum()) == without_end


WORLDS = {  # tokens, inputs, options: words outside the language are drawn too
    "six tokens": (6, INPUTS, {}),
    "six tokens that need an end": (6, INPUTS, {"needs_end": True}),
    "twelve tokens": (12, INPUTS, {"extra": True}),
    "twelve tokens near the cap": (12, (-1000, 3, 999_999), {"extra": True}),
}
EACH = 250_000


def drawn(length: int, extra: bool) -> torch.Tensor:
    """EACH random programs: a few well-formed, half of words of the language, half of other tokens too."""
    draw = torch.Generator().manual_seed(length)
    programs = torch.randint(-2, 13, (EACH, length), generator=draw)
    programs[: EACH // 2] = torch.randint(11 if extra else 8, (EACH // 2, length), generator=draw)
    formed = random_programs(EACH // 10, length, extra, draw)
    programs[: len(formed)] = formed
    return programs


@pytest.mark.parametrize("world", WORLDS)
def test_a_million_random_programs_give_what_the_plain_interpreter_gives(world):
    length, inputs, options = WORLDS[world]
    programs = drawn(length, options.get("extra", False))
    outputs, ok = run(programs, inputs, **options)
    words = ELEVEN if options.get("extra") else EIGHT
    names = dict(enumerate(words))
    some = ok | (torch.arange(EACH) % 5 == 0)  # all that have outputs, and a fifth of the others
    rows = zip(*(a[some].tolist() for a in (programs, outputs, ok)), strict=True)
    seen = set()
    for program, output, good in rows:
        plainly = plain([names.get(i, "?") for i in program], inputs, words, options.get("needs_end", False))
        assert (output if good else None) == (plainly if isinstance(plainly, list) else None), program
        seen.add("outputs" if good else plainly)
    assert seen >= {"outputs", ERROR, LEFT_OVER}
    assert int(ok.sum()) > 500 and (NO_END in seen) <= options.get("needs_end", False)


WATCHED = """
import sys
import torch
from toykit.tasks.program_search import random_programs
from toykit.tasks.stack_machine import run

draw = torch.Generator().manual_seed(0)
formed = random_programs(50_000, 12, True, draw)
programs = torch.cat([formed, torch.randint(-2, 13, (1_000_000 - len(formed), 12), generator=draw)])
run(programs[:10], (1, 2, 3), extra=True)
seen = []
sys.addaudithook(lambda event, _: seen.append(event))
_, ok = run(programs, (-2, -1, 0, 1, 2, 3), extra=True)
before = list(seen)
eval("1")
print(len(ok), bool(ok.any()), before, seen[len(before):])
"""


def test_a_million_random_programs_end_and_reach_nothing_of_python():
    """The interpreter raises no audit event: it compiles, executes, imports and opens nothing."""
    root, command = str(Path(toykit.__file__).parents[1]), [sys.executable, "-c", WATCHED]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "1000000 True [] ['compile', 'exec']\n", done.stderr
