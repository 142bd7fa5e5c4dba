from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from toykit.objectives import GAE, Advantage, GreedyBaseline
from toykit.objectives.advantages import MEANS, STDS

REWARDS = torch.tensor([[1.0, 0.0, 0.0, 3.0], [2.0, 2.0, 2.0, 2.0]], dtype=torch.float64)
EVEN = torch.full_like(REWARDS, 0.25)
GROUP_DEVIATION = [0.0, -1.0, -1.0, 2.0]  # from the group's mean, 1
BATCH_DEVIATION = [-0.5, -1.5, -1.5, 1.5, 0.5, 0.5, 0.5, 0.5]  # from the batch's mean, 1.5
BATCH_SQUARES = 8.0  # their sum of squares


def rows(advantage: Tensor) -> list[float]:
    return pytest.approx(advantage.flatten().tolist(), abs=1e-14)


def test_means_alone():
    assert rows(Advantage("none")(REWARDS, EVEN)) == REWARDS.flatten().tolist()
    assert rows(Advantage("group")(REWARDS, EVEN)) == [*GROUP_DEVIATION, 0, 0, 0, 0]
    assert rows(Advantage("batch")(REWARDS, EVEN)) == BATCH_DEVIATION
    others = [1, 4 / 3, 4 / 3, 1 / 3]  # mean of the other three
    expected = [r - o for r, o in zip(REWARDS[0].tolist(), others, strict=True)]
    assert rows(Advantage("leave_one_out")(REWARDS, EVEN)) == [*expected, 0, 0, 0, 0]


@pytest.mark.parametrize("ddof", [0, 1])
def test_standard_deviations(ddof):
    eps = 0.1
    group = math.sqrt(6 / (4 - ddof)) + eps
    batch = math.sqrt(BATCH_SQUARES / (8 - ddof)) + eps

    def advantage(mean: str, std: str) -> Tensor:
        return Advantage(mean, std, ddof, eps)(REWARDS, EVEN)

    assert rows(advantage("group", "group")) == [a / group for a in GROUP_DEVIATION] + [0] * 4
    assert rows(advantage("group", "batch")) == [a / batch for a in GROUP_DEVIATION] + [0] * 4
    assert rows(advantage("batch", "batch")) == [a / batch for a in BATCH_DEVIATION]
    assert rows(advantage("none", "batch")) == [a / batch for a in REWARDS.flatten().tolist()]
    assert rows(advantage("batch", "group")) == [a / group for a in BATCH_DEVIATION[:4]] + [0] * 4
    assert rows(advantage("leave_one_out", "group")) == [4 / 3 * a / group for a in GROUP_DEVIATION] + [0] * 4


def test_card_03_exercise_seven_of_eight_right():
    rewards = torch.tensor([[1.0] * 7 + [0.0]], dtype=torch.float64)
    weights = torch.full_like(rewards, 1 / 8)
    wrong = Advantage("group", "group", eps=0)(rewards, weights)[0, -1]
    assert wrong.item() == pytest.approx(-7 / math.sqrt(8), abs=1e-14)
    assert wrong.item() == pytest.approx(-2.4749, abs=5e-5)
    assert Advantage("group")(rewards, weights)[0, -1].item() == -0.875


@pytest.mark.parametrize(("mean", "std"), [pair for pair in product(MEANS, STDS) if pair != ("none", "none")])
@pytest.mark.parametrize("reward", [0.1, 1 / 3, 1e8, 0.0])
def test_equal_rewards_give_exactly_0(mean, std, reward):
    """Rounding must not leave a trace: an optimizer that divides by the gradient's size would blow it up."""
    rewards = torch.full((2, 3), reward, dtype=torch.float64)
    uneven = torch.tensor([[0.2, 0.3, 0.5]] * 2, dtype=torch.float64)
    for eps in (0.0, 1e-6):
        assert not Advantage(mean, std, eps=eps)(rewards, torch.full_like(rewards, 1 / 3)).any()
        assert not Advantage(mean, std, eps=eps)(rewards, uneven, enumerated=True).any()


@pytest.mark.parametrize(("mean", "std", "ddof"), list(product(MEANS, STDS, (0, 1))))
def test_an_enumeration_gives_the_limit_of_large_groups(mean, std, ddof):
    """Groups that hold each completion in its share of 1/10, 1,000,000 times over."""
    rewards = torch.tensor([[1.0, 0.0, 0.25], [0.5, 0.1, 0.0]], dtype=torch.float64)
    tenths = torch.tensor([[1, 3, 6], [5, 2, 3]])
    exact = Advantage(mean, std, ddof)(rewards, tenths / 10.0, enumerated=True)
    large = torch.stack([r.repeat_interleave(n * 10_000) for r, n in zip(rewards, tenths, strict=True)])
    sampled = Advantage(mean, std, ddof)(large, torch.full_like(large, 1e-5))
    for row, (n, values) in enumerate(zip(tenths, exact, strict=True)):
        assert torch.allclose(sampled[row], values.repeat_interleave(n * 10_000), rtol=1e-4, atol=1e-5)


