from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from toykit.cli.options import read, task_options
from toykit.tasks import NAMES, make


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("4", int, 4),
        ("4", float, 4.0),
        ("1e-3", float, 0.001),
        ("true", bool, True),
        ("4", str, "4"),
        ('"4"', str, "4"),
        ("+-*", str, "+-*"),
        ("a,b", str, "a,b"),
        ("", str, ""),
        ("null", int | None, None),
        ("[2, 3]", tuple[int, ...], (2, 3)),
        ("2,3", tuple[int, ...], (2, 3)),
        ("2", tuple[int, ...], (2,)),
        ("2", int | tuple[int, ...], 2),
        ("2,3", int | tuple[int, ...], (2, 3)),
        ("integer,square", tuple[str, ...], ("integer", "square")),
        ("integer", tuple[str, ...], ("integer",)),
        ("0.6,0.3,0.1", tuple[float, float, float], (0.6, 0.3, 0.1)),
        ("1,0,0", tuple[float, float, float], (1.0, 0.0, 0.0)),
        ("[[1, 0], [0, 1]]", Any, [[1, 0], [0, 1]]),
        ("exact", str | Callable[[str, str], float], "exact"),
    ],
)
def test_a_text_is_read_as_the_annotation_asks(text, hint, value):
    found = read("option x", text, hint)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "hint", "wanted"),
    [
        ("four", int, "int"),
        ("4.5", int, "int"),
        ("true", int, "int"),
        ("1", bool, "bool"),
        ("2,x", tuple[int, ...], "tuple[int, ...]"),
        ("1,2", tuple[float, float, float], "tuple[float, float, float]"),
        ("x", int | None, "int | None"),
        ("", int | tuple[int, int], "int | tuple[int, int]"),
    ],
)
def test_a_text_that_does_not_fit_is_refused_with_the_type(text, hint, wanted):
    with pytest.raises(ValueError) as refused:
        read("option x of task t", text, hint)
    assert str(refused.value) == f"option x of task t must be of type {wanted}, got {text!r}"


def test_options_are_those_of_the_tasks_constructor():
    found = task_options("arithmetic", ["levels=1,2", "atoms=integer", "operators=+-", "n_problems=50", "seed=3"])
    assert found == {"levels": (1, 2), "atoms": ("integer",), "operators": "+-", "n_problems": 50, "seed": 3}
    assert len(make("arithmetic", **found).problems) == 50
    assert task_options("bandit", ["rewards=[[1, 0.5]]"]) == {"rewards": [[1, 0.5]]}
    assert task_options("letters", []) == {}


@pytest.mark.parametrize("name", NAMES)
def test_every_task_has_options_that_can_be_read(name):
    assert task_options(name, ["seed=1"] if name != "letters" else ["horizon=4"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["n_digits"], "option must be NAME=VALUE, got 'n_digits'"),
        (["n_digit=3"], "option of task chain_sum must be one of .*, got 'n_digit'; did you mean 'n_digits'?"),
        (["seed=1", "seed=2"], "option seed must be given once, got it again as '2'"),
        (["seed=one"], "option seed of task chain_sum must be of type int, got 'one'"),
    ],
)
def test_bad_options_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        task_options("chain_sum", given)
    with pytest.raises(ValueError, match="task must be one of .*, got 'chain_sums'; did you mean 'chain_sum'?"):
        task_options("chain_sums", given)
