"""SigmaFilter: which class of a batch it removes, by hand, about zero and about the batch's mean reward."""

from __future__ import annotations

import math

import pytest
import torch

from toykit.objectives import Advantage, SigmaFilter, method
from toykit.rollouts import Rollouts

PLAIN = method("stable_reinforce").pieces.with_(transforms=())


def batch(rewards: torch.Tensor) -> Rollouts:
    """One prompt with a completion of one token for each reward."""
    n = len(rewards)
    one = torch.ones(1, 1, dtype=torch.int64)
    return Rollouts(
        prompts=one,
        prompt_mask=one > 0,
        prompt_ids=torch.tensor([0]),
        completions=torch.zeros(1, n, 1, dtype=torch.int64),
        mask=torch.ones(1, n, 1, dtype=torch.bool),
        old_logp=torch.zeros(1, n, 1, dtype=rewards.dtype),
        rewards=rewards[None],
        weights=torch.full((1, n), 1 / n, dtype=rewards.dtype),
    )


def advantages(right: int, n: int, low: float = 0.0, high: float = 1.0, **given) -> tuple[float, float]:
    """(of a right completion, of a wrong one) in a batch of `n` with `right` right ones."""
    rewards = torch.tensor([high] * right + [low] * (n - right), dtype=torch.float64)
    made = PLAIN.with_(transforms=(SigmaFilter(**given),)).prepare(batch(rewards)).advantages
    return float(made[0, 0, 0]), float(made[0, -1, 0])


def test_a_rare_class_is_removed_below_a_tenth_and_kept_at_a_tenth():
    assert advantages(90, 100) == pytest.approx((1 / 3, -3.0), abs=1e-12)
    assert advantages(91, 100) == pytest.approx((math.sqrt(9 / 91), 0.0), abs=1e-12)
    assert advantages(9, 100) == pytest.approx((0.0, -math.sqrt(9 / 91)), abs=1e-12)
    assert advantages(9, 100, low=0.5, high=2.0) == pytest.approx((0.0, -math.sqrt(9 / 91)), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_class_of_exactly_a_tenth_stays_whatever_is_rounded(dtype):
    for n in range(10, 2000, 10):
        rewards = torch.tensor([2.0] * (n // 10) + [0.5] * (n - n // 10), dtype=dtype)
        made = PLAIN.with_(transforms=(SigmaFilter(),)).prepare(batch(rewards)).advantages
        assert bool((made != 0).all()), n


def test_about_the_mean_is_the_released_codes_comparison():
    """Rewards 2.0 and 0.5, 70 of 100 right: mean 1.55, z = -1.53 of a wrong one lies below 1.55 - 3; at 68 not."""
    assert advantages(70, 100, 0.5, 2.0, about="mean") == pytest.approx((math.sqrt(3 / 7), 0.0), abs=1e-12)
    assert advantages(68, 100, 0.5, 2.0, about="mean")[1] == pytest.approx(-math.sqrt(68 / 32), abs=1e-12)
    # a rare success of z = 3.109 passes where the mean reward is 0.64, and is removed about zero
    assert advantages(12, 128, 0.5, 2.0, about="mean")[0] == pytest.approx(math.sqrt(116 / 12), abs=1e-12)
    assert advantages(12, 128, 0.5, 2.0)[0] == 0.0


def test_both_are_the_same_where_the_mean_reward_is_zero():
    draw = torch.Generator().manual_seed(0)
    rewards = torch.randn(200, generator=draw, dtype=torch.float64) ** 3
    given = batch(rewards - rewards.mean())
    zero, mean = (
        PLAIN.with_(transforms=(SigmaFilter(about=about),)).prepare(given).advantages for about in ("zero", "mean")
    )
    assert torch.equal(zero, mean) and 0 < int((zero == 0).sum()) < 20


def test_each_of_several_batches_has_its_own_mean():
    filtered = SigmaFilter(1.0, about="mean")
    rewards = torch.tensor([[[5.0, 5.0]], [[0.0, 0.0]]], dtype=torch.float64)
    given = batch(torch.zeros(2, dtype=torch.float64))
    given = given.with_(rewards=rewards, weights=torch.full_like(rewards, 0.5))
    found = filtered(torch.full((2, 1, 2, 1), 0.5, dtype=torch.float64), given)
    assert found.flatten().tolist() == [0.0, 0.0, 0.5, 0.5]


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="bound"):
        SigmaFilter(bound=0.0)
    with pytest.raises(ValueError, match="about"):
        SigmaFilter(about="median")


def test_the_method_is_made_of_these_pieces():
    made = method("stable_reinforce").pieces
    assert made.transforms == (SigmaFilter(3.0, "zero"),) and made.log_clip == math.log(1000)
    assert made.advantage == Advantage("batch", "batch", ddof=0, eps=0.0) and not made.needs_group
