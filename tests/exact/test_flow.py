from __future__ import annotations

import pytest
import torch

from toykit.exact import ascend, ascend_until

START = torch.tensor([[1.0, -2.0], [0.5, 4.0]], dtype=torch.float64)


def test_steps_follow_the_gradient_and_come_back_in_the_order_asked_for() -> None:
    """Of -x^2 / 2 the gradient is -x, so each step multiplies by 1 - lr."""
    found = ascend(lambda x: -x, START, 0.1, keep=(3, 0, 3, 10))
    for kept, steps in zip(found, (3, 0, 3, 10), strict=True):
        assert torch.allclose(kept, START * 0.9**steps, rtol=1e-14, atol=0)


def test_each_setting_may_have_its_own_rate_and_the_start_is_left_alone() -> None:
    before = START.clone()
    rates = torch.tensor([[0.1], [0.5]], dtype=torch.float64)
    found = ascend(lambda x: -x, START, rates, keep=(2,))[0]
    assert torch.allclose(found, START * (1 - rates) ** 2, rtol=1e-14, atol=0)
    assert torch.equal(START, before)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="lr must be > 0 and finite, got 0"):
        ascend(lambda x: -x, START, 0.0, keep=(1,))
    with pytest.raises(ValueError, match="keep must hold at least one number of steps, got none"):
        ascend(lambda x: -x, START, 0.1, keep=())
    with pytest.raises(ValueError, match="keep must be >= 0, got -1"):
        ascend(lambda x: -x, START, 0.1, keep=(3, -1))


def test_every_setting_stops_at_its_first_arrival() -> None:
    """From 1, 2 and 8 each step of 1/2 halves: below 1/2 after 2, 3 and 5 steps; a fourth is there at once."""
    start = torch.tensor([[1.0], [2.0], [8.0], [0.25]], dtype=torch.float64)
    steps, ends = ascend_until(lambda x: -x, start, 0.5, lambda x: x[:, 0] < 0.5)
    assert steps.tolist() == [2, 3, 5, 0]
    assert ends[:, 0].tolist() == [0.25, 0.25, 0.25, 0.25]


def test_what_does_not_arrive_is_said() -> None:
    steps, ends = ascend_until(lambda x: -x, START, 0.5, lambda x: x[:, 1] > 0, most=3)
    assert steps.tolist() == [-1, 0]
    assert ends.tolist() == [[0.125, -0.25], [0.5, 4.0]]
    with pytest.raises(ValueError, match="most must be >= 0, got -1"):
        ascend_until(lambda x: -x, START, 0.5, lambda x: x[:, 0] > 0, most=-1)
