from __future__ import annotations

import math

import pytest
import torch

from toykit.policies import TabularLM
from toykit.rewards import Judge, demonstrations, drawn_pairs, every_pair, in_steps, labelled, length
from toykit.rollouts import Enumerated, Rollouts
from toykit.tasks.bandit import Bandit, tricks_tree

THREE = (2.0, 1.0, 0.0)


def whole(rewards=THREE) -> Rollouts:
    task = Bandit([list(rewards)])
    logits = torch.tensor([[0.0, math.log(2), math.log(3)]], dtype=torch.float64)
    return Enumerated()(TabularLM.of(task, logits=logits), task, task.prompts())


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def table(pairs, column: str = "weights") -> dict[tuple[int, int], float]:
    """What stands in a column for each (chosen, rejected)."""
    sides = [tuple(x) for x in pairs.completions[:, :, 0].tolist()]
    return dict(zip(sides, getattr(pairs, column).tolist(), strict=True))


def test_the_population_of_preferences_by_hand():
    found = table(every_pair(whole()))
    one, two = sigma(1), sigma(2)
    expected = {(0, 1): one, (1, 0): 1 - one, (1, 2): one, (2, 1): 1 - one, (0, 2): two, (2, 0): 1 - two}
    assert found == pytest.approx({k: v / 3 for k, v in expected.items()})  # three pairs
    assert table(every_pair(whole()), "margins") == {(i, j): THREE[i] - THREE[j] for i, j in expected}


def test_a_law_weighs_the_pairs():
    rollouts = whole()
    found = table(every_pair(rollouts, Judge(0), law=rollouts.weights))  # 1/6, 2/6, 3/6
    assert found == pytest.approx({(0, 1): 2 / 11, (0, 2): 3 / 11, (1, 2): 6 / 11})  # without those of weight 0


def test_a_judge_by_hand():
    two, zero = torch.tensor([2.0, 0.0], dtype=torch.float64)
    assert Judge(0.5).preference(two, zero).item() == pytest.approx(sigma(4))
    assert [Judge(0).preference(a, b).item() for a, b in ((two, zero), (zero, two), (two, two))] == [1, 0, 0.5]
    noisy = Judge(0, flip=0.2)
    assert noisy.preference(two, zero).item() == pytest.approx(0.8)  # agreement 1 - eta
    assert Judge(1, flip=0.2).preference(two, zero).item() == pytest.approx(0.8 * sigma(2) + 0.2 * sigma(-2))


def test_a_biased_judge_prefers_what_it_likes():
    task, logits = tricks_tree()  # completions 0, 10, 110, 111, 2 of lengths 1, 2, 3, 3, 1
    rollouts = Enumerated()(TabularLM.of(task, logits=logits), task, task.prompts())
    judge = Judge(0, bias=lambda r: 3.0 * length(r))
    assert judge.utilities(rollouts).tolist() == [pytest.approx([1 + 1, 0 + 2, 1 + 3, 0 + 3, 0 + 1])]
    pairs = every_pair(rollouts, judge)
    assert pairs.mask[:, 0].sum(-1).tolist().count(3) > pairs.mask[:, 1].sum(-1).tolist().count(3)
    assert pairs.weights.sum().item() == pytest.approx(1)


def test_drawn_pairs_have_the_frequencies_of_the_population():
    task = Bandit([list(THREE)])
    rollouts = Enumerated()(TabularLM.of(task), task, task.prompts())
    many = rollouts.with_(
        **{
            k: getattr(rollouts, k).repeat(1, 2000, *[1] * (getattr(rollouts, k).dim() - 2))
            for k in ("completions", "mask", "old_logp", "rewards", "weights")
        }
    )  # 0 1 2 0 1 2 ...: the pairs 01, 20, 12
    pairs = drawn_pairs(many, torch.Generator().manual_seed(0), Judge(1.0))
    assert len(pairs.weights) == 3000 and pairs.weights.sum().item() == pytest.approx(1)
    sides = [tuple(x) for x in pairs.completions[:, :, 0].tolist()]
    for (i, j), p in {(0, 1): sigma(1), (0, 2): sigma(2), (1, 2): sigma(1)}.items():
        right, wrong = sides.count((i, j)), sides.count((j, i))
        assert right + wrong == 1000
        assert abs(right / 1000 - p) < 4 * (p * (1 - p) / 1000) ** 0.5
    assert torch.equal(pairs.margins[:2].abs(), torch.tensor([1.0, 2.0], dtype=torch.float64))


def test_single_completions_keep_the_law_of_the_rollouts_or_take_another():
    rollouts = whole()
    found = labelled(rollouts)
    assert found.labels.tolist() == list(THREE) and found.weights.tolist() == pytest.approx([1 / 6, 2 / 6, 3 / 6])
    assert labelled(rollouts, lambda r: 2 * r.rewards).labels.tolist() == [4, 2, 0]
    right = demonstrations(rollouts, law=rollouts.weights * (rollouts.rewards >= 1))
    assert right.completions.flatten().tolist() == [0, 1] and right.weights.tolist() == pytest.approx([1 / 3, 2 / 3])
    with pytest.raises(ValueError, match="law must be > 0 for some completion"):
        demonstrations(rollouts, law=torch.nan_to_num(rollouts.weights * 0))
    steps = in_steps(rollouts, rollouts.mask, rollouts.rewards[..., None] / 2)
    assert steps.labels.tolist() == [[1.0], [0.5], [0.0]]


def test_bounds_are_checked():
    with pytest.raises(ValueError, match="temperature must be >= 0, got -1"):
        Judge(-1)
    with pytest.raises(ValueError, match=r"flip must be in \[0, 1\], got 1.5"):
        Judge(flip=1.5)
    one = Enumerated()(TabularLM.of(Bandit([[1.0]])), Bandit([[1.0]]), Bandit([[1.0]]).prompts())
    for make in (lambda: every_pair(one), lambda: drawn_pairs(one, torch.Generator())):
        with pytest.raises(ValueError, match="group_size must be >= 2 for pairs, got 1"):
            make()
