"""Evidence of effects: a 95 % t-interval over seeds lies on one side of a bound, or nothing is decided."""

from __future__ import annotations

import pytest

from toykit.lessons import below, difference, effect
from toykit.lessons.base import printed, sampled_claims, units

HALF = 2.7764451051977987 * (2.5 / 5) ** 0.5  # of the interval of 1, 2, 3, 4, 5: t(4), variance 2.5


def test_an_effect_holds_where_its_interval_is_above_the_bound():
    found = effect([1, 2, 3, 4, 5], above=1.0)
    assert found.holds and found.measured == 3 and found.expected == "> 1"
    assert found.interval == pytest.approx((3 - HALF, 3 + HALF), abs=1e-12)
    assert effect([1, 2, 3, 4, 5], above=1.1).holds is False


def test_below_is_the_same_interval_on_the_other_side():
    found = below([1, 2, 3, 4, 5], 5.0)
    assert found.holds and found.measured == 3 and found.expected == "< 5"
    assert found.interval == pytest.approx((3 - HALF, 3 + HALF), abs=1e-12)
    assert below([1, 2, 3, 4, 5], 4.9).holds is False
    assert below([-2.0, -1.0, -2.0, -1.0, -2.0], 0.0).expected == "< 0"


@pytest.mark.parametrize("values", [[1, 2, 3, 4], [1, 2, 3, 4, float("inf")]])
def test_few_seeds_and_values_that_are_not_numbers_decide_nothing(values):
    assert effect(values, above=0.0).holds is None
    found = below(values, 9.0)
    assert found.holds is None and found.expected == "< 9, over 5 seeds or more" and found.interval is None


def test_differences_are_by_seed():
    assert difference([3.0, 1.0], [1.0, 2.0]) == [2.0, -1.0]
    with pytest.raises(ValueError, match="zip"):
        difference([1.0], [1.0, 2.0])


def test_a_number_is_held_against_the_digits_that_are_printed():
    assert units(0.01463, "0.0146") == pytest.approx(0.3)
    assert units(7.38e-4, "7.4e-4") == pytest.approx(0.2)
    assert units(1.0, "1.0000") == 0


def test_numbers_are_held_against_the_printed_ones_all_together():
    found = printed([0.01463, 1.0], ("0.0146", "1.0000"))
    assert found.holds and found.measured == [0.01463, 1.0] and found.expected == [0.0146, 1.0]
    assert printed([0.01463, 1.0001], ("0.0146", "1.0000")).holds is False
    with pytest.raises(ValueError, match="zip"):
        printed([1.0], ("1", "2"))


def test_sampled_claims_are_made_of_both_rungs_alike():
    made = sampled_claims([("a", lambda r: effect(r["x"], 0.0)), ("b", lambda r: effect(r["y"], 0.0))])
    assert [(c.id, c.rung, c.statement) for c in made] == [
        ("G1", "gpt", "a"),
        ("G2", "gpt", "b"),
        ("L1", "llm", "a"),
        ("L2", "llm", "b"),
    ]
    assert made[3].check({"y": [1, 2, 3, 4, 5]}).holds
