"""TD from episodes of a softmax of the learned values: one step at a time beside plain numpy, and where it settles."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from toykit.control import Max, Mean, TabularMDP, dice_tree, soft_td, uniform_policy, uniform_values, value_iteration
from toykit.tasks import Tree, TreeTask
from toykit.tasks.bandit import tricks_tree

TREE = TreeTask(Tree(3, 2), [0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])


def by_hand(seed: int, rho: float, lr: float, episodes: int, mean: bool) -> np.ndarray:
    """The card's learner for TREE: nodes 0 and 1 + first token; numpy's choice draws each token."""
    draw, q, rewards = np.random.default_rng(seed), np.zeros((4, 3)), TREE.rewards[0].numpy().reshape(3, 3)
    for _ in range(episodes):
        node = 0
        for place in range(2):
            e = np.exp((q[node] - q[node].max()) / rho)
            token = draw.choice(3, p=e / e.sum())
            if place == 0:
                after = 1 + token
                aim = q[after].mean() if mean else q[after].max()
            else:
                aim = rewards[node - 1, token]
            q[node, token] += lr * (aim - q[node, token])
            node = after
    return q


def test_every_step_is_the_plain_learner_s():
    mdp = TabularMDP.of_tree(TREE.as_mdp())
    found = soft_td(mdp, (Mean(uniform_policy(mdp)), Max()), (0.3, 0.1), 0.2, 600, (5, 6))
    assert found.shape == (2, 2, 2, 5, 3)
    for i, mean in enumerate((True, False)):
        for j, rho in enumerate((0.3, 0.1)):
            for k, seed in enumerate((5, 6)):
                wanted = by_hand(seed, rho, 0.2, 600, mean)
                assert np.abs(found[i, j, k, :4].numpy() - wanted).max() < 1e-12


def test_it_settles_at_the_values_of_its_backup_and_knows_forbidden_tokens():
    mdp = TabularMDP.of_tree(tricks_tree()[0].as_mdp())
    mean, most = soft_td(mdp, (Mean(uniform_policy(mdp)), Max()), (2.0,), 0.5, 500, (0,))[:, 0, 0]
    for found, wanted in ((mean, uniform_values(mdp)), (most, value_iteration(mdp).q)):
        assert torch.equal(found.isinf(), ~mdp.allowed)
        live = mdp.allowed & ~mdp.terminal[:, None]
        assert (found[live] - wanted[live]).abs().max() < 1e-6


def test_bad_settings():
    mdp = TabularMDP.of_tree(TREE.as_mdp())
    with pytest.raises(ValueError, match="mdp must be deterministic, action 0 in state 0 is not"):
        soft_td(dice_tree(), (Max(),), (0.1,), 0.2, 1, (0,))
    with pytest.raises(ValueError, match="mdp must have one start, got 4"):
        soft_td(mdp.with_(start=None), (Max(),), (0.1,), 0.2, 1, (0,))
    for settings, name in (((0.0,), 0.2, 1), "rho"), (((0.1,), 0.0, 1), "lr"), (((0.1,), 0.2, 0), "episodes"):
        with pytest.raises(ValueError, match=f"{name} must be"):
            soft_td(mdp, (Max(),), *settings, (0,))
