from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.exact import filtered, kl, leaf_log_probs, moment_target
from toykit.tasks.tree import Tree


def card_problem():
    """Lesson 01: "token 3 occurs" and "the first token is 0" on the tree with V=4, T=3."""
    tree = Tree(4, 3)
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(21, 4)))
    features = torch.stack([(tree.tokens == 3).any(1), tree.tokens[:, 0] == 0], -1).double()
    return leaf_log_probs(tree, logits), features


def means(log_p, features):
    return (log_p.exp()[..., None] * features).sum(-2)


def test_lesson_01_multipliers_and_distance():
    log_prior, features = card_problem()
    assert means(log_prior, features).tolist() == pytest.approx([0.591, 0.226], abs=5e-4)
    target = moment_target(log_prior, features, torch.tensor([0.5, 0.6]))
    assert target.multipliers.tolist() == pytest.approx([-0.113475, 1.617341], abs=5e-7)
    assert target.kl.item() == pytest.approx(0.32341, abs=5e-6)
    assert target.kl.item() == pytest.approx(kl(target.log_p, log_prior).item(), abs=1e-12)
    tilted = (log_prior + features @ target.multipliers).log_softmax(-1)
    assert torch.allclose(tilted, target.log_p, atol=1e-13)


def test_pythagoras_holds_for_a_law_of_the_same_moments():
    log_prior, features = card_problem()
    moments = torch.tensor([0.5, 0.6], dtype=torch.float64)
    target = moment_target(log_prior, features, moments)
    start = torch.from_numpy(np.random.default_rng(2).dirichlet(np.ones(64))).log()
    other = moment_target(start, features, moments).log_p
    assert kl(other, log_prior).item() == pytest.approx(1.0267376, abs=5e-8)
    assert (kl(other, target.log_p) + target.kl).item() == pytest.approx(kl(other, log_prior).item(), abs=1e-11)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
def test_any_moments_of_a_law_on_the_support_are_met(seed):
    generator = torch.Generator().manual_seed(seed)
    log_prior = (4 * torch.randn(2, 6, generator=generator, dtype=torch.float64)).log_softmax(-1)
    features = 10 * torch.randn(6, 3, generator=generator, dtype=torch.float64)
    wanted = means((2 * torch.randn(2, 6, generator=generator, dtype=torch.float64)).log_softmax(-1), features)
    target = moment_target(log_prior, features, wanted)
    assert torch.allclose(means(target.log_p, features), wanted, atol=1e-8)
    assert torch.allclose(target.kl, kl(target.log_p, log_prior), atol=1e-8)


def test_moments_of_the_prior_leave_it():
    log_prior, features = card_problem()
    target = moment_target(log_prior, features, means(log_prior, features))
    assert torch.allclose(target.log_p, log_prior, atol=1e-10)
    assert target.kl.item() < 1e-15


def test_redundant_features_share_the_multiplier():
    log_prior, features = card_problem()
    one = moment_target(log_prior, features[:, :1], torch.tensor([0.3]))
    two = moment_target(log_prior, features[:, [0, 0]], torch.tensor([0.3, 0.3]))
    assert torch.allclose(one.log_p, two.log_p, atol=1e-11)
    assert two.multipliers.tolist() == pytest.approx([one.multipliers.item() / 2] * 2, abs=1e-9)


def test_a_moment_on_the_boundary_gives_the_filtered_prior():
    log_prior, features = card_problem()
    target = moment_target(log_prior, features[:, 1:], torch.tensor([1.0]))
    wanted = filtered(log_prior, features[:, 1] == 1)
    assert torch.allclose(target.log_p.exp(), wanted.exp(), atol=1e-10)


def test_a_step_that_would_overshoot_is_damped():
    log_prior = torch.tensor([1 - 1e-12, 1e-12], dtype=torch.float64).log()
    target = moment_target(log_prior, torch.tensor([[0.0], [1.0]]), torch.tensor([0.5]))
    assert target.log_p.exp().tolist() == pytest.approx([0.5, 0.5], abs=1e-10)


def test_infeasible_moments_are_refused():
    log_prior, features = card_problem()
    with pytest.raises(ValueError, match="feature 1 goes from 0 to 1, got 1.5"):
        moment_target(log_prior, features, torch.tensor([0.5, 1.5]))
    exclusive = torch.stack([torch.arange(64) < 8, torch.arange(64) >= 60], -1).double()
    with pytest.raises(ValueError, match=r"some law on the prior's support, got \[0.7, 0.6\].*not together"):
        moment_target(log_prior, exclusive, torch.tensor([0.7, 0.6]))
    with pytest.raises(ValueError, match="not together"):  # the same feature cannot have two means
        moment_target(log_prior, features[:, [0, 0]], torch.tensor([0.3, 0.4]))
