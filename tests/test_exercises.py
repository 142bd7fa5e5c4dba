"""Exercises: a right answer passes, every known mistake is named, and nothing gives the answer away."""

import sys
import warnings

import numpy as np
import pytest
import torch

from toykit import exercises
from toykit.exercises import Case, Exercise, Mistake, find, flaws, grade, register, registry

EPS = 1e-6


def group_advantages(rewards):
    """(r - mean) / (std + eps) within each group of [B, G], with the unbiased standard deviation."""
    if rewards.shape[-1] < 2:
        raise ValueError(f"rewards must hold at least 2 completions a group, got {rewards.shape[-1]}")
    return (rewards - rewards.mean(-1, keepdim=True)) / (rewards.std(-1, keepdim=True) + EPS)


def biased(rewards):
    group_advantages(rewards)
    centred = rewards - rewards.mean(-1, keepdim=True)
    return centred / (rewards.std(-1, keepdim=True, correction=0) + EPS)


def over_the_batch(rewards):
    group_advantages(rewards)
    return (rewards - rewards.mean()) / (rewards.std(-1, keepdim=True) + EPS)


def without_eps(rewards):
    group_advantages(rewards)
    return (rewards - rewards.mean(-1, keepdim=True)) / rewards.std(-1, keepdim=True)


def in_float32(rewards):
    return group_advantages(rewards.float())


def leave_one_out(rewards):
    group_advantages(rewards)
    return (rewards - rewards.mean(-1, keepdim=True)) * rewards.shape[-1] / (rewards.shape[-1] - 1)


def without_guard(rewards):
    return (rewards - rewards.mean(-1, keepdim=True)) / (rewards.std(-1, keepdim=True) + EPS)


ADVANTAGES = Exercise(
    name="00.advantages",
    reference=group_advantages,
    cases=(
        Case((torch.tensor([[1.0, 0.0, 0.0, 1.0]], dtype=torch.float64),), "one group"),
        Case((torch.tensor([[1.0, 0.0, 0.5], [3.0, 2.0, 0.0]], dtype=torch.float64),), "two groups"),
        Case((torch.full((1, 4), 0.7, dtype=torch.float64),), "all rewards equal"),
        Case((torch.ones(2, 1, dtype=torch.float64),), "a group of one"),
    ),
    mistakes=(
        Mistake("The standard deviation of a sample divides by G - 1.", biased),
        Mistake("The baseline belongs to one prompt's group, not to the whole batch.", over_the_batch),
        Mistake("A group with equal rewards must give zeros: add eps to the standard deviation.", without_eps),
        Mistake("Use the dtype of the input.", in_float32),
        Mistake("That is RLOO: leave-one-out is G/(G-1) times the centred reward.", leave_one_out),
        Mistake("A group of one has no standard deviation: raise ValueError.", without_guard),
    ),
    points=2,
    reason="Equal rewards carry no signal.",
)
BETA = Exercise(
    name="00.beta",
    reference=1 / np.log(19),
    mistakes=(Mistake("That is 1/beta.", np.log(19)), Mistake("Natural logarithm, please.", 1 / np.log10(19))),
    tolerance=1e-3,
)


@pytest.mark.parametrize("mistake", ADVANTAGES.mistakes, ids=lambda m: m.wrong.__name__)
def test_a_known_mistake_is_named(mistake):
    verdict = grade(ADVANTAGES, mistake.wrong)
    assert (verdict.passed, verdict.points, verdict.message) == (False, 0, mistake.message)


@pytest.mark.parametrize("exercise", [ADVANTAGES, BETA], ids=lambda e: e.name)
def test_an_exercise_without_flaws_has_none(exercise):
    assert flaws(exercise) == []


def test_a_right_answer_gets_its_points_and_the_reason():
    verdict = grade(ADVANTAGES, lambda r: group_advantages(r.clone()))
    assert (verdict.passed, verdict.points) == (True, 2)
    assert verdict.message == "all checks passed. Equal rewards carry no signal."


def test_an_unknown_mistake_is_told_the_first_case_that_differs():
    verdict = grade(ADVANTAGES, lambda r: group_advantages(r) + 0.5 * (r.shape[0] - 1))
    assert (verdict.passed, verdict.points) == (False, 0)
    assert verdict.message == "case 2 of 4 (two groups): 6 of 6 values are not right (tolerance 1e-09)"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda r: group_advantages(r)[..., :1], "the shape must be [1, 4], got [1, 1]"),
        (lambda r: group_advantages(r).half(), "the dtype must be float64, got float16"),
        (lambda r: None, "got None; does the function return its result?"),
        (lambda r: "zero", "got 'zero', which is not right"),
        (lambda r: {}, "expected numbers, got dict of 0"),
        (lambda r: r / 0 * 0, "4 of 4 values are NaN and must not be"),
        (lambda r: 1 / 0, "your function raised ZeroDivisionError: division by zero"),
        (lambda: 0, "your function raised TypeError:"),
    ],
)
def test_what_is_wrong_is_said_in_words(answer, message):
    assert message in grade(ADVANTAGES, answer).message


def test_another_exception_than_the_one_asked_for_is_named():
    def raises_index_error(rewards):
        if rewards.shape[-1] < 2:
            raise IndexError("no group")
        return group_advantages(rewards)

    message = grade(ADVANTAGES, raises_index_error).message
    assert message.startswith(
        "case 4 of 4 (a group of one): this must raise ValueError, and your function raised Index"
    )


