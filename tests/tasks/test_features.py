from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from toykit.tasks import FeatureBandit, FeatureTree, sft_base


def pass_at(p: Tensor, k: int) -> float:
    return (1 - (1 - p) ** k).mean().item()


def right_probability(task: FeatureBandit, weights: Tensor) -> Tensor:
    return (task.features @ weights.T).softmax(-1).gather(1, task.labels[:, None])[:, 0]


def test_the_draws_are_those_of_the_card_in_its_order() -> None:
    rng = np.random.default_rng(7)
    features = rng.normal(size=(24, 8))
    features[:, 0] += 2
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    task = FeatureBandit(seed=7)
    assert np.array_equal(task.features.numpy(), features)
    assert np.array_equal(task.labels.numpy(), rng.integers(0, 8, 24))
    assert np.array_equal(task.initial_weights.numpy(), 2 * rng.normal(size=(8, 8)))
    assert torch.equal(task.rewards, torch.nn.functional.one_hot(task.labels, 8).double())


def test_the_base_of_five_seeds_has_the_pass_rates_of_the_card() -> None:
    p = [right_probability(task := FeatureBandit(seed=seed), sft_base(task)) for seed in range(5)]
    assert np.mean([pass_at(q, 1) for q in p]) == pytest.approx(0.296, abs=5e-4)
    assert np.mean([pass_at(q, 256) for q in p]) == pytest.approx(0.997, abs=5e-4)
    assert np.mean([pass_at(q, 1024) for q in p]) == pytest.approx(1.000, abs=5e-4)


def test_a_supervised_step_is_the_gradient_of_the_mean_log_likelihood() -> None:
    task = FeatureBandit(seed=0)
    weights = task.initial_weights.clone().requires_grad_()
    right_probability(task, weights).log().mean().backward()
    expected = task.initial_weights + 0.5 * 8 * weights.grad  # the card's step is lr K times the mean's gradient
    assert torch.allclose(sft_base(task, steps=1), expected, atol=1e-12)
    assert torch.equal(sft_base(task, steps=0), task.initial_weights)


def test_overlap_makes_features_alike_and_orthogonal_features_share_nothing() -> None:
    alone, shared = FeatureBandit(overlap=0.0), FeatureBandit(overlap=5.0)
    assert (shared.features @ shared.features.T).mean() > (alone.features @ alone.features.T).mean() + 0.5
    control = FeatureBandit(orthogonal=True)
    assert torch.equal(control.features, torch.eye(24, dtype=torch.float64))
    assert torch.equal(control.labels, FeatureBandit().labels)
    assert control.initial_weights.shape == (8, 24)


def test_rows_of_the_features_have_length_one() -> None:
    for task in (FeatureBandit(), FeatureTree()):
        assert torch.allclose(task.features.norm(dim=1), torch.ones(24, dtype=torch.float64), atol=1e-12)


def test_a_feature_tree_rewards_its_right_leaves_and_has_weights_for_every_node() -> None:
    task = FeatureTree(n_prompts=6, n_correct=3, seed=1)
    assert task.rewards.sum(1).tolist() == [3.0] * 6
    assert bool((task.rewards.gather(1, task.correct) == 1).all())
    assert task.initial_weights.shape == (task.tree.n_nodes, 4, 8)


def test_a_feature_tree_too_large_to_enumerate_is_refused_before_it_is_built() -> None:
    with pytest.raises(ValueError, match=f"tree is too large to enumerate: .* give {4**30} completions, the limit is"):
        FeatureTree(horizon=30)


def test_the_base_of_a_feature_tree_has_the_pass_rates_of_its_card() -> None:
    """Sixty supervised steps on a mixture of right leaves and noise; also checks the draws and the node order."""
    p = torch.stack([feature_tree_base(seed) for seed in range(5)])
    found = [np.mean([pass_at(q, k) for q in p]) for k in (1, 4, 16, 64, 256)]
    assert found == pytest.approx([0.056, 0.199, 0.543, 0.902, 0.997], abs=6e-4)


def feature_tree_base(seed: int) -> Tensor:
    task = FeatureTree(seed=seed)
    noise = torch.tensor(np.random.default_rng(seed + 100).dirichlet(0.3 * np.ones(64), 24))
    target = 0.25 * task.rewards / 2 + 0.75 * noise
    weights = task.initial_weights.clone().requires_grad_()
    for _ in range(60):
        (gradient,) = torch.autograd.grad((target * leaf_log_prob(task, weights)).sum(-1).mean(), weights)
        weights = (weights + 2 * gradient).detach().requires_grad_()
    return (leaf_log_prob(task, weights).exp() * task.rewards).sum(-1).detach()


def leaf_log_prob(task: FeatureTree, weights: Tensor) -> Tensor:
    log_p = torch.einsum("nkd,xd->xnk", weights, task.features).log_softmax(-1)
    return log_p[:, task.tree.nodes, task.tree.tokens].sum(-1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_prompts": 0}, "n_prompts must be >= 1, got 0"),
        ({"n_features": 0}, "n_features must be >= 1, got 0"),
        ({"n_correct": 0}, "n_correct must be >= 1, got 0"),
        ({"n_correct": 65}, "n_correct must be at most the 64 completions of the tree, got 65"),
    ],
)
def test_sizes_out_of_range_are_refused(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureTree(**options)
