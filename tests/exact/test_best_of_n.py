from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.exact import best_of_n, best_of_n_to_kl, enumerate_groups, kl, posterior


def draw(seed, *shape, levels=None):
    generator = torch.Generator().manual_seed(seed)
    log_prior = torch.randn(*shape, generator=generator, dtype=torch.float64).log_softmax(-1)
    rewards = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return log_prior, rewards if levels is None else (rewards * levels).round()


def by_groups(log_prior, rewards, n):
    """The law by writing out every group of n draws, ties shared equally."""
    index, log_weight = enumerate_groups(log_prior, n)
    won = rewards[index] == rewards[index].amax(-1, keepdim=True)
    share = won.double() / won.sum(-1, keepdim=True)
    return torch.zeros_like(log_prior).index_add(0, index.flatten(), (log_weight.exp()[:, None] * share).flatten())


@pytest.mark.parametrize("levels", [None, 1])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_law_is_that_of_all_groups_written_out(levels, n):
    log_prior, rewards = draw(3, 5, levels=levels)
    law = best_of_n(log_prior, rewards, n)
    assert torch.allclose(law.log_p.exp(), by_groups(log_prior, rewards, n), atol=1e-14)
    assert law.kl.item() == pytest.approx(kl(law.log_p, log_prior).item(), abs=1e-13)


def test_taking_the_first_of_tied_draws_gives_the_same_law():
    log_prior, rewards = draw(3, 5, levels=1)
    index, log_weight = enumerate_groups(log_prior, 4)
    first = index.gather(1, rewards[index].argmax(1, keepdim=True))[:, 0]
    law = torch.zeros_like(log_prior).index_add(0, first, log_weight.exp())
    assert torch.allclose(law, best_of_n(log_prior, rewards, 4).log_p.exp(), atol=1e-14)


def test_binary_reward_by_hand_is_a_tilt():
    log_prior = torch.tensor([0.1, 0.9], dtype=torch.float64).log()
    rewards = torch.tensor([1.0, 0.0], dtype=torch.float64)
    law = best_of_n(log_prior, rewards, 4)
    assert law.log_p.exp().tolist() == pytest.approx([0.3439, 0.6561], abs=1e-14)
    assert law.kl.item() == pytest.approx(0.2174, abs=5e-5)
    assert law.bound == pytest.approx(0.6363, abs=5e-5)
    alpha = math.log(0.3439 / 0.6561) - math.log(0.1 / 0.9)
    assert alpha == pytest.approx(1.551, abs=6e-4)
    assert torch.allclose(law.log_p, posterior(log_prior, rewards, 1 / alpha), atol=1e-13)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), n=st.floats(1, 1e6), levels=st.sampled_from([None, 1, 3]))
def test_law_sums_to_one_and_stays_within_the_bound(seed, n, levels):
    log_prior, rewards = draw(seed, 3, 8, levels=levels)
    law = best_of_n(log_prior, rewards, n)
    assert torch.allclose(law.log_p.exp().sum(-1), torch.ones(3, dtype=torch.float64), atol=1e-12)
    assert (law.kl <= law.bound + 1e-12).all()
    assert (law.kl >= -1e-15).all()
    # within one reward level the prior's proportions stay
    same = rewards[:, :, None] == rewards[:, None, :]
    ratio = law.log_p - log_prior
    gap = (ratio[:, :, None] - ratio[:, None, :])[same & (law.log_p > -700)[:, :, None]]
    assert gap.abs().max() < 1e-12


def test_one_draw_is_the_prior_and_many_reach_the_maximum():
    log_prior, rewards = draw(0, 6)
    assert torch.allclose(best_of_n(log_prior, rewards, 1).log_p, log_prior, atol=1e-13)
    assert best_of_n(log_prior, rewards, 1).bound == 0
    law = best_of_n(log_prior, rewards, 3e44)
    assert law.log_p.exp()[rewards.argmax()] == 1
    assert law.kl.item() == pytest.approx(-log_prior[rewards.argmax()].item(), abs=1e-12)


def test_rare_best_completions_keep_their_precision():
    rare = 1e-12
    log_prior = torch.tensor([rare, 1 - rare], dtype=torch.float64).log()
    rewards = torch.tensor([1.0, 0.0], dtype=torch.float64)
    for n in (1, 7.5, 1e12):
        exact = -math.expm1(n * math.log1p(-rare))
        assert best_of_n(log_prior, rewards, n).log_p[0].exp().item() == pytest.approx(exact, rel=1e-9)


def test_convolution_example_of_a_sum_of_letters():
    """Four letters, rewards (0,1,2,4), N = exp(4 * 0.4): reward and divergence per letter by enumeration."""
    letters = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64).log()
    values = torch.tensor([0.0, 1.0, 2.0, 4.0], dtype=torch.float64)
    log_prior, rewards = letters, values
    for _ in range(3):
        log_prior = (log_prior[:, None] + letters).flatten()
        rewards = (rewards[:, None] + values).flatten()
    law = best_of_n(log_prior, rewards, math.exp(1.6))
    assert (law.log_p.exp() @ rewards).item() / 4 == pytest.approx(1.43686, abs=5e-6)
    assert law.kl.item() == pytest.approx(0.7844, abs=5e-5)
    assert law.bound == pytest.approx(0.8019, abs=5e-5)