def test_no_message_shows_the_reference():
    shown = [grade(ADVANTAGES, lambda r: r * 0 + 7.0), grade(BETA, 0.5), grade(BETA, [1.0, 2.0])]
    assert all("0.33" not in v.message and "0.86" not in v.message for v in shown)
    assert all("lambda" not in str(v) for v in shown)


@pytest.mark.parametrize("answer", [0.3396, torch.tensor(0.3396), np.float32(0.3396), "0.3396"])
def test_a_number_may_come_as_any_number_but_not_as_text(answer):
    assert grade(BETA, answer).passed is not isinstance(answer, str)


def test_a_wrong_number_is_told_back():
    assert grade(BETA, 0.5).message == "got 0.5, which is not right (tolerance 0.001)"


def test_the_tolerance_is_relative_for_large_values():
    exercise = Exercise("00.large", 1e6, tolerance=1e-3)
    assert grade(exercise, 1e6 + 999).passed
    assert not grade(exercise, 1e6 + 1001).passed


def test_text_tuples_and_mappings_can_be_asked_for():
    curve = Exercise("00.curve", "reverse", mistakes=(Mistake("Forward covers the modes.", "forward"),))
    assert grade(curve, "reverse").passed
    assert grade(curve, "forward").message == "Forward covers the modes."
    pair = Exercise("00.pair", (torch.ones(2), torch.zeros(3)))
    assert grade(pair, (torch.ones(2), torch.zeros(3))).passed
    assert grade(pair, (torch.ones(2), torch.ones(3))).message.startswith("result 2: 3 of 3 values are not right")
    named = Exercise("00.named", {"mean": 1.0, "std": 2.0})
    assert grade(named, {"mean": 1.0, "std": 2.5}).message == "std: got 2.5, which is not right (tolerance 1e-09)"


def test_infinities_of_the_same_sign_are_equal():
    exercise = Exercise("00.infinite", torch.tensor([float("-inf"), 1.0]))
    assert grade(exercise, torch.tensor([float("-inf"), 1.0])).passed
    assert not grade(exercise, torch.tensor([float("inf"), 1.0])).passed


def test_an_answer_that_writes_into_its_argument_spoils_nothing():
    def in_place(rewards):
        result = group_advantages(rewards)
        rewards.zero_()
        return result

    assert grade(ADVANTAGES, in_place).passed
    assert grade(ADVANTAGES, group_advantages).passed


def test_every_answer_gets_its_own_generator_with_the_same_seed():
    def draw(generator):
        return torch.rand(3, generator=generator, dtype=torch.float64)

    exercise = Exercise("00.draw", draw, cases=(Case((torch.Generator().manual_seed(3),)),))
    assert grade(exercise, lambda generator: draw(generator)).passed


def test_nothing_goes_to_stderr(capsys):
    def noisy(rewards):
        print("half way", file=sys.stderr)
        warnings.warn("careful", stacklevel=1)
        return group_advantages(rewards)

    assert grade(ADVANTAGES, noisy).passed
    assert capsys.readouterr().err == ""


def test_a_value_where_a_function_is_asked_for_is_told_so():
    assert grade(ADVANTAGES, 3).message == "expected a function, got int"


def test_a_verdict_reads_well_as_text_and_in_a_notebook():
    verdict = grade(BETA, 0.5)
    assert repr(verdict) == "✗ 00.beta: got 0.5, which is not right (tolerance 0.001)"
    assert verdict._repr_markdown_() == "✗ **00.beta**: got 0.5, which is not right (tolerance 0.001)"
    assert repr(grade(BETA, 0.3396)) == "✓ 00.beta: all checks passed."


def test_flaws_find_a_mistake_that_passes_and_two_that_look_alike():
    exercise = Exercise("00.flawed", 1.0, mistakes=(Mistake("a", 1.0), Mistake("b", 2.0), Mistake("c", 2.0)))
    assert flaws(exercise) == ["passes though wrong: a", "told 'b' instead of 'c'"]


@pytest.fixture
def fresh(monkeypatch):
    monkeypatch.setattr(exercises, "_REGISTRY", {})


def test_an_exercise_is_found_by_its_name_or_its_unique_ending(fresh):
    one = register(Exercise("01.ex1", 1.0))
    assert find("01.ex1") is one
    assert find("ex1") is one


def test_an_unknown_name_is_answered_with_the_nearest(fresh):
    register(Exercise("01.ex1", 1.0))
    with pytest.raises(ValueError, match="name must be one of 01.ex1, got '01.exx1'; did you mean '01.ex1'"):
        find("01.exx1")


def test_an_ending_that_several_share_is_answered_with_all_of_them(fresh):
    register(Exercise("01.ex1", 1.0))
    register(Exercise("02.ex1", 1.0))
    with pytest.raises(ValueError, match="'ex1' is meant: 01.ex1, 02.ex1"):
        find("ex1")


def test_registering_again_replaces(fresh):
    register(Exercise("01.ex1", 1.0))
    again = register(Exercise("01.ex1", 2.0))
    assert dict(registry()) == {"01.ex1": again}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reference": group_advantages}, "cases must be given for a function and only then"),
        ({"reference": 1.0, "cases": (Case((1,)),)}, "cases must be given for a function and only then"),
        ({"reference": 1.0, "tolerance": 0.0}, "tolerance must be > 0"),
        ({"reference": 1.0, "points": -1}, "points must be > 0"),
    ],
)
def test_an_exercise_that_cannot_be_graded_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Exercise("00.bad", **settings)
