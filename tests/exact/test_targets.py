from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.exact import elbo, entropy, filtered, kl, leaf_log_probs, log_evidence, posterior, tempered, tilt_to_kl
from toykit.tasks.tree import Tree

INF = math.inf


def card_tree():
    """The prior and rewards of lesson 01: V=4, T=3, 64 completions."""
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(21, 4)))
    return leaf_log_probs(Tree(4, 3), logits), torch.from_numpy(rng.uniform(0, 1, 64))


def draw(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    log_p = torch.randn(*shape, generator=generator, dtype=torch.float64).log_softmax(-1)
    return log_p, torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_lesson_01_numbers():
    log_prior, rewards = card_tree()
    target = posterior(log_prior, rewards, 0.2)
    assert entropy(log_prior).item() == pytest.approx(3.6955, abs=5e-5)
    assert entropy(target).item() == pytest.approx(3.1122, abs=5e-5)
    assert (log_prior.exp() @ rewards).item() == pytest.approx(0.5969, abs=5e-5)
    assert (target.exp() @ rewards).item() == pytest.approx(0.8732, abs=5e-5)
    assert 0.2 * log_evidence(log_prior, rewards, 0.2).item() == pytest.approx(0.76968, abs=5e-6)
    assert log_evidence(log_prior, rewards, 0.2).exp().item() == pytest.approx(46.917, abs=5e-4)
    assert rewards.max().item() == pytest.approx(0.9812, abs=5e-5)


def test_binary_reward_tends_to_the_filtered_prior():
    log_prior, _ = card_tree()
    keep = torch.arange(64) % 8 == 0
    target = filtered(log_prior, keep)
    assert log_prior[keep].exp().sum().item() == pytest.approx(0.0508, abs=5e-5)
    assert entropy(target).item() == pytest.approx(1.757, abs=5e-4)
    expected = {1.0: 2.06, 0.3: 0.511, 0.1: 8.5e-4, 0.05: 3.9e-8}
    for beta, value in expected.items():
        tilted = posterior(log_prior, keep.double(), beta)
        gap = kl(target, tilted).item()
        assert gap == pytest.approx(value, rel=0.02), beta
        assert gap == pytest.approx(-tilted[keep].exp().sum().log().item(), abs=1e-14)
    assert kl(target, posterior(log_prior, keep.double(), 0.01)).item() < 1e-14


@pytest.mark.parametrize("beta", [1e-3, 1e-20, 1e-300])
def test_however_small_beta_is_completions_with_the_best_reward_keep_the_odds_of_the_prior(beta):
    log_prior = torch.tensor([0.6, 0.1, 0.2, 0.1], dtype=torch.float64).log()
    found = posterior(log_prior, torch.tensor([0.0, 1.0, 1.0, 0.5], dtype=torch.float64), beta).exp()
    assert torch.allclose(found, torch.tensor([0.0, 1 / 3, 2 / 3, 0.0], dtype=torch.float64), rtol=0, atol=1e-15)


def test_a_best_reward_without_prior_mass_leaves_the_law_whole_however_small_beta_is():
    log_prior = torch.tensor([0.0, 0.5, 0.5], dtype=torch.float64).log()
    found = posterior(log_prior, torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64), 1e-20).exp()
    assert found.tolist() == [0.0, 0.5, 0.5]


def test_exercise_even_odds_at_beta_one_over_log_19():
    log_prior = torch.tensor([0.05, 0.95], dtype=torch.float64).log()
    target = posterior(log_prior, torch.tensor([1.0, 0.0], dtype=torch.float64), 1 / math.log(19))
    assert target.exp().tolist() == pytest.approx([0.5, 0.5], abs=1e-15)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), beta=st.floats(0.01, 50), shift=st.floats(-100, 100))
def test_posterior_ignores_a_shift_of_the_rewards_and_evidence_moves_by_it(seed, beta, shift):
    log_prior, rewards = draw(seed, 3, 6)
    assert torch.allclose(posterior(log_prior, rewards + shift, beta), posterior(log_prior, rewards, beta), atol=1e-9)
    moved = beta * (log_evidence(log_prior, rewards + shift, beta) - log_evidence(log_prior, rewards, beta))
    assert torch.allclose(moved, torch.full_like(moved, shift), atol=1e-9)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
def test_posterior_follows_a_permutation_of_the_completions(seed):
    log_prior, rewards = draw(seed, 2, 7)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(
        posterior(log_prior[:, order], rewards[:, order], 0.3), posterior(log_prior, rewards, 0.3)[:, order], atol=1e-13
    )


def test_equal_rewards_leave_the_prior():
    log_prior, _ = draw(0, 5)
    assert torch.allclose(posterior(log_prior, torch.full((5,), 3.0), 0.1), log_prior, atol=1e-14)


def test_reward_of_minus_infinity_forbids():
    log_prior = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log()
    rewards = torch.tensor([0.0, -INF, 0.0], dtype=torch.float64)
    target = posterior(log_prior, rewards, 1.0)
    assert target.exp().tolist() == pytest.approx([5 / 7, 0, 2 / 7], abs=1e-15)
    assert torch.equal(target, filtered(log_prior, torch.tensor([True, False, True])))
    assert elbo(log_prior, log_prior, rewards, 1.0).value == -INF
    at_target = elbo(target, log_prior, rewards, 1.0)
    assert at_target.value.item() == pytest.approx(math.log(0.7), abs=1e-15)
    assert at_target.gap.item() == 0


