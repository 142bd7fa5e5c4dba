from __future__ import annotations

import itertools
import math

import pytest
import torch

from toykit.diagnostics import frontier, sampled_best_of_n, shortfall
from toykit.exact import best_of_n, kl, tilt_to_kl

LOG_P = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64).log()
R = torch.tensor([0.0, 1.0, 2.0, 4.0], dtype=torch.float64)


def test_the_frontier_of_a_binary_reward_by_hand():
    """Success q instead of 0.1 costs q log(q / 0.1) + (1 - q) log((1 - q) / 0.9)."""
    q = torch.tensor([0.1, 0.3439, 0.9], dtype=torch.float64)
    cost = q * (q / 0.1).log() + (1 - q) * ((1 - q) / 0.9).log()
    log_prior = torch.tensor([0.1, 0.9], dtype=torch.float64).log()
    assert torch.allclose(frontier(log_prior, torch.tensor([1.0, 0.0]).double(), cost), q, atol=1e-9)


def test_the_frontier_starts_at_the_prior_and_ends_at_the_best():
    found = frontier(LOG_P, R, torch.tensor([0.0, 0.4, -math.log(0.05)], dtype=torch.float64))
    assert found.tolist() == pytest.approx([0.8, 1.8955993377, 4.0], abs=1e-10)


def test_the_shortfall_is_the_divergence_from_the_tilt_over_alpha():
    other = best_of_n(LOG_P, R, 8)
    left = shortfall(LOG_P, R, other.kl[None], (other.log_p.exp() @ R)[None])
    tilt = tilt_to_kl(LOG_P, R, other.kl)
    assert left.item() == pytest.approx((tilt.beta * kl(other.log_p, tilt.log_p)).item(), abs=1e-12)
    assert left.item() > 1e-3
    at = frontier(LOG_P, R, torch.tensor([0.3]).double())
    assert shortfall(LOG_P, R, torch.tensor([0.3]).double(), at).item() == 0


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_estimated_reward_is_unbiased(n):
    """Over all samples of 4 rewards from three levels, each with its probability."""
    p, levels = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), torch.tensor([0.0, 1.0, 5.0]).double()
    mean = sum(
        p[list(pick)].prod() * sampled_best_of_n(levels[list(pick)], n).reward
        for pick in itertools.product(range(3), repeat=4)
    )
    law = best_of_n(p.log(), levels, n)
    assert mean.item() == pytest.approx((law.log_p.exp() @ levels).item(), abs=1e-14)


def test_a_sample_by_hand():
    """Rewards 0, 0, 1, 2, best of 2: of 6 pairs 1 has best 0, 2 have best 1, 3 have best 2."""
    found = sampled_best_of_n(torch.tensor([0.0, 2.0, 1.0, 0.0]), 2)
    assert found.reward.item() == pytest.approx(8 / 6, abs=1e-15)
    expected = 1 / 6 * math.log(1 / 3) + 1 / 3 * math.log(4 / 3) + 1 / 2 * math.log(2)
    assert found.kl.item() == pytest.approx(expected, abs=1e-15)
    one = sampled_best_of_n(torch.tensor([0.0, 2.0, 1.0, 0.0]), 1)
    assert (one.reward.item(), one.kl.item()) == pytest.approx((0.75, 0.0), abs=1e-15)
    all_of_them = sampled_best_of_n(torch.tensor([0.0, 2.0, 1.0, 0.0]), 4)
    assert (all_of_them.reward.item(), all_of_them.kl.item()) == pytest.approx((2.0, math.log(4)), abs=1e-15)


def test_a_large_sample_comes_near_the_law():
    draw = torch.Generator().manual_seed(0)
    rewards = R[torch.multinomial(LOG_P.exp(), 100_000, replacement=True, generator=draw)]
    found, law = sampled_best_of_n(rewards, 16), best_of_n(LOG_P, R, 16)
    assert found.reward.item() == pytest.approx((law.log_p.exp() @ R).item(), abs=0.02)
    assert found.kl.item() == pytest.approx(law.kl.item(), abs=0.02)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="k must be at most n, the number of samples, got k=5 and n=4"):
        sampled_best_of_n(torch.zeros(4), 5)
    with pytest.raises(ValueError, match="n must be >= 1, got 0"):
        sampled_best_of_n(torch.zeros(4), 0)
    with pytest.raises(ValueError, match="kl_budget must be from 0"):
        frontier(LOG_P, R, torch.tensor([9.0]).double())
