from __future__ import annotations

import math

import pytest
import torch

from toykit.diagnostics import interval, median_interval, paired_interval, rank_correlation, t_quantile

# Two-sided quantiles from published tables, extended digits from their closed forms where there are some.
TABLE = {
    (0.95, 1): 12.7062047362,
    (0.95, 2): 4.3026527297,
    (0.95, 3): 3.1824463053,
    (0.95, 4): 2.7764451052,
    (0.95, 5): 2.5705818356,
    (0.95, 9): 2.2621571628,
    (0.95, 10): 2.2281388520,
    (0.95, 30): 2.0422724563,
    (0.95, 120): 1.9799304051,
    (0.99, 4): 4.6040948714,
    (0.99, 10): 3.1692726726,
    (0.90, 1): 6.3137515147,
    (0.90, 30): 1.6972608866,
    (0.999, 7): 5.4078825209,
}


@pytest.mark.parametrize(("level", "df"), TABLE)
def test_quantiles_are_those_of_the_tables(level, df):
    assert t_quantile(level, df) == pytest.approx(TABLE[level, df], abs=1e-8)


def test_quantiles_in_closed_form_and_in_the_normal_limit():
    for level in (0.0, 0.3, 0.8, 0.999):
        assert t_quantile(level, 1) == pytest.approx(math.tan(math.pi * level / 2), abs=1e-9)
        assert t_quantile(level, 2) == pytest.approx(level * math.sqrt(2 / (1 - level**2)), abs=1e-9)
    assert t_quantile(0.95, 100_000) == pytest.approx(1.959963985 + 2.372e-5, abs=1e-7)
    assert all(t_quantile(0.95, df) > t_quantile(0.95, df + 1) for df in range(1, 60))


def test_interval_by_hand():
    found = interval([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.7764451052 * math.sqrt(2.5 / 5)
    assert found.mean == 3
    assert found.n == 5
    assert (found.low, found.high) == (pytest.approx(3 - half, abs=1e-9), pytest.approx(3 + half, abs=1e-9))
    assert found.excludes(0) and not found.excludes(3.5)
    assert interval([2.0, 2.0]).excludes(0)
    assert not interval([0.0, 0.0]).excludes(0)


def test_paired_interval_is_that_of_the_differences():
    a, b = torch.tensor([5.0, 7.0, 9.0]), torch.tensor([4.0, 6.5, 7.0])
    assert paired_interval(a, b) == interval([1.0, 0.5, 2.0])
    assert paired_interval(a, b).low < interval(a).mean - interval(b).mean < paired_interval(a, b).high


def test_intervals_cover_at_their_level():
    values = torch.randn(4000, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    half = t_quantile(0.9, 4) * values.std(1) / math.sqrt(5)
    covered = (values.mean(1).abs() < half).double().mean().item()
    assert covered == pytest.approx(0.9, abs=4 * math.sqrt(0.09 / 4000))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="number of values must be >= 2, got 1"):
        interval([1.0])
    with pytest.raises(ValueError, match="values must be finite, got nan"):
        interval([1.0, math.nan])
    with pytest.raises(ValueError, match="first and second must have as many values, got 2 and 3"):
        paired_interval([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="level must be from 0 to below 1, got 1.0"):
        t_quantile(1.0, 3)
    with pytest.raises(ValueError, match="df must be >= 1"):
        t_quantile(0.95, 0)


def test_rank_correlation_by_hand():
    """Ranks 0 1 2 3 against 1 0 2 3: 1 - 6 (1 + 1) / (4 x 15) = 0.8; ties share their mean rank."""
    x = torch.tensor([0.1, 0.2, 5.0, 9.0], dtype=torch.float64)
    y = torch.tensor([3.0, -1.0, 4.0, 100.0], dtype=torch.float64)
    assert rank_correlation(x, y).item() == pytest.approx(0.8, abs=1e-15)
    both = rank_correlation(x, torch.stack([x.exp(), -x, y]))
    assert both.tolist() == pytest.approx([1, -1, 0.8], abs=1e-15)
    tied = torch.tensor([1.0, 1.0, 2.0, 3.0], dtype=torch.float64)  # ranks 0.5 0.5 2 3, centred -1 -1 0.5 1.5
    assert rank_correlation(x, tied).item() == pytest.approx(4.5 / (5 * 4.5) ** 0.5, abs=1e-15)
    assert rank_correlation(x, torch.ones(4)).isnan()


def test_the_interval_of_a_median_is_between_order_statistics():
    """By hand: of 6 values both ends miss with 1 / 64 each; of 20 the 6th from each end is the last within 2.5 %."""
    found = median_interval([5.0, 1.0, 3.0, 2.0, 6.0, 400.0])
    assert (found.mean, found.low, found.high, found.n) == (4.0, 1.0, 400.0, 6)
    found = median_interval([float(i) for i in range(1, 21)])
    assert (found.mean, found.low, found.high) == (10.5, 6.0, 15.0)
    assert median_interval([3.0, 1.0, 2.0], level=0.7).mean == 2.0
    with pytest.raises(ValueError, match="number of values must be larger for an interval of the median, got 5"):
        median_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    with pytest.raises(ValueError, match="values must be finite"):
        median_interval([float("nan")] * 8)
