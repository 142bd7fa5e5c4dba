from __future__ import annotations

import math

import pytest
import torch

from toykit.rewards import Gated, Shaping, SoftOverlong, length
from toykit.rollouts import Rollouts, of_lengths


def batch(lengths: list[list[int]], horizon: int | None) -> Rollouts:
    sizes = torch.tensor(lengths)
    made = of_lengths(sizes, torch.ones_like(sizes))
    return made.with_(prompt_ids=made.prompt_ids + 5, horizon=horizon)


def test_the_overlong_penalty_falls_linearly_over_the_cache():
    rollouts = batch([[1, 15, 16, 17, 18, 20]], horizon=20)
    assert SoftOverlong(cache=4)(rollouts).tolist() == [pytest.approx([0, 0, 0, -0.25, -0.5, -1])]
    assert SoftOverlong()(rollouts).tolist() == [pytest.approx([0, 0, 0, -0.25, -0.5, -1])]  # a fifth
    assert SoftOverlong(cache=10)(rollouts).tolist() == [pytest.approx([0, -0.5, -0.6, -0.7, -0.8, -1])]


def test_the_proportions_are_those_of_dapo():
    """L_max 20480 and L_cache 4096, by its formula min(0, -(L - (L_max - L_cache)) / L_cache)."""
    rollouts = batch([[16384, 18432, 20480]], horizon=20480)
    assert SoftOverlong()(rollouts).tolist() == [[0, -0.5, -1]]


def test_the_overlong_penalty_needs_a_horizon_and_a_cache():
    with pytest.raises(ValueError, match="horizon must be given for the overlong penalty, got None"):
        SoftOverlong()(batch([[1, 2]], horizon=None))
    with pytest.raises(ValueError, match="cache must be > 0 and finite, got 0"):
        SoftOverlong(cache=0)


def test_length_is_a_share_of_the_horizon():
    assert length(batch([[5, 10]], horizon=40)).tolist() == [[0.125, 0.25]]
    assert length(batch([[5, 20]], horizon=None)).tolist() == [[0.25, 1.0]]


def test_terms_are_weighted_and_logged_by_name():
    rollouts = batch([[5, 10], [20, 20]], horizon=20)
    shaped, means = Shaping({"length": (-0.5, length), "overlong": (2.0, SoftOverlong(10))})(rollouts)
    assert shaped.rewards.tolist() == [pytest.approx([0.875, 0.75]), pytest.approx([-1.5, -1.5])]
    expected = {"reward/task": 1, "reward/length": 0.6875, "reward/overlong": -0.5}
    assert means == pytest.approx(expected)
    assert torch.equal(shaped.extras["task_rewards"], rollouts.rewards)
    assert rollouts.rewards.tolist() == [[1, 1], [1, 1]]


def test_the_mean_of_a_term_is_that_under_the_behaviour_policy():
    rollouts = batch([[5, 10]], horizon=20).with_(weights=torch.tensor([[0.75, 0.25]], dtype=torch.float64))
    means = Shaping({"length": (1.0, length)})(rollouts)[1]
    assert means == pytest.approx({"reward/task": 1, "reward/length": 0.3125})


def test_no_terms_change_nothing():
    rollouts = batch([[5, 10]], horizon=20)
    shaped, means = Shaping()(rollouts)
    assert torch.equal(shaped.rewards, rollouts.rewards) and means == {}


def test_a_term_that_is_not_finite_names_the_prompt():
    broken = Shaping({"bad": (1.0, lambda r: torch.tensor([[0.0, 0.0], [math.nan, 0.0]]))})
    with pytest.raises(ValueError, match=r"rewards must be finite, got nan at index \[1, 0\] \(prompt 6\)"):
        broken(batch([[1, 2], [3, 4]], horizon=20))


def test_a_gated_term_pays_with_the_task_alone():
    """r (1 + 0.5 c) + 0.5 f: a wrong completion gets the same whatever the referee says."""
    says = torch.tensor([[1.0, -1.0], [1.0, 0.0]])
    right = torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    given = Shaping({"consistency": (0.5, Gated(lambda r: says)), "format": (0.5, lambda r: torch.ones(2, 2))})
    made, means = given(batch([[5, 5], [5, 5]], horizon=20).with_(rewards=right))
    assert made.rewards.tolist() == [[2.0, 1.0], [0.5, 1.5]]
    assert means == {"reward/task": 0.75, "reward/consistency": 0.0, "reward/format": 1.0}
    again, _ = Shaping({"again": (1.0, Gated(lambda r: says))})(made)
    assert torch.equal(again.rewards, made.rewards + right * says)  # the task's own reward, not the shaped one