def test_posterior_may_have_more_entropy_than_the_prior():
    """Card 46: a likely wrong answer and two right ones; entropy at inverse temperature 1, 2, 4, 8 and in the limit."""
    log_prior = torch.tensor([0.90, 0.05, 0.05], dtype=torch.float64).log()
    rewards = torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64)
    betas = 1 / torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=torch.float64)
    assert entropy(log_prior).item() == pytest.approx(0.394, abs=5e-4)
    assert entropy(posterior(log_prior, rewards, betas)).tolist() == pytest.approx(
        [0.702, 1.001, 1.003, 0.712], abs=5e-4
    )
    assert entropy(filtered(log_prior, rewards > 0)).item() == pytest.approx(math.log(2), abs=1e-15)


def test_tempered_sharpens_and_flattens():
    log_prior = torch.tensor([0.8, 0.2], dtype=torch.float64).log()
    assert tempered(log_prior, 0.5).exp().tolist() == pytest.approx([16 / 17, 1 / 17], abs=1e-15)
    assert tempered(log_prior, 1e9).exp().tolist() == pytest.approx([0.5, 0.5], abs=1e-8)


def test_tilt_meets_its_budget_on_the_single_letter_source():
    log_prior = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64).log()
    rewards = torch.tensor([0.0, 1.0, 2.0, 4.0], dtype=torch.float64)
    tilt = tilt_to_kl(log_prior, rewards, 0.4)
    assert 1 / tilt.beta.item() == pytest.approx(0.6477776544, abs=1e-10)
    assert (tilt.log_p.exp() @ rewards).item() == pytest.approx(1.8955993377, abs=1e-10)
    assert kl(tilt.log_p, log_prior).item() == pytest.approx(0.4, abs=1e-14)
    assert torch.allclose(tilt.log_p, posterior(log_prior, rewards, tilt.beta.item()), atol=1e-13)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), share=st.floats(1e-6, 1 - 1e-6), scale=st.sampled_from([1e-3, 1.0, 1e4]))
def test_tilt_meets_any_attainable_budget_and_no_law_within_it_earns_more(seed, share, scale):
    log_prior, rewards = draw(seed, 3, 6)
    rewards = scale * rewards
    most = -log_prior.gather(-1, rewards.argmax(-1, keepdim=True))[:, 0]
    tilt = tilt_to_kl(log_prior, rewards, share * most)
    assert torch.allclose(kl(tilt.log_p, log_prior), share * most, rtol=1e-9, atol=1e-14)
    reward = (tilt.log_p.exp() * rewards).sum(-1)
    for other in draw(seed + 1, 50, 3, 6)[0]:
        # closeness identity: KL(w||phi) = KL(w||p) - KL(phi||p) + alpha (E_phi r - E_w r) for every law w
        left = kl(other, tilt.log_p)
        right = kl(other, log_prior) - share * most + (reward - (other.exp() * rewards).sum(-1)) / tilt.beta
        assert torch.allclose(left, right, rtol=1e-7, atol=1e-9)


def test_tilt_at_the_ends_of_its_budget():
    log_prior = torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]], dtype=torch.float64).log()
    rewards = torch.tensor([[0.0, 1.0, 1.0], [5.0, 1.0, 1.0]], dtype=torch.float64)
    none = tilt_to_kl(log_prior, rewards, 0.0)
    assert torch.equal(none.beta, torch.full((2,), INF, dtype=torch.float64))
    assert torch.allclose(none.log_p, log_prior, atol=1e-15)
    full = tilt_to_kl(log_prior, rewards, torch.tensor([math.log(2), math.log(5)], dtype=torch.float64))
    assert full.beta.tolist() == [0, 0]
    assert full.log_p.exp().flatten().tolist() == pytest.approx([0, 0.5, 0.5, 1, 0, 0], abs=1e-15)
    flat = tilt_to_kl(log_prior[0], torch.ones(3), 0.0)
    assert flat.beta == INF


def test_bad_input_is_named():
    log_prior, rewards = draw(0, 4)
    with pytest.raises(ValueError, match="beta must be > 0 and finite, got -1.0"):
        posterior(log_prior, rewards, -1.0)
    with pytest.raises(ValueError, match="rewards must be finite or -inf"):
        posterior(log_prior, torch.tensor([0.0, math.nan, 0, 0]), 1.0)
    with pytest.raises(ValueError, match="rewards must be above -inf"):
        log_evidence(log_prior, torch.full((4,), -INF), 1.0)
    with pytest.raises(ValueError, match="log_prior must be log-probabilities that sum to 1"):
        posterior(rewards, rewards, 1.0)
    with pytest.raises(ValueError, match="keep must hold a completion with prior mass, got none at \\[1\\]"):
        filtered(log_prior.expand(2, 4), torch.tensor([[True] * 4, [False] * 4]))
    with pytest.raises(ValueError, match="temperature must be > 0"):
        tempered(log_prior, 0.0)
    most = -log_prior[rewards.argmax()].item()
    with pytest.raises(ValueError, match=f"kl_budget must be from 0 to {most:g}.*got 9"):
        tilt_to_kl(log_prior, rewards, 9.0)
    with pytest.raises(ValueError, match="kl_budget must be from 0"):
        tilt_to_kl(log_prior, rewards, -0.1)
    with pytest.raises(ValueError, match="rewards must be finite wherever"):
        tilt_to_kl(log_prior, torch.tensor([0.0, -INF, 0, 0]), 0.1)
