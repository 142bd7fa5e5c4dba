"""Sorting: prompts, scores and worked examples against Python's own sorting."""

from __future__ import annotations

import pytest
import torch

from toykit.tasks import Sorting


def test_the_right_completion_is_the_sorted_prompt():
    task = Sorting()
    prompts = task.prompts("test")[:20]
    for row, right in zip(prompts.tokens.tolist(), task.right(prompts.ids).tolist(), strict=True):
        assert row[-1] == 10 and right == sorted(row[:-1])


def test_one_wrong_digit_or_a_missing_one_is_no_reward():
    task, ids = Sorting(), torch.tensor([30120])
    completions = torch.tensor([[[0, 0, 1, 2, 3], [0, 0, 1, 3, 2], [0, 0, 1, 2, 3]]])
    mask = torch.ones_like(completions, dtype=torch.bool)
    mask[0, 2, 4] = False
    assert task.score(ids, completions, mask).tolist() == [[1.0, 0.0, 0.0]]
    assert task.correct(ids, completions, mask)[0, 1].tolist() == [True, True, True, False, False]


def test_no_prompt_is_in_both_splits_and_the_corpus_is_right():
    task = Sorting(n_train=90, n_test=9, places=2)
    train, test = (set(task.prompts(split).ids.tolist()) for split in ("train", "test"))
    assert len(train) == 90 and len(test) == 9 and not train & test
    prompts, completions, mask = task.corpus(30, torch.Generator().manual_seed(1))
    assert bool((task.score(prompts.ids, completions[:, None], mask[:, None]) == 1).all())


def test_there_may_be_more_prompts_than_fit_in_memory():
    task = Sorting(places=12, n_train=900, n_test=100)
    ids = torch.cat([task.prompts(split).ids for split in ("train", "test")])
    assert len(ids.unique()) == 1000 and 10**10 < int(ids.max()) < 10**12
    assert task.right(ids[:1])[0].tolist() == sorted(int(d) for d in f"{int(ids[0]):012d}")


def test_more_prompts_than_there_are_is_refused():
    with pytest.raises(ValueError, match=r"n_train \+ n_test must be at most 10, got 9 \+ 2"):
        Sorting(places=1, n_train=9, n_test=2)


def test_in_decreasing_order_and_in_both():
    task = Sorting(places=3, decreasing=True)
    ids = torch.tensor([302, 111])
    assert task.right(ids).tolist() == [[3, 2, 0], [1, 1, 1]]
    assert task.prompts().tokens.equal(Sorting(places=3).prompts().tokens)
    both = Sorting(places=3, both=True)
    prompts, completions, _ = both.corpus(400, torch.Generator().manual_seed(0))
    up = completions == both.right(prompts.ids)
    down = completions == task.right(prompts.ids)
    assert bool((up.all(-1) | down.all(-1)).all()) and 0.4 < up.all(-1).double().mean() < 0.6
