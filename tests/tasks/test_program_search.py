"""Programs of a length, random programs, and the functions that they compute."""

from __future__ import annotations

import torch

from toykit.tasks.program_search import by_function, every_program, random_programs
from toykit.tasks.stack_machine import END, EXTRA, WORDS, run

INPUTS = (-2, -1, 0, 1, 2, 3)


def written(*programs: str) -> torch.Tensor:
    """Programs of at most 9 words, filled with `end`."""
    rows = [[(WORDS + EXTRA).index(word) for word in program.split()] for program in programs]
    return torch.tensor([row + [END] * (9 - len(row)) for row in rows])


def test_every_program_ends_once_and_is_there_once():
    """Strings of at most n - 1 of the seven other words, and an `end`: 1 + 7 + 49 + ... of them."""
    for length, extra, n in ((3, False, 1 + 7 + 49), (6, False, (7**6 - 1) // 6), (4, True, 1111)):
        programs = every_program(length, extra)
        assert len(programs) == len(programs.unique(dim=0)) == n
        ended = programs == END
        assert bool((ended[:, 1:] >= ended[:, :-1]).all() and ended[:, -1].all())


def test_random_programs_are_all_that_leave_one_value_where_many_are_drawn():
    drawn = random_programs(100_000, 6, False, torch.Generator().manual_seed(0))
    every = every_program(6, False)
    assert torch.equal(drawn, every[run(every, INPUTS)[1]])
    assert len(drawn) == 903


def test_random_programs_use_the_whole_length_and_language_and_never_lack_a_value():
    programs = random_programs(20_000, 12, True, torch.Generator().manual_seed(1))
    assert programs.unique().tolist() == list(range(11))
    assert bool((programs[:, -2] != END).any()) and bool((programs[:, -1] == END).all())
    short = random_programs(20_000, 8, False, torch.Generator().manual_seed(1))  # no value can pass 2^16
    assert bool(run(short, (0, 1, 2))[1].all())
    assert torch.equal(short, random_programs(20_000, 8, False, torch.Generator().manual_seed(1)))


def test_functions_are_in_order_of_their_programs_and_constants_are_left_out():
    programs = written("x 2 * end", "x x + end", "x end", "1 end", "x 2 + end", "2 x + end", "x dup end", "1 x * end")
    found = by_function(programs, (0, 1, 2), (3, 4), 9, extra=False)
    assert found.outputs.tolist() == [[0, 1, 2], [0, 2, 4], [2, 3, 4]]  # two programs each: by their outputs
    assert found.held_out.tolist() == [[3, 4], [6, 8], [5, 6]]
    assert found.counts.tolist() == [2, 2, 2]
    assert found.of.tolist() == [0, 1, 1, 2, 2, 0]
    assert torch.equal(found.programs, programs[[2, 0, 1, 4, 5, 7]])
    more = by_function(torch.cat([programs, written("x 1 - 2 + 1 + end")]), (0, 1, 2), (3, 4), 9, extra=False)
    assert more.outputs.tolist() == [[2, 3, 4], [0, 1, 2], [0, 2, 4]]
    assert more.counts.tolist() == [3, 2, 2]


def test_at_the_held_out_inputs_the_shortest_program_counts():
    """x and x * x * x are one function of -1, 0 and 1, and two of 2."""
    found = by_function(written("x dup dup * * end", "x end"), (-1, 0, 1), (2,), 9, extra=False)
    assert (found.outputs.tolist(), found.held_out.tolist(), found.counts.tolist()) == ([[-1, 0, 1]], [[2]], [2])


def test_a_program_without_an_output_at_the_held_out_inputs_does_not_say_what_is_right_there():
    """101 cubed is beyond the cap; x and its cube are the same at -1, 0 and 1."""
    cubes = written("x dup dup * * end", "x x x * * end")
    assert by_function(cubes, (-1, 0, 1), (101,), 9, extra=False).counts.tolist() == []
    longer = torch.cat([cubes, written("x 1 * 1 * 1 * end")])
    found = by_function(longer, (-1, 0, 1), (101,), 9, extra=False)
    assert (found.counts.tolist(), found.held_out.tolist()) == ([3], [[101]])


def test_of_functions_that_look_alike_the_one_with_more_programs_stays():
    programs = written("x dup * end", "x x * end", "x dup dup * * end")
    assert by_function(programs, (0, 1, 3), (2,), 27, extra=False).outputs.tolist() == [[0, 1, 9], [0, 1, 27]]
    assert by_function(programs, (0, 1, 3), (2,), 9, extra=False).outputs.tolist() == [[0, 1, 9]]
