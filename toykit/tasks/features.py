"""Tasks whose prompts carry feature vectors, so that a linear policy shares its parameters between prompts."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from toykit._checks import at_least
from toykit.tasks.bandit import Bandit, TreeTask
from toykit.tasks.tree import Tree


class FeatureBandit(Bandit):
    """Prompts with unit feature vectors and one right arm each: the smallest task with interference between prompts.

    features         float64 [n, d]  standard normal rows, `overlap` added to the first entry, then normalised;
                                     the identity (d = n) where `orthogonal`
    labels           int64   [n]     the right arm of each prompt; its reward is 1, the others' 0
    initial_weights  float64 [K, d]  2 x standard normal; a linear policy has logits `weights @ features[x]`

    Draws come from one generator in this order, so that the orthogonal control has the labels of its seed.
    Raises ValueError for sizes < 1.
    """

    def __init__(
        self,
        n_prompts: int = 24,
        n_arms: int = 8,
        n_features: int = 8,
        overlap: float = 2.0,
        orthogonal: bool = False,
        seed: int = 0,
        name: str = "feature_bandit",
    ) -> None:
        at_least("n_arms", n_arms, 1)
        rng = np.random.default_rng(seed)
        self.features = _features(rng, n_prompts, n_features, overlap, orthogonal)
        self.labels = torch.tensor(rng.integers(0, n_arms, n_prompts))
        self.initial_weights = torch.tensor(2 * rng.normal(size=(n_arms, self.features.shape[1])))
        super().__init__(torch.eye(n_arms, dtype=torch.float64)[self.labels], name=name)


class FeatureTree(TreeTask):
    """Prompts with unit feature vectors and a few right completions each, of `horizon` tokens.

    features         float64 [n, d]        as in `FeatureBandit`
    correct          int64   [n, C]        the right completions, as leaves of the tree; their reward is 1
    initial_weights  float64 [nodes, K, d] 1.5 x standard normal; a linear policy has logits
                                           `weights[node] @ features[x]` at a node of the tree

    Draws come from one generator in this order. Raises ValueError for sizes < 1, for more right completions than
    there are completions, and for a tree too large to enumerate.
    """

    def __init__(
        self,
        n_prompts: int = 24,
        n_actions: int = 4,
        horizon: int = 3,
        n_features: int = 8,
        n_correct: int = 2,
        overlap: float = 2.0,
        orthogonal: bool = False,
        seed: int = 0,
        name: str = "feature_tree",
    ) -> None:
        tree = Tree(n_actions, horizon)
        at_least("n_correct", n_correct, 1)
        if n_correct > tree.n_leaves:
            raise ValueError(f"n_correct must be at most the {tree.n_leaves} completions of the tree, got {n_correct}")
        tree.check_size(n_prompts)
        rng = np.random.default_rng(seed)
        self.features = _features(rng, n_prompts, n_features, overlap, orthogonal)
        drawn = [rng.choice(tree.n_leaves, n_correct, replace=False) for _ in range(n_prompts)]
        self.correct = torch.tensor(np.stack(drawn))
        self.initial_weights = torch.tensor(1.5 * rng.normal(size=(tree.n_nodes, n_actions, self.features.shape[1])))
        rewards = torch.zeros(n_prompts, tree.n_leaves, dtype=torch.float64)
        super().__init__(tree, rewards.scatter(1, self.correct, 1.0), name=name)


def sft_base(task: FeatureBandit, steps: int = 20, lr: float = 0.5) -> Tensor:
    """Weights [K, d] after full-batch supervised steps from the task's initial weights towards the right arms.

    A step is W += lr K/n (Y - P)^T Phi, with Y the one-hot labels and P the policy's probabilities. Twenty steps give
    a base that is often wrong and nearly always covers the right arm (with the defaults, mean probability 0.30).
    """
    at_least("steps", steps, 0)
    features, right = task.features, task.rewards
    weights = task.initial_weights.clone()
    n_prompts, n_arms = right.shape
    for _ in range(steps):
        wrong = right - torch.softmax(features @ weights.T, dim=-1)
        weights = weights + lr * n_arms / n_prompts * wrong.T @ features
    return weights


def _features(rng: np.random.Generator, n_prompts: int, n_features: int, overlap: float, orthogonal: bool) -> Tensor:
    """Rows of unit length; the draws are made, and dropped, for orthogonal features too."""
    at_least("n_prompts", n_prompts, 1)
    at_least("n_features", n_features, 1)
    rows = rng.normal(size=(n_prompts, n_features))
    rows[:, 0] += overlap
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return torch.eye(n_prompts, dtype=torch.float64) if orthogonal else torch.tensor(rows)
