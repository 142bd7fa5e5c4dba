from __future__ import annotations

import math

import pytest
import torch

from toykit.diagnostics import (
    accuracy_histogram,
    efficiency_gap,
    exact_pass_at_k,
    sampled_efficiency_gap,
    solved,
    support_table,
)


def number(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_gap_by_hand():
    """Base rates 1/2 and 1/4: pass@2 is 3/4 and 7/16; the trained policy's pass@1 is the mean of 1 and 0."""
    assert efficiency_gap(number(0.5, 0.25), number(1.0, 0.0), k=2).item() == pytest.approx(19 / 32 - 1 / 2, abs=1e-15)
    both = efficiency_gap(number(0.5, 0.25).repeat(3, 1), number(1.0, 0.0), k=1)
    assert both.tolist() == pytest.approx([-0.125] * 3, abs=1e-15)


def test_the_mean_over_problems_is_taken_after_pass_at_k():
    p = number(0.5, 0.01)
    gap = efficiency_gap(p, number(0.0, 0.0), k=5)
    assert gap.item() == pytest.approx(1 - (0.5**5 + 0.99**5) / 2, abs=1e-15)
    assert gap.item() < exact_pass_at_k(p.mean(), 5) - 0.2


def test_the_sampled_gap_is_unbiased():
    """Two problems, three samples each: the mean over all outcomes of both policies is the exact gap."""
    base, trained, n, k = number(0.3, 0.6), number(0.8, 0.1), 3, 2

    def law(p: float) -> list[float]:
        return [math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]

    c = torch.cartesian_prod(*[torch.arange(n + 1)] * 4)
    laws = [torch.tensor(law(p), dtype=torch.float64) for p in (*base.tolist(), *trained.tolist())]
    chance = torch.stack([q[c[:, i]] for i, q in enumerate(laws)]).prod(0)
    mean = (chance * sampled_efficiency_gap(n, c[:, :2], c[:, 2:], k)).sum()
    assert mean.item() == pytest.approx(efficiency_gap(base, trained, k).item(), abs=1e-15)


def test_the_histogram_counts_each_problem_once():
    accuracy = number(0.0, 0.0, 0.05, 0.25, 0.3, 0.999, 1.0, 1.0)
    assert (8 * accuracy_histogram(accuracy, bins=4)).tolist() == pytest.approx([2, 1, 2, 0, 1, 2], abs=1e-12)
    assert (8 * accuracy_histogram(accuracy, bins=4, edge=0.05)).tolist() == pytest.approx(
        [3, 0, 2, 0, 0, 3], abs=1e-12
    )
    assert (8 * accuracy_histogram(accuracy, bins=1)).tolist() == pytest.approx([2, 4, 2], abs=1e-12)


def test_histograms_go_together_over_leading_axes():
    accuracy = number(0.0, 0.5, 1.0, 0.2, 0.2, 0.7).view(2, 3)
    both = accuracy_histogram(accuracy, bins=2)
    assert torch.equal(both, torch.stack([accuracy_histogram(row, bins=2) for row in accuracy]))
    assert torch.allclose(both.sum(-1), torch.ones(2, dtype=torch.float64), atol=1e-15)


def test_what_samples_cannot_see_is_what_is_not_solved():
    """With edge = 1 - 2^(-1/k) the first bar is the share of problems that k samples leave unsolved."""
    p = number(1e-5, 6e-4, 7e-4, 0.3)
    edge = -math.expm1(-math.log(2) / 1024)
    assert accuracy_histogram(p, edge=edge)[0].item() == (~solved(p, 1024)).double().mean().item() == 0.5


def test_solvable_sets_make_the_two_by_two_table():
    base, trained = number(0.9, 0.01, 0.01, 0.0), number(0.99, 1e-6, 0.5, 0.0)
    table = support_table(solved(base, 256), solved(trained, 256))
    assert [x.item() for x in (table.preserved, table.lost, table.gained, table.out)] == [2, 1, 0, 1]


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="bins must be >= 1, got 0"):
        accuracy_histogram(number(0.5), bins=0)
    with pytest.raises(ValueError, match=r"edge must be from 0 to below 0.5, got 0.5"):
        accuracy_histogram(number(0.5), edge=0.5)
    with pytest.raises(ValueError, match="accuracy must be from 0 to 1"):
        accuracy_histogram(number(0.5, math.nan))
    with pytest.raises(ValueError, match="k must be at most n, the number of samples, got k=256 and n=8"):
        sampled_efficiency_gap(8, torch.tensor([1]), torch.tensor([2]))
