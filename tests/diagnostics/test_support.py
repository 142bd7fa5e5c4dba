from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.diagnostics import SupportTable, detectable, distinct_n, in_support, support_table


def test_detectable_probability_is_missed_with_the_stated_chance():
    assert detectable(8192) == pytest.approx(3.66e-4, abs=5e-7)
    assert (1 - detectable(8192, 0.1)) ** 8192 == pytest.approx(0.1, rel=1e-3)
    with pytest.raises(ValueError, match="miss must be between 0 and 1, got 1.0"):
        detectable(8, 1.0)
    with pytest.raises(ValueError, match="k must be >= 1"):
        detectable(0)


def test_support_counts_correct_completions_above_the_threshold():
    log_p = torch.tensor([0.7, 0.2, 0.1, 0.0], dtype=torch.float64).log()
    correct = torch.tensor([False, True, True, True])
    assert in_support(log_p).tolist() == [True, True, True, False]
    assert in_support(log_p, 0.15).tolist() == [True, True, False, False]
    assert in_support(log_p, 0.15, correct).sum() == 1


@pytest.mark.parametrize(
    ("counts", "rates"),
    [
        ((2400, 163, 36, 805), (0.936, 0.015, 0.029, -0.049)),  # preserved, lost, gained, out
        ((90, 30, 0, 0), (0.75, 0.0, 0.0, -0.25)),
    ],
)
def test_published_counts_give_the_published_rates(counts, rates):
    table = SupportTable(*(torch.tensor(float(x), dtype=torch.float64) for x in counts))
    found = [table.retention, table.discovery, table.dynamics, table.net_change]
    assert [x.item() for x in found] == pytest.approx(rates, abs=5e-4)


def test_table_counts_the_four_cells():
    before = torch.tensor([True, True, False, False, True])
    after = torch.tensor([True, False, True, False, True])
    table = support_table(before, after)
    assert [x.item() for x in (table.preserved, table.lost, table.gained, table.out)] == [2, 1, 1, 1]
    some = support_table(before, after, torch.tensor([True, False, False, False, False]))
    assert [x.item() for x in (some.preserved, some.lost, some.gained, some.out)] == [1, 0, 0, 0]
    none = support_table(before[3:4], after[3:4])
    assert none.retention.isnan() and none.discovery.isnan() and none.net_change.isnan()


@settings(deadline=None)
@given(counts=st.tuples(*[st.integers(0, 50)] * 4))
def test_both_forms_of_the_dynamics_score_agree(counts):
    p, s, e, _ = counts
    table = SupportTable(*(torch.tensor(float(x), dtype=torch.float64) for x in counts))
    if p + s and p + e:
        other = 2 * p * e / (p * p + 2 * p * e + e * s) if p and e else 0.0
        assert table.dynamics.item() == pytest.approx(other, abs=1e-14)


def test_distinct_n_by_hand():
    tokens = torch.tensor([[[1, 2, 1, 2], [1, 2, 3, 0]], [[5, 5, 5, 5], [5, 5, 5, 5]]])
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[0, 1, 3] = False
    assert distinct_n(tokens, mask, 1).tolist() == pytest.approx([3 / 7, 1 / 8], abs=1e-15)
    assert distinct_n(tokens, mask, 2).tolist() == pytest.approx([3 / 5, 1 / 6], abs=1e-15)  # 12 21 12 | 12 23
    assert distinct_n(tokens[0], mask[0], 4).item() == 1
    assert math.isnan(distinct_n(tokens[0], mask[0], 5).item())
    assert math.isnan(distinct_n(tokens[0], torch.zeros_like(mask[0]), 1).item())
