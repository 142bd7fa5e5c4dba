from __future__ import annotations

import math

import pytest
import torch

from toykit.diagnostics import match_temperature
from toykit.exact import entropy, leaf_log_probs
from toykit.tasks import Tree


def two_arms(temperature: torch.Tensor) -> torch.Tensor:
    """Entropy of softmax((1, 0) / T)."""
    p = (1 / temperature).sigmoid()
    return -(p * p.log() + (1 - p) * (1 - p).log())


def test_two_arms_by_hand():
    """Odds of 3 to 1 at temperature 1 / ln 3, odds of e to 1 at 1: all settings go together."""
    targets = torch.tensor([0.75, math.e / (1 + math.e)], dtype=torch.float64)
    targets = -(targets * targets.log() + (1 - targets) * (1 - targets).log())
    found = match_temperature(two_arms, targets)
    assert found.tolist() == pytest.approx([1 / math.log(3), 1], abs=1e-12)


def test_more_steps_halve_the_error():
    target = two_arms(torch.tensor(1.7, dtype=torch.float64))
    width = math.log(20 / 0.05)
    for steps in (1, 5, 20):
        found = match_temperature(two_arms, target, steps=steps)
        assert abs(math.log(found.item() / 1.7)) <= width / 2 ** (steps + 1) + 1e-12


def test_whole_completions_of_a_tempered_tree_reach_the_entropy_that_is_asked_for():
    tree = Tree(3, horizon=2)
    logits = torch.randn(2, tree.n_nodes, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def entropy_at(temperature: torch.Tensor) -> torch.Tensor:
        return entropy(leaf_log_probs(tree, logits / temperature[:, None, None]))

    targets = torch.tensor([0.9, 2.0], dtype=torch.float64)
    found = match_temperature(entropy_at, targets)
    assert torch.allclose(entropy_at(found), targets, rtol=0, atol=1e-12)
    assert found[0] < found[1]


def test_bad_input_is_named():
    target = torch.tensor([0.5, 0.7], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"target must be an entropy that is reached .* 0.05 and 20, .*, got 0.7"):
        match_temperature(two_arms, target)
    with pytest.raises(ValueError, match="low must be < high, got low 2.0 and high 1.0"):
        match_temperature(two_arms, target, low=2.0, high=1.0)
    with pytest.raises(ValueError, match="low must be > 0 and finite, got 0.0"):
        match_temperature(two_arms, target, low=0.0)
    with pytest.raises(ValueError, match="steps must be >= 1, got 0"):
        match_temperature(two_arms, target, steps=0)
