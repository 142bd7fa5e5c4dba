from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toykit.tasks.verifiers import last_number, verifier

exact, number, set_of = verifier("exact"), verifier("number"), verifier("set")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", 42),
        ("The answer is 42.", 42),
        ("first 3, then 4", 4),
        ("1,234,567 people", 1234567),
        ("lists 1,2,3", 3),
        ("12,50", 50),
        ("-7", -7),
        ("\u22127", -7),
        ("it is -0.50 degrees", Fraction(-1, 2)),
        ("10-4", 4),
        ("a 5-year plan", 5),
        ("10 - 4 = 6", 6),
        (".5", Fraction(1, 2)),
        ("3/4", Fraction(3, 4)),
        ("3 / 4", Fraction(3, 4)),
        ("2 1/2", Fraction(5, 2)),
        ("-2 1/2", Fraction(-5, 2)),
        ("$1,250.75", Fraction(125075, 100)),
        ("-$5", -5),
        ("\\$18 in all", 18),
        ("30%", 30),
        ("She has 5 apples and 3 pears.\n#### 8", 8),
        ("#### 1,200\nas 12 x 100", 1200),
        ("so $\\boxed{17}$, not 18", 17),
        ("\\boxed{1} or rather \\boxed{2}", 2),
        ("\\boxed{\\frac{3}{4}}", Fraction(3, 4)),
        ("\\boxed{-\\dfrac{1}{2}}", Fraction(-1, 2)),
        ("\\boxed{3\\frac{1}{2}}", Fraction(7, 2)),
        ("\\boxed{1{,}000}", 1000),
        ("\\boxed{x = 5}", 5),
        ("\\boxed{12", 12),
        ("\\boxed{3}\n#### 4", 4),
    ],
)
def test_the_last_number_is_read_in_the_forms_of_maths_data_sets(text: str, value: Fraction) -> None:
    assert last_number(text) == value


@pytest.mark.parametrize("text", ["", "none", "-", "1/0", "\\boxed{}", "5 apples #### none", "9" * 5000])
def test_text_without_a_usable_number_has_none_and_scores_nothing(text: str) -> None:
    assert last_number(text) is None
    assert number(text, "1") == 0.0


@given(
    st.fractions(max_denominator=1000), st.sampled_from(["{}", "The answer is {}", "1 2 3 #### {}", "\\boxed{{{}}}."])
)
def test_a_fraction_is_read_back_from_any_frame(value: Fraction, frame: str) -> None:
    assert number(frame.format(value), str(value)) == 1.0
    assert number(frame.format(value + 1), str(value)) == 0.0


@given(st.integers(-(10**12), 10**12))
def test_thousands_separators_and_decimals_do_not_change_a_number(value: int) -> None:
    assert number(f"{value:,}", str(value)) == 1.0
    assert number(f"{value}.000", str(value)) == 1.0


@given(st.text())
def test_no_completion_makes_a_verifier_fail(completion: str) -> None:
    for verify in (exact, number, set_of):
        assert verify(completion, "7") in (0.0, 1.0)
    assert exact(completion, completion) == 1.0
    assert set_of(completion, completion) == 1.0


def test_an_answer_without_a_number_is_an_error_in_the_data() -> None:
    with pytest.raises(ValueError, match="answer must hold a number, got 'yes'"):
        number("5", "yes")


def test_exact_ignores_white_space_only() -> None:
    assert exact("  the   cat\n", "the cat") == 1.0
    assert exact("the Cat", "the cat") == 0.0
    assert exact("thecat", "the cat") == 0.0


@pytest.mark.parametrize(
    ("completion", "answer", "reward"),
    [
        ("1, 2, 3", "3 2 1", 1),
        ("{1,2}", "1;2;2", 1),
        ("\\boxed{\\{a, b\\}}", "b, a", 1),
        ("first #### x, y", "y x", 1),
        ("1 2", "1 2 3", 0),
        ("", "1", 0),
    ],
)
def test_sets_are_equal_in_any_order(completion: str, answer: str, reward: float) -> None:
    assert set_of(completion, answer) == reward


@given(st.lists(st.sampled_from("abcdef"), min_size=1), st.randoms(use_true_random=False))
def test_a_set_does_not_depend_on_order_or_repetition(items: list[str], rng) -> None:
    shuffled = rng.sample(items, len(items)) + items[:1]
    assert set_of(" ".join(shuffled), ",".join(items)) == 1.0


def test_a_callable_is_its_own_verifier_and_an_unknown_name_is_corrected() -> None:
    def always(completion: str, answer: str) -> float:
        return 1.0

    assert verifier(always) is always
    with pytest.raises(
        ValueError, match="verifier must be one of exact, number, set, got 'numbers'; did you mean 'number'"
    ):
        verifier("numbers")
