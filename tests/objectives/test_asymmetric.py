"""APO's weight of the KL and its enlarged advantages, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from toykit.objectives import DADS, STCR, Advantage, method
from toykit.rollouts import Rollouts, of_lengths


def group(right: str, lengths: list[int], weights: list[float] | None = None, further: list[float] | None = None):
    """One prompt's completions: 1 is right and 0 wrong, with their tokens; `further` is added to the reward."""
    correct = torch.tensor([[float(c) for c in right]], dtype=torch.float64)
    rewards = correct + torch.tensor(further or [0.0] * len(lengths), dtype=torch.float64)
    made = of_lengths(torch.tensor([lengths]), rewards).with_(extras={"task_rewards": correct})
    return made if weights is None else made.with_(weights=torch.tensor([weights], dtype=torch.float64))


def advantages(batch: Rollouts) -> torch.Tensor:
    estimate = Advantage("group", "group", eps=1e-9)(batch.rewards, batch.weights)
    return estimate[..., None] * batch.mask


@pytest.mark.parametrize(("k", "printed"), [(1, ".2881"), (2, ".4932"), (4, ".7431"), (6, ".8698"), (7, ".9073")])
def test_the_weight_of_right_completions_is_the_cards_and_that_of_wrong_ones_1(k, printed):
    batch = group("1" * k + "0" * (8 - k), [2] * 8)
    found = DADS()(batch, advantages(batch))[0]
    assert found[:k].tolist() == pytest.approx([float(printed)] * k, abs=5e-5)
    assert (found[k:] == 1).all()


def test_the_curve_that_is_commented_out():
    batch = group("11000000", [2] * 8)
    assert DADS("exponential")(batch, advantages(batch))[0, 0].item() == pytest.approx(math.exp(-math.e * 0.75))


@pytest.mark.parametrize("right", ["000000", "111111"])
def test_where_all_are_right_or_wrong_nothing_is_lighter_though_format_tells_advantages_apart(right):
    """Six completions, because 6 times 1/6 is not 1 in floating point."""
    batch = group(right, [2] * 6, further=[0.5, 0.0, 0.0, 0.5, 0.0, 0.0])
    assert (advantages(batch) > 0).any() and (DADS()(batch, advantages(batch)) == 1).all()


def test_the_sign_is_the_advantages_not_the_answers():
    batch = group("1000", [2] * 4, further=[0.0, 0.5, 0.0, 0.0])
    found = DADS()(batch, advantages(batch))[0]
    assert advantages(batch)[0, 1, 0] > 0
    assert found.tolist() == pytest.approx([1 - math.exp(-math.e / 4)] * 2 + [1.0] * 2)


def test_the_exercise_of_the_card():
    """Right ones of 19 and 21 tokens; the wrong one of 30 is ten longer: W = 1 + 1 - 1 / e."""
    batch = group("11000000", [19, 21, 30, 20, 4, 4, 4, 4])
    before = advantages(batch)
    after = STCR(0.1)(before, batch)
    factor = (after / before)[0, :, 0].tolist()
    assert factor == pytest.approx([1, 1, 2 - math.exp(-1), 1, 1, 1, 1, 1])
    assert torch.equal(after[~batch.mask], before[~batch.mask])
    assert before[..., 0].sum().abs() < 1e-12 and after[..., 0].sum() < -0.3  # a push down is left over


def test_without_a_right_completion_nothing_is_enlarged():
    batch = group("000", [1, 5, 9])
    given = -torch.ones(1, 3, 9, dtype=torch.float64) * batch.mask
    assert torch.equal(STCR(1.0)(given, batch), given)


def test_where_all_completions_are_written_out_the_usual_length_is_an_expectation():
    """Right ones of 2 and 6 tokens with masses .3 and .1: 3 on average; the wrong one of 5 is two longer."""
    batch = group("110", [2, 6, 5], weights=[0.3, 0.1, 0.6])
    found = STCR(0.5)(-torch.ones(1, 3, 6, dtype=torch.float64), batch)
    assert found[0, :, 0].tolist() == pytest.approx([-1, -1, -(2 - math.exp(-1))])


def test_a_wrong_completion_of_positive_advantage_is_rewarded_for_its_length_unless_strict():
    batch = group("1000", [2, 12, 2, 12], further=[0.0, 0.5, 0.0, 0.0])
    before = advantages(batch)
    loose, strict = (STCR(0.1, strict=how)(before, batch) for how in (False, True))
    factor = 2 - math.exp(-1)
    assert (loose / before)[0, :, 0].tolist() == pytest.approx([1, factor, 1, factor])
    assert (strict / before)[0, :, 0].tolist() == pytest.approx([1, 1, 1, factor])


def test_with_the_released_base_it_hardly_acts():
    longer = torch.tensor([100.0, 1000.0, 4000.0], dtype=torch.float64)
    assert STCR().of(longer).tolist() == pytest.approx([1.001, 1.00995, 1.0392], abs=5e-5)


def test_the_method_is_the_released_one():
    made = method("apo").objective
    assert made.kl.weight == DADS() and made.kl.beta == 1e-3 and made.transforms == (STCR(),)


def test_what_is_not_allowed_is_refused():
    with pytest.raises(ValueError, match="curve must be one of .*, got 'linear'"):
        DADS("linear")
    with pytest.raises(ValueError, match="lnb must be > 0"):
        STCR(0.0)
