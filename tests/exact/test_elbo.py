from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.exact import _laws, elbo, entropy, js, kl, posterior, total_variation
from toykit.objectives.divergences import divergence


def draw(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(3, *shape, generator=generator, dtype=torch.float64) * 2).unbind(0)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), beta=st.floats(0.01, 20))
def test_objective_is_evidence_less_the_gap_and_never_above_it(seed, beta):
    policy, prior, rewards = draw(seed, 4, 6)
    policy, prior = policy.log_softmax(-1), prior.log_softmax(-1)
    bound = elbo(policy, prior, rewards, beta)
    assert torch.allclose(bound.value, bound.evidence - bound.gap, rtol=1e-12, atol=1e-12)
    assert (bound.value <= bound.evidence + 1e-12).all()
    best = elbo(posterior(prior, rewards, beta), prior, rewards, beta)
    assert torch.allclose(best.value, best.evidence, atol=1e-12)
    assert best.gap.abs().max() < 1e-12


def test_each_prompt_may_have_its_own_beta():
    policy, prior, rewards = draw(3, 4, 6)
    policy, prior = policy.log_softmax(-1), prior.log_softmax(-1)
    betas = torch.tensor([0.1, 0.5, 1.0, 3.0], dtype=torch.float64)
    together = elbo(policy, prior, rewards, betas)
    for i, beta in enumerate(betas.tolist()):
        alone = elbo(policy[i], prior[i], rewards[i], beta)
        for part in ("value", "evidence", "gap"):
            assert getattr(together, part)[i].item() == pytest.approx(getattr(alone, part).item(), abs=1e-13)
    with pytest.raises(ValueError, match="beta must be > 0 and finite, got -1.0"):
        elbo(policy, prior, rewards, torch.tensor([1.0, 1.0, -1.0, 0.0]))


def test_gradient_of_the_objective_is_that_of_minus_the_gap():
    policy, prior, rewards = draw(7, 6)
    logits = policy.requires_grad_()
    bound = elbo(logits.log_softmax(-1), prior.log_softmax(-1), rewards, 0.3)
    (up,) = torch.autograd.grad(bound.value, logits, retain_graph=True)
    (down,) = torch.autograd.grad(bound.gap, logits)
    assert torch.allclose(up, -down, atol=1e-13)
    assert up.abs().max() > 0.01


def test_distances_by_hand():
    p, q = torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]], dtype=torch.float64).log()
    assert kl(p, q).item() == pytest.approx(math.log(2), abs=1e-15)
    assert kl(q, p).item() == math.inf
    assert entropy(p).item() == pytest.approx(math.log(2), abs=1e-15)
    assert entropy(q).item() == pytest.approx(1.5 * math.log(2), abs=1e-15)
    assert total_variation(p, q).item() == pytest.approx(0.5, abs=1e-15)
    m = [0.375, 0.375, 0.25]
    expected = (math.log(0.5 / m[0]) + 0.5 * math.log(0.25 / m[0]) + 0.5 * math.log(0.5 / m[2])) / 2
    assert js(p, q).item() == pytest.approx(expected, abs=1e-15)
    apart = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64).log()
    assert js(apart[0], apart[1]).item() == pytest.approx(math.log(2), abs=1e-15)
    assert entropy(apart).tolist() == [0, 0]


@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
def test_pinsker_and_symmetry(seed):
    p, q, _ = (x.log_softmax(-1) for x in draw(seed, 3, 5))
    assert (2 * total_variation(p, q).square() <= kl(p, q) + 1e-12).all()
    assert torch.allclose(js(p, q), js(q, p), atol=1e-14)
    assert torch.allclose(kl(p, torch.full((5,), -math.log(5), dtype=p.dtype)), math.log(5) - entropy(p), atol=1e-13)


def test_logits_in_place_of_log_probabilities_are_refused():
    with pytest.raises(ValueError, match="log_q must be log-probabilities that sum to 1.*got a sum of 2"):
        kl(torch.tensor([0.5, 0.5]).log(), torch.zeros(2))


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), block=st.integers(1, 8))
def test_long_laws_are_summed_in_blocks(seed, block):
    p, q, _ = draw(seed, 3, 7)
    p[0, :3], q[1, 4] = -math.inf, -math.inf
    p, q = p.log_softmax(-1).requires_grad_(), q.log_softmax(-1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_laws, "BLOCK", block)
        found, law = kl(p, q), entropy(p)
        with pytest.raises(ValueError, match="log_p must be .* got a sum of 7"):
            kl(torch.zeros(7), q[0])
    torch.testing.assert_close(found, divergence("reverse_kl").value(p, q))
    torch.testing.assert_close(law, torch.special.entr(p.exp()).sum(-1))
    assert found[1] == math.inf
    expected = divergence("reverse_kl").value(p[::2], q[::2]).sum()
    ours, theirs = (torch.autograd.grad(x, p)[0][::2] for x in (found[::2].sum(), expected))
    torch.testing.assert_close(ours, theirs)


def test_mass_that_underflows_is_mass_and_its_absence_is_infinitely_far():
    p = torch.tensor([0.0, -800.0], dtype=torch.float64)
    q = torch.tensor([0.0, -math.inf], dtype=torch.float64)
    assert kl(p, q).item() == math.inf
    assert kl(q, p).item() == 0.0
