from __future__ import annotations

import random
import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toykit.tasks.expressions import ATOMS, decimal_text, evaluate, random_expression, rounded

RNG = st.randoms(use_true_random=False)


@given(RNG, st.integers(0, 20))
def test_the_parser_gives_the_value_that_the_generator_built_alongside(rng: random.Random, level: int) -> None:
    expression = random_expression(rng, level, atoms=ATOMS, max_integer=100)
    assert evaluate(expression.text) == expression.value
    assert expression.level == level


@given(RNG, st.integers(0, 20))
def test_level_is_the_number_of_operations_between_whole_numbers(rng: random.Random, level: int) -> None:
    text = random_expression(rng, level).text
    assert sum(text.count(o) for o in "+-*/") == level
    assert text.count("(") == text.count(")") == max(0, level - 1)


@given(
    st.recursive(
        st.integers(0, 99).map(lambda n: (str(n), Fraction(n))),
        lambda e: st.tuples(e, st.sampled_from("+-*"), e).map(
            lambda x: (
                f"({x[0][0]}){x[1]}({x[2][0]})",
                {"+": x[0][1] + x[2][1], "-": x[0][1] - x[2][1], "*": x[0][1] * x[2][1]}[x[1]],
            )
        ),
        max_leaves=12,
    )
)
def test_any_bracketing_is_read(expression: tuple[str, Fraction]) -> None:
    assert evaluate(expression[0]) == expression[1]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("2+3*4", 14),
        ("(2+3)*4", 20),
        ("8-3-2", 3),
        ("8/4/2", 1),
        ("1/3", Fraction(1, 3)),
        ("2*3^2", 18),
        ("(2*3)^2", 36),
        ("-2^2", -4),
        ("--2", 2),
        ("3*-2", -6),
        ("12.50*2", 25),
        (" 1 + 1 ", 2),
        ("0/5", 0),
    ],
)
def test_precedence_is_that_of_arithmetic(text: str, value: Fraction) -> None:
    assert evaluate(text) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must not have the end at character 1"),
        ("2+", "must not have the end at character 3"),
        ("(2+3", "must not have the end at character 5"),
        ("2+3)", "must not have ')' at character 4"),
        ("2^3^2", "must not have '^' at character 4"),
        ("2+x", "must not have 'x' at character 3"),
        ("__import__", "must not have '_' at character 1"),
        ("1/(2-2)", "must not divide by zero"),
        ("1.", "must not have the end"),
        ("9^999999999", "smaller powers"),
        ("((((9^99)^99)^99)^99)", "smaller powers"),
        ("(" * 101 + "1" + ")" * 101, "at most 1000 characters and 100 brackets"),
        ("1" * 1001, "at most 1000 characters"),
    ],
)
def test_text_that_is_no_expression_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        evaluate(text)


@given(st.fractions(min_value=-(10**9), max_value=10**9), st.integers(0, 6))
def test_decimal_text_reads_back_as_the_rounded_value(value: Fraction, decimals: int) -> None:
    text = decimal_text(value, decimals)
    assert Fraction(text) == rounded(value, decimals)
    assert abs(rounded(value, decimals) - value) <= Fraction(1, 2 * 10**decimals)
    assert "." not in text or not text.endswith(("0", "."))


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (Fraction(1, 3), 2, "0.33"),
        (Fraction(-5, 2), 2, "-2.5"),
        (Fraction(-1, 1000), 2, "0"),
        (Fraction(1, 20), 1, "0"),
        (Fraction(3, 20), 1, "0.2"),
        (Fraction(100), 0, "100"),
        (Fraction(-7, 100), 2, "-0.07"),
    ],
)
def test_decimal_text_is_short_and_rounds_ties_to_even(value: Fraction, decimals: int, text: str) -> None:
    assert decimal_text(value, decimals) == text
