from __future__ import annotations

from itertools import permutations

import pytest
import torch

from toykit.tasks import AlternatingSum, make

TASK = AlternatingSum()


def said(ids: torch.Tensor) -> list[tuple[list[int], int]]:
    """Digits and sum of prompts, read from their tokens."""
    return [TASK.problems[i] for i in ids.tolist()]


def test_prompts_say_the_digits_and_the_sum():
    prompts = TASK.prompts()
    for tokens, (digits, total) in zip(prompts.tokens.tolist(), said(prompts.ids), strict=True):
        assert tuple(tokens[:4]) == digits == tuple(sorted(set(digits)))
        sign = {"+": 1, "-": -1}[TASK.vocab.tokens[tokens[4]]]
        assert sign * (10 * tokens[5] + tokens[6]) == total


def test_right_is_every_order_with_the_sum_and_nothing_else():
    prompts = TASK.prompts("test")[:3]
    every = torch.cartesian_prod(*[torch.arange(10)] * 4)
    scores = TASK.score(prompts.ids, every.expand(3, -1, -1), torch.ones(3, *every.shape, dtype=torch.bool))
    for row, (digits, total) in zip(scores, said(prompts.ids), strict=True):
        found = {tuple(c) for c in every[row > 0].tolist()}
        assert found == {o for o in permutations(digits) if o[0] - o[1] + o[2] - o[3] == total}
        assert len(found) >= 4
    orders, known = TASK.right
    assert torch.equal(known[prompts.ids].sum(1).double(), scores.sum(1))
    right = TASK.score(prompts.ids, orders[prompts.ids], torch.ones(orders[prompts.ids].shape, dtype=torch.bool))
    assert bool(right.all())


def test_a_cut_completion_is_wrong():
    right = TASK.right[0][:1, :1]
    whole = torch.ones(1, 1, 4, dtype=torch.bool)
    assert TASK.score(torch.tensor([0]), right, whole).item() == 1.0
    assert TASK.score(torch.tensor([0]), right, whole & torch.tensor([True, True, True, False])).item() == 0.0


def test_the_splits_share_no_problem_and_the_seed_fixes_them():
    train, test = TASK.prompts("train"), TASK.prompts("test")
    assert (len(train), len(test), len(set(TASK.problems))) == (96, 64, 1210)
    assert not set(train.ids.tolist()) & set(test.ids.tolist())
    assert AlternatingSum(seed=0).problems == TASK.problems != AlternatingSum(seed=1).problems


def share(found: torch.Tensor, expected: float) -> None:
    error = 4 * (expected * (1 - expected) / len(found)) ** 0.5
    assert found.double().mean().item() == pytest.approx(expected, abs=error + 1e-12)


def test_the_corpus_is_right_as_often_as_it_is_skilled_and_slips_as_often_as_it_is_told():
    n, draw = 20_000, torch.Generator().manual_seed(0)
    for skill in (0.0, 1.0):
        task = AlternatingSum(skill=skill, typo=0.0)
        prompts, completions, mask = task.corpus(n, draw)
        assert bool(mask.all()) and len(prompts.ids.unique()) == 1210
        scores = task.score(prompts.ids, completions[:, None], mask[:, None])[:, 0]
        assert (scores == 1).all() if skill else scores.mean() < 0.3
        assert torch.equal(completions.sort(1).values, task._digits[prompts.ids])
    task = AlternatingSum(skill=1.0, typo=0.3)
    prompts, completions, mask = task.corpus(n, draw)
    slipped = task.score(prompts.ids, completions[:, None], mask[:, None])[:, 0] < 1
    assert slipped.double().mean() < 1 - 0.73**4 + 0.02  # a slip may draw the digit that stood there


def test_the_habit_puts_large_digits_where_they_are_added():
    """Plackett and Luce's law: the largest digit comes first with probability e^3h / (1 + e^h + e^2h + e^3h)."""
    for habit in (0.0, 1.3):
        task = AlternatingSum(skill=0.0, typo=0.0, habit=habit)
        prompts, completions, _ = task.corpus(20_000, torch.Generator().manual_seed(1))
        weights = (habit * torch.arange(4.0)).exp()
        share(completions[:, 0] == task._digits[prompts.ids][:, 3], float(weights[3] / weights.sum()))


def test_settings_out_of_range_are_refused():
    for name in ("skill", "typo"):
        with pytest.raises(ValueError, match=f"{name} must be from 0 to 1, got 1.5"):
            AlternatingSum(**{name: 1.5})
    with pytest.raises(ValueError, match="habit must be >= 0, got -1"):
        AlternatingSum(habit=-1)
    with pytest.raises(ValueError, match=r"n_train \+ n_test must be at most 1210, got 1200 \+ 64"):
        AlternatingSum(n_train=1200)
    assert make("alternating_sum", n_train=8) == AlternatingSum(n_train=8)