@given(st.integers(0, 10**6), st.floats(0.1, 100), st.floats(-50, 50))
def test_group_mean_over_batch_std_does_not_change_with_the_rewards_scale(seed, scale, shift):
    """Lite PPO's advantage, and GRPO's; the group mean alone scales with the rewards."""
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.rand(3, 4, generator=generator, dtype=torch.float64)
    weights = torch.full_like(rewards, 0.25)
    for std in ("group", "batch"):
        a = Advantage("group", std, eps=0)
        assert torch.allclose(a(scale * rewards + shift, weights), a(rewards, weights), rtol=0, atol=1e-9)
    a = Advantage("group")
    assert torch.allclose(a(scale * rewards + shift, weights), scale * a(rewards, weights), rtol=0, atol=1e-9)


def test_leading_axes_are_batches_of_their_own():
    generator = torch.Generator().manual_seed(0)
    rewards = torch.rand(5, 2, 3, generator=generator, dtype=torch.float64)
    weights = torch.full_like(rewards, 1 / 3)
    for mean, std in product(MEANS, STDS):
        advantage = Advantage(mean, std)
        apart = torch.stack([advantage(r, w) for r, w in zip(rewards, weights, strict=True)])
        assert torch.equal(advantage(rewards, weights), apart)


@pytest.mark.parametrize(("mean", "std"), [("group", "none"), ("leave_one_out", "none"), ("none", "group")])
def test_group_statistics_need_a_group(mean, std):
    one = torch.ones(3, 1, dtype=torch.float64)
    with pytest.raises(ValueError, match="group_size must be >= 2 for an advantage with group statistics, got 1"):
        Advantage(mean, std)(one, one)
    assert not Advantage(mean, std)(one, one, enumerated=True).any()
    assert not Advantage("batch", "batch")(one[:1], one[:1]).any()


def test_choices_are_checked():
    with pytest.raises(ValueError, match="mean must be one of .*, got 'groups'; did you mean 'group'?"):
        Advantage(mean="groups")
    with pytest.raises(ValueError, match="std must be one of batch, group, none, got 'leave_one_out'"):
        Advantage(std="leave_one_out")
    with pytest.raises(ValueError, match="ddof must be 0 or 1, got 2"):
        Advantage(ddof=2)
    with pytest.raises(ValueError, match="eps must be >= 0, got -1"):
        Advantage(eps=-1)


MASK = torch.tensor([[[True, True, True], [True, False, False]]])
VALUES = torch.tensor([[[0.5, 0.2, 0.4], [0.3, 9.0, 9.0]]], dtype=torch.float64)
FINAL = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
HALVES = torch.full((1, 2), 0.5, dtype=torch.float64)


def test_gae_by_hand():
    advantage, returns = GAE(gamma=0.5, lam=0.5, whiten=False)(FINAL, VALUES, MASK, HALVES)
    third = 1 - 0.4
    second = (0.5 * 0.4 - 0.2) + 0.25 * third
    first = (0.5 * 0.2 - 0.5) + 0.25 * second
    assert advantage.tolist() == [[pytest.approx([first, second, third]), pytest.approx([-0.3, 0, 0])]]
    assert returns.tolist() == [[pytest.approx([first + 0.5, second + 0.2, 1]), pytest.approx([0, 0, 0])]]


def test_gae_is_the_return_at_lambda_1_and_one_step_at_lambda_0():
    _, returns = GAE(lam=1, whiten=False)(FINAL, VALUES, MASK, HALVES)
    assert returns[0, 0].tolist() == pytest.approx([1, 1, 1])
    advantage, _ = GAE(lam=0, whiten=False)(FINAL, VALUES, MASK, HALVES)
    assert advantage[0, 0].tolist() == pytest.approx([0.2 - 0.5, 0.4 - 0.2, 1 - 0.4])


def test_whitening_gives_mean_0_and_standard_deviation_1_over_the_tokens():
    advantage, returns = GAE(eps=0)(FINAL, VALUES, MASK, HALVES)
    inside = advantage[MASK]
    assert inside.mean().item() == pytest.approx(0, abs=1e-15)
    assert inside.std().item() == pytest.approx(1)
    assert not advantage[~MASK].any()
    assert torch.equal(returns, GAE(whiten=False)(FINAL, VALUES, MASK, HALVES)[1])


def test_whitening_an_enumeration_is_the_limit_of_large_groups():
    weights = torch.tensor([[0.75, 0.25]], dtype=torch.float64)
    exact, _ = GAE(eps=0)(FINAL, VALUES, MASK, weights, enumerated=True)
    repeat = torch.tensor([0] * 3000 + [1] * 1000)
    many = torch.full((1, 4000), 1 / 4000, dtype=torch.float64)
    sampled, _ = GAE(eps=0)(FINAL[:, repeat], VALUES[:, repeat], MASK[:, repeat], many)
    assert torch.allclose(sampled, exact[:, repeat], rtol=1e-3)


def test_gae_bounds_are_checked():
    with pytest.raises(ValueError, match="gamma must be between 0 and 1, got 1.1"):
        GAE(gamma=1.1)
    with pytest.raises(ValueError, match="lam must be between 0 and 1, got -0.1"):
        GAE(lam=-0.1)


def test_the_greedy_baseline_is_the_reward_of_the_likeliest_completion():
    greedy = torch.tensor([[1.0], [0.5]], dtype=torch.float64).expand_as(REWARDS)
    found = GreedyBaseline()(REWARDS, greedy)
    assert found.tolist() == [[0, -1, -1, 2], [1.5, 1.5, 1.5, 1.5]]  # a group that is alike is pushed all the same
