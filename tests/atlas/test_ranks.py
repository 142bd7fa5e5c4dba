"""Rank correlations of one rung with another, on results written by hand."""

from __future__ import annotations

import pytest

from toykit.atlas import MEASURES, finding, ranks


def test_means_over_problems_leave_out_a_method_that_failed(by_hand):
    found = ranks.averages(by_hand, "gpt", "entropy")
    assert "slic" not in found and len(found) == 9
    assert found["rloo"] == pytest.approx(
        [v / 2 for v in (1 / 11 + 1 / 22 - 0.02, 1 / 11 + 1 / 22, 1 / 11 + 1 / 22 + 0.02)], abs=1e-6
    )
    assert len(ranks.averages(by_hand, "exact", "entropy")) == 10


def test_the_finding_is_spearmans_correlation_of_the_methods_that_both_rungs_have(by_hand):
    found = finding(by_hand)
    assert list(found) == list(MEASURES)
    one = found["pass@1"]
    # nine methods, two neighbours exchanged: 1 - 6 (1 + 1) / (9 (81 - 1))
    assert one["all"]["rho"] == pytest.approx(1 - 12 / 720) and one["all"]["n"] == 9
    assert one["all"]["low"] < one["all"]["rho"] <= one["all"]["high"] == 1
    assert one["problems"]["ladder"]["n"] == 10 and one["problems"]["shared"]["n"] == 9
    assert one["kinds"]["on policy"]["n"] == 8 and one["kinds"]["offline"] is None  # of one method
    assert one["kinds"]["on policy"]["rho"] == pytest.approx(1)
    assert one["halves"]["exact"]["rho"] == pytest.approx(1)


def test_few_methods_or_equal_ones_have_no_correlation():
    line = [float(i) for i in range(ranks.FEWEST)]
    assert ranks.correlation(line[1:], line[1:]) is None
    assert ranks.correlation(line, [1.0] * len(line)) is None
    assert ranks.correlation(line, line[::-1])["rho"] == pytest.approx(-1)


def test_the_interval_is_wide_where_there_is_no_relation_and_the_same_for_the_same_seed():
    x = [float(i) for i in range(12)]
    y = [float(5 * i % 12) for i in range(12)]
    found = ranks.correlation(x, y)
    assert found["low"] < -0.2 and found["high"] > 0.4 and found["low"] < found["rho"] < found["high"]
    assert found == ranks.correlation(x, y) != ranks.correlation(x, y, seed=1)
