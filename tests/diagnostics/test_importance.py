from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.diagnostics import distance_to_target, effective_sample_size, log_normaliser
from toykit.exact import js, kl, log_evidence, posterior, total_variation


def laws(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    prior, policy, rewards = torch.randn(3, *shape, generator=generator, dtype=torch.float64).unbind(0)
    return prior.log_softmax(-1), policy.log_softmax(-1), rewards


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), beta=st.floats(0.2, 5))
def test_an_enumeration_of_any_proposal_gives_the_exact_distances(seed, beta):
    prior, policy, rewards = laws(seed, 3, 6)
    target = posterior(prior, rewards, beta)
    for proposal in (prior, policy):
        found = distance_to_target(prior + rewards / beta, policy, proposal, proposal.exp())
        assert torch.allclose(found.log_z, log_evidence(prior, rewards, beta), atol=1e-12)
        assert torch.allclose(found.kl, kl(target, policy), atol=1e-12)
        assert torch.allclose(found.reverse_kl, kl(policy, target), atol=1e-12)
        assert torch.allclose(found.tv, total_variation(policy, target), atol=1e-12)
        assert torch.allclose(found.js, js(policy, target), atol=1e-12)


def test_samples_of_the_prior_come_near_the_exact_distances():
    prior, policy, rewards = laws(3, 8)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.multinomial(prior.exp(), 400 * 2000, replacement=True, generator=generator).view(400, 2000)
    found = distance_to_target((prior + rewards)[drawn], policy[drawn], prior[drawn])
    target = posterior(prior, rewards, 1.0)
    exact = {
        "kl": kl(target, policy),
        "reverse_kl": kl(policy, target),
        "tv": total_variation(policy, target),
        "js": js(policy, target),
        "log_z": log_evidence(prior, rewards, 1.0),
    }
    for name, value in exact.items():
        estimates = getattr(found, name)
        # 4 standard errors of the mean of 400 groups, and room for the bias of order 1/2000
        assert abs(estimates.mean() - value) < 4 * estimates.std() / math.sqrt(400) + 2e-3, name


def test_effective_sample_size_by_hand():
    zero = torch.zeros(4, dtype=torch.float64)
    assert effective_sample_size(zero + 5, zero).item() == pytest.approx(4, abs=1e-12)
    one = torch.tensor([0.0, -800.0, -800.0, -800.0], dtype=torch.float64)
    assert effective_sample_size(one, zero).item() == pytest.approx(1, abs=1e-12)
    weights = torch.tensor([3.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    assert effective_sample_size(weights.log(), zero).item() == pytest.approx(16 / 10, abs=1e-12)


def test_a_policy_equal_to_its_target_has_no_distance_even_from_samples():
    prior, _, rewards = laws(4, 8)
    target = posterior(prior, rewards, 0.5)
    drawn = torch.multinomial(target.exp(), 50, replacement=True, generator=torch.Generator().manual_seed(0))
    found = distance_to_target((prior + rewards / 0.5)[drawn], target[drawn], target[drawn])
    for name in ("kl", "reverse_kl", "tv", "js"):
        assert abs(getattr(found, name).item()) < 1e-13, name
    assert found.effective.item() == pytest.approx(50, abs=1e-9)


def test_a_target_that_forbids_some_samples():
    prior = torch.full((4,), 0.25, dtype=torch.float64).log()
    target = torch.tensor([0.0, 0.0, -math.inf, -math.inf], dtype=torch.float64)
    found = distance_to_target(target, prior, prior)
    assert found.kl.item() == pytest.approx(math.log(2), abs=1e-14)
    assert found.reverse_kl.item() == math.inf
    assert found.tv.item() == pytest.approx(0.5, abs=1e-14)
    with pytest.raises(ValueError, match="log_target must be above -inf for some completion"):
        log_normaliser(torch.full((2, 4), -math.inf), prior.expand(2, 4))
