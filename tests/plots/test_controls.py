"""Controls: their grids, and what they refuse."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toykit.plots import Choice, Slider
from toykit.plots.controls import check_state, parse, starts


def test_a_slider_of_steps_holds_its_ends():
    assert Slider(0.0, 1.0, step=0.25).values == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert Slider(0.0, 1.0, step=0.4).values == (0.0, 0.4, 0.8, 1.0)


def test_steps_are_shown_without_rounding_noise():
    assert Slider(0.0, 1.0, step=0.1).values[3] == 0.3


def test_a_slider_of_integers_gives_integers():
    values = Slider(0, 10, step=5).values
    assert values == (0, 5, 10)
    assert all(isinstance(v, int) for v in values)


def test_a_log_slider_has_equal_ratios_and_its_default():
    values = Slider(0.01, 100.0, default=0.2, log=5).values
    assert values == (0.01, 0.1, 0.2, 1.0, 10.0, 100.0)


def test_a_slider_over_points_has_no_others():
    slider = Slider.at((100, 0, 10), default=10)
    assert (slider.low, slider.high, slider.start, slider.values) == (0, 100, 10, (0, 10, 100))
    with pytest.raises(ValueError, match="must be one of 0, 10, 100, got 50"):
        slider.check(50)
    with pytest.raises(ValueError, match=r"points must hold at least two numbers, got \[3\]"):
        Slider.at([3])


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_every_grid_is_increasing_within_its_ends(low, span):
    slider = Slider(low, low + span)
    values = slider.values
    assert values[0] == slider.low and values[-1] == slider.high
    assert all(a < b for a, b in pairwise(values))
    assert len(values) >= 50


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"low": 1.0, "high": 1.0}, "low must be < high, got low 1.0 and high 1.0"),
        ({"low": 0.0, "high": 1.0, "step": 0.0}, "step must be > 0 and finite, got 0.0"),
        ({"low": 0.0, "high": 1.0, "step": 1e-9}, "step must leave at most 2001 values"),
        ({"low": 0.1, "high": 1.0, "step": 0.1, "log": 5}, "step and log exclude each other"),
        ({"low": 0.0, "high": 1.0, "log": 5}, "low of a log slider must be > 0"),
        ({"low": 0.0, "high": 1.0, "default": 2.0}, "must be from 0.0 to 1.0, got 2.0"),
    ],
)
def test_a_slider_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        Slider(**settings)


def test_a_choice_starts_with_its_first_option():
    assert Choice(["a", "b"]).start == "a"
    assert Choice(("a", "b"), default="b").start == "b"


def test_a_choice_refuses_a_default_that_is_no_option_and_a_single_option():
    with pytest.raises(ValueError, match="must be one of kl_rl, plain, got 'kl-rl'; did you mean 'kl_rl'"):
        Choice(("kl_rl", "plain"), default="kl-rl")
    with pytest.raises(ValueError, match="options must hold at least two"):
        Choice(("a",))


def test_short_forms_are_sliders_and_choices():
    found = parse({"a": (0, 10), "b": (0.0, 1.0, 0.5), "c": ["x", "y"]})
    assert found == {"a": Slider(0, 10), "b": Slider(0.0, 1.0, step=0.5), "c": Choice(("x", "y"))}
    assert starts(found) == {"a": 0, "b": 0.0, "c": "x"}


def test_at_most_four_controls():
    with pytest.raises(ValueError, match="controls must be 1 to 4, got 5: a, b, c, d, e"):
        parse({name: (0, 1) for name in "abcde"})
    with pytest.raises(ValueError, match="controls must be 1 to 4, got 0: none"):
        parse({})


def test_a_control_that_is_none_is_named():
    with pytest.raises(ValueError, match="control 'beta' must be a Slider, a Choice, .* got 0.2"):
        parse({"beta": 0.2})
    with pytest.raises(ValueError, match="control 'beta': low must be < high"):
        parse({"beta": (1, 0)})


def test_a_state_is_held_against_the_controls():
    controls = parse({"beta": (0.0, 1.0), "kind": ["a", "b"]})
    check_state("preset 'x'", {"beta": 0.123, "kind": "b"}, controls)
    with pytest.raises(ValueError, match="preset 'x' sets 'bta', but the controls are beta, kind; did you mean 'beta'"):
        check_state("preset 'x'", {"bta": 1}, controls)
    with pytest.raises(ValueError, match="preset 'x': beta must be from 0.0 to 1.0, got 3"):
        check_state("preset 'x'", {"beta": 3}, controls)
    with pytest.raises(ValueError, match="preset 'x': kind must be one of a, b, got 'c'"):
        check_state("preset 'x'", {"kind": "c"}, controls)