def test_completions_without_prior_mass_are_never_best():
    log_prior = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64).log()
    law = best_of_n(log_prior, torch.tensor([0.0, 1.0, 2.0]), 2)
    assert law.log_p.exp().tolist() == pytest.approx([0.25, 0.75, 0.0], abs=1e-15)


def test_bad_input_is_named():
    log_prior, rewards = draw(0, 4)
    with pytest.raises(ValueError, match="n must be >= 1, got 0.5"):
        best_of_n(log_prior, rewards, 0.5)
    with pytest.raises(ValueError, match="n must be > 0 and finite, got inf"):
        best_of_n(log_prior, rewards, math.inf)
    with pytest.raises(ValueError, match="rewards must not be NaN"):
        best_of_n(log_prior, torch.full((4,), math.nan), 2)


def test_many_numbers_of_draws_at_once_are_each_their_own():
    log_prior, rewards = draw(5, 7, levels=2)
    n = torch.tensor([1.0, 2.5, 64.0], dtype=torch.float64)
    every = best_of_n(log_prior, rewards, n)
    for i, each in enumerate(n.tolist()):
        alone = best_of_n(log_prior, rewards, each)
        assert torch.allclose(every.log_p[i], alone.log_p, atol=1e-15)
        assert every.kl[i].item() == pytest.approx(alone.kl.item(), abs=1e-15)
        assert every.bound[i].item() == pytest.approx(math.log(each) - (each - 1) / each, abs=1e-14)
    by_log = best_of_n(log_prior, rewards, log_n=n.log())
    assert torch.equal(by_log.log_p, every.log_p)


def test_more_draws_than_a_float_can_hold():
    """A best completion of mass e^-1000 among e^1000 draws is met with probability 1 - 1/e."""
    log_prior = torch.tensor([-1000.0, 0.0], dtype=torch.float64)
    law = best_of_n(log_prior, torch.tensor([1.0, 0.0]), log_n=1000.0)
    met = 1 - math.exp(-1)
    assert law.log_p.exp().tolist() == pytest.approx([met, 1 - met], abs=1e-12)
    expected = met * (1000 + math.log(met)) + (1 - met) * math.log(1 - met)
    assert law.kl.item() == pytest.approx(expected, abs=1e-9)
    assert law.bound.item() == 999.0


def test_the_bound_is_reached_as_ties_vanish():
    """K equally likely completions of different rewards: the slack of the bound falls like 1 / K^2."""
    slack = []
    for k in (10, 100, 1000, 10_000):
        law = best_of_n(torch.full((k,), -math.log(k), dtype=torch.float64), torch.arange(k), 8)
        slack.append((law.bound - law.kl).item())
    assert all(80 < a / b < 120 for a, b in itertools.pairwise(slack))
    assert 0 < slack[-1] < 1e-7


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), share=st.floats(1e-6, 0.999), levels=st.sampled_from([None, 1]))
def test_the_number_of_draws_for_a_divergence_is_found(seed, share, levels):
    log_prior, rewards = draw(seed, 2, 6, levels=levels)
    best = rewards == rewards.amax(-1, keepdim=True)
    most = -torch.where(best, log_prior, -torch.inf).logsumexp(-1)
    law = best_of_n_to_kl(log_prior, rewards, share * most)
    assert torch.allclose(law.kl, share * most, rtol=1e-9, atol=1e-12)
    assert torch.allclose(best_of_n(log_prior, rewards, log_n=law.log_n).log_p, law.log_p)


def test_no_divergence_is_one_draw_and_all_of_it_is_refused():
    log_prior, rewards = draw(0, 4)
    assert best_of_n_to_kl(log_prior, rewards, 0.0).log_n.item() == 0
    assert best_of_n_to_kl(log_prior, torch.ones(4), 0.0).log_n.item() == 0  # all rewards equal: nothing to reach
    most = -log_prior[rewards.argmax()].item()
    with pytest.raises(ValueError, match=f"kl_budget must be from 0 to below {most:g}.*got {most:g}"):
        best_of_n_to_kl(log_prior, rewards, most)
    with pytest.raises(ValueError, match="kl_budget must be from 0"):
        best_of_n_to_kl(log_prior, rewards, -0.1)


def test_how_many_draws_must_be_said_once():
    log_prior, rewards = draw(0, 4)
    for wrong in ({}, {"n": 2, "log_n": 1.0}):
        with pytest.raises(ValueError, match="n or log_n must be given, and not both"):
            best_of_n(log_prior, rewards, **wrong)
    with pytest.raises(ValueError, match="log_n must be >= 0 and finite, got -1.0"):
        best_of_n(log_prior, rewards, log_n=-1.0)
    with pytest.raises(ValueError, match="n must be >= 1, got 0.5"):
        best_of_n(log_prior, rewards, torch.tensor([2.0, 0.5]))
