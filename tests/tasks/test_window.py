"""A window: completions that are cut have no reward, the others their own."""

from __future__ import annotations

import pytest
import torch

from toykit.policies import TabularLM
from toykit.rollouts import Enumerated, Sampled
from toykit.tasks.bandit import TreeTask
from toykit.tasks.tree import Tree
from toykit.tasks.window import Windowed, windowed


def task() -> TreeTask:
    """Stop is 2; of up to three tokens all are right."""
    tree = Tree(3, horizon=3, stop=(2,))
    return TreeTask(tree, torch.ones(2, tree.n_leaves))


def test_what_has_not_stopped_within_the_window_has_reward_0():
    tokens = torch.tensor([[[2, 0], [0, 2], [0, 1]], [[1, 1], [1, 2], [2, 0]]])
    mask = torch.tensor([[[1, 0], [1, 1], [1, 1]], [[1, 1], [1, 1], [1, 0]]], dtype=torch.bool)
    found = Windowed(task(), 2).score(torch.tensor([0, 1]), tokens, mask)
    assert found.tolist() == [[1, 1, 0], [0, 1, 1]] and found.dtype == torch.float64


def test_the_probability_of_a_right_completion_is_that_of_one_that_stops_in_time():
    whole = task()
    policy = TabularLM.of(whole)
    for window, right in ((1, 1 / 3), (2, 1 / 3 + 2 / 9), (3, 1.0)):
        cut = windowed(whole, window)
        rollouts = Enumerated()(policy, cut, cut.prompts())
        assert rollouts.mean(rollouts.rewards).tolist() == pytest.approx([right] * 2)
        drawn = Sampled(4000)(policy, cut, cut.prompts(), torch.Generator().manual_seed(0))
        assert drawn.completions.shape[-1] == window and float(drawn.rewards.mean()) == pytest.approx(right, abs=0.02)


def test_a_tree_of_some_completions_is_cut_too():
    some = TreeTask.of({(0,): 1.0, (1, 0): 1.0, (1, 1, 1): 1.0, (1, 1, 2): 0.0})
    cut = Windowed(some, 2)
    assert [row[m].tolist() for row, m in zip(cut.tree.tokens, cut.tree.mask, strict=True)] == [[0], [1, 0], [1, 1]]
    assert Enumerated()(TabularLM.of(some), cut, cut.prompts()).rewards.tolist() == [[1, 1, 0]]


def test_a_window_of_the_whole_horizon_is_the_task_itself():
    whole = task()
    assert windowed(whole, None) is whole and windowed(whole, 3) is whole
    with pytest.raises(ValueError, match="window must be >= 1 and below the horizon 3, got 4"):
        windowed(whole, 4)
    with pytest.raises(ValueError, match="window must be >= 1 and below the horizon 3, got 0"):
        windowed(whole, 0)
    endless = TreeTask(Tree(2, horizon=2), torch.zeros(4))
    with pytest.raises(ValueError, match="task must have stop tokens for a window, 'tree' has none"):
        windowed(endless, 1)
