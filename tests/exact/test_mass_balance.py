from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.exact import (
    enumerate_draws,
    exact_step,
    mass_balance,
    probability_change,
    subset_law,
    subsets,
    surrogate_step,
    unsampled_second_moment,
)

CARD = torch.tensor([2.0, 0.3, -0.5, 1.5, 0.0, -1.0], dtype=torch.float64)
CORRECT = torch.tensor([True, True, True, False, False, False])


def all_draws(n):
    """(how often each token is drawn [6^n, 6], probability [6^n])."""
    counts, log_weight = enumerate_draws(CARD.log_softmax(0), n)
    return counts, log_weight.exp()


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (1, (0.12875, 0.02301, 0.01130, 0.01337, 0.00697, 0.196152)),
        (2, (0.01658, 0.04215, 0.02697, 0.01263, 0.00475, 0.118009)),
        (3, (0.00213, 0.05422, 0.03910, 0.00980, 0.00245, 0.074004)),
        (5, (0.00004, 0.06558, 0.05346, 0.00532, 0.00034, 0.033473)),
    ],
)
def test_expected_terms_of_card_13(n, expected):
    counts, weight = all_draws(n)
    log_p = CARD.log_softmax(0)
    terms = mass_balance(log_p, CORRECT, counts > 0)
    parts = (terms.sampled_correct, terms.sampled_wrong, terms.unsampled_wrong, terms.unsampled_correct)
    means = [(weight * part).sum().item() for part in parts]
    found = [weight[terms.total < 0].sum().item(), *means]
    assert found == pytest.approx(expected[:5], abs=5e-6)
    unsampled = (weight * ((counts == 0) * log_p.exp().square()).sum(1)).sum().item()
    assert unsampled == pytest.approx(expected[5], abs=5e-7)
    assert unsampled_second_moment(log_p, n).item() == pytest.approx(unsampled, abs=1e-15)


def test_total_is_the_first_order_change_of_a_softmax_step():
    counts, _ = all_draws(3)
    log_p = CARD.log_softmax(0)
    for drawn in (counts > 0, counts):
        step = 1e-4 * surrogate_step(log_p, CORRECT, drawn)
        up, down = ((CARD + s).softmax(-1)[:, CORRECT].sum(1) for s in (step, -step))
        terms = mass_balance(log_p, CORRECT, drawn)
        assert torch.allclose((up - down) / 2e-4, terms.total, rtol=0, atol=1e-9)
        change = probability_change(log_p, step / 1e-4)
        assert torch.allclose(change[:, CORRECT].sum(1), terms.total, atol=1e-15)


def test_rewards_keep_their_precision():
    """-0.3 is no float32 number."""
    log_p, drawn = CARD.log_softmax(0), torch.tensor([True, False, True, True, False, False])
    change = probability_change(log_p, surrogate_step(log_p, CORRECT, drawn, 1.0, -0.3))[CORRECT].sum()
    assert change.item() == pytest.approx(mass_balance(log_p, CORRECT, drawn, 1.0, -0.3).total.item(), abs=1e-16)


def test_surrogate_step_is_minus_the_gradient_of_the_surrogate_loss():
    logits = CARD.clone().requires_grad_()
    counts = torch.tensor([2, 0, 1, 3, 0, 0])
    rewards = torch.where(CORRECT, 1.0, -0.5)
    loss = -(counts * rewards * logits.softmax(0)).sum()
    (gradient,) = torch.autograd.grad(loss, logits)
    found = surrogate_step(CARD.log_softmax(0), CORRECT, counts, 1.0, -0.5)
    assert torch.allclose(found, -gradient, atol=1e-15)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), right=st.floats(0, 5), wrong=st.floats(-5, 0))
def test_sampled_terms_are_never_negative_for_sets(seed, right, wrong):
    generator = torch.Generator().manual_seed(seed)
    log_p = (2 * torch.randn(4, 7, generator=generator, dtype=torch.float64)).log_softmax(-1)
    correct, drawn = (torch.rand(4, 7, generator=generator) < 0.5 for _ in range(2))
    terms = mass_balance(log_p, correct, drawn, right, wrong)
    assert (terms.sampled_correct >= -1e-15).all()
    assert (terms.sampled_wrong >= -1e-15).all()
    everything = mass_balance(log_p, correct, torch.ones_like(drawn), right, wrong)
    assert everything.unsampled.abs().max() == 0


def test_multiplicity_can_make_the_first_term_negative():
    """p = .7 drawn once and .1 drawn six times, both correct: .55 - 1.3 * .5 = -.10, times Q_neg = .2."""
    log_p = torch.tensor([0.7, 0.1, 0.2], dtype=torch.float64).log()
    correct = torch.tensor([True, True, False])
    counts = torch.tensor([1, 6, 0])
    assert mass_balance(log_p, correct, counts).sampled_correct.item() == pytest.approx(-0.2 * 0.1, abs=1e-15)
    assert mass_balance(log_p, correct, counts > 0).sampled_correct.item() > 0


def test_exact_gradient_makes_the_likelier_correct_token_richer():
    log_p = CARD.log_softmax(0)
    p, rewards = log_p.exp(), torch.where(CORRECT, 1.0, -1.0).double()
    change = probability_change(log_p, exact_step(log_p, rewards))
    step = 1e-6 * exact_step(log_p, rewards)
    assert torch.allclose(((CARD + step).softmax(0) - (CARD - step).softmax(0)) / 2e-6, change, atol=1e-10)
    j = (p * rewards).sum()
    loses = p * (rewards - j) < (p.square() * (rewards - j)).sum()
    assert torch.equal(change < 0, loses)
    assert loses[:3].tolist() == [False, True, True]
    assert change[CORRECT].sum() > 0


@pytest.mark.parametrize(("spread", "losers"), [(0.0, 0), (0.3, 8), (1.0, 78)])
def test_unequal_correct_tokens_lose_under_the_exact_gradient(spread, losers):
    """Card 13's counter-experiment: 100 correct tokens of 1280, with logits 3 + spread * normal."""
    logits = torch.zeros(1280, dtype=torch.float64)
    logits[:100] = torch.from_numpy(3 + spread * np.random.default_rng(99).normal(size=100))
    log_p = logits.log_softmax(0)
    change = probability_change(log_p, exact_step(log_p, torch.where(torch.arange(1280) < 100, 1.0, -1.0).double()))
    assert (change[:100] < 0).sum() == losers
    assert change[:100].sum() > 0


def test_unsampled_second_moment_falls_with_n_and_handles_certainty():
    values = torch.stack([unsampled_second_moment(CARD.log_softmax(0), n) for n in (0, 1, 2, 8, 1000)])
    assert (values.diff() < 0).all()
    assert values[0].item() == pytest.approx(CARD.softmax(0).square().sum().item(), abs=1e-15)
    certain = torch.tensor([1.0, 0.0], dtype=torch.float64).log()
    assert [unsampled_second_moment(certain, n).item() for n in (0, 1)] == [1, 0]


def test_bad_rewards_are_named():
    with pytest.raises(ValueError, match="reward_wrong must be <= 0, got 0.5"):
        mass_balance(CARD.log_softmax(0), CORRECT, CORRECT, 1.0, 0.5)
    with pytest.raises(ValueError, match="reward_correct must be >= 0"):
        mass_balance(CARD.log_softmax(0), CORRECT, CORRECT, -1.0, -1.0)


def test_draws_of_two_tokens_by_hand():
    log_p = torch.tensor([0.25, 0.75], dtype=torch.float64).log()
    counts, log_weight = enumerate_draws(log_p, 2)
    assert counts.tolist() == [[2, 0], [1, 1], [1, 1], [0, 2]]
    assert log_weight.exp().tolist() == pytest.approx([1 / 16, 3 / 16, 3 / 16, 9 / 16])


def test_subsets_of_two_tokens_by_hand():
    assert subsets(2).int().tolist() == [[0, 0], [1, 0], [0, 1], [1, 1]]


def test_law_of_the_drawn_set_by_hand():
    """Two tokens: the set is whole with probability 1 - p^n - (1 - p)^n."""
    law = subset_law(torch.tensor([0.25, 0.75], dtype=torch.float64).log(), 3)
    assert law[0].tolist() == [1, 0, 0, 0]
    assert law[1].tolist() == pytest.approx([0, 0.25, 0.75, 0])
    assert law[3].tolist() == pytest.approx([0, 1 / 64, 27 / 64, 36 / 64])


@pytest.mark.parametrize("n", [1, 2, 4])
def test_law_of_the_drawn_set_is_that_of_all_sequences(n):
    counts, weight = all_draws(n)
    place = ((counts > 0) * 2 ** torch.arange(6)).sum(1)
    expected = torch.zeros(64, dtype=torch.float64).index_add(0, place, weight)
    batch = torch.stack([CARD, torch.zeros_like(CARD)]).log_softmax(-1)
    law = subset_law(batch, n)
    assert law.shape == (n + 1, 2, 64)
    assert torch.allclose(law[n, 0], expected, rtol=0, atol=1e-15)
    assert torch.allclose(law.sum(-1), torch.ones(n + 1, 2, dtype=torch.float64), atol=1e-14)


def test_law_of_the_drawn_set_gives_the_unsampled_moment_at_any_n():
    log_p = CARD.log_softmax(0)
    law = subset_law(log_p, 200)
    unsampled = (~subsets(6) * log_p.exp().square()).sum(1)
    for n in (0, 1, 7, 50, 200):
        assert (law[n] @ unsampled).item() == pytest.approx(unsampled_second_moment(log_p, n).item(), rel=1e-12)


def test_a_harmful_draw_must_have_left_a_token_out():
    """P(dQ < 0) <= sum_i (1 - p_i)^n, so it goes to 0."""
    log_p, sets = CARD.log_softmax(0), subsets(6)
    harm = subset_law(log_p, 400)[:, mass_balance(log_p, CORRECT, sets).total < 0].sum(1)
    n = torch.arange(401, dtype=torch.float64)[:, None]
    assert (harm <= (1 - log_p.exp()).pow(n).sum(1)).all()
    assert harm[400] < 1e-20 < harm[1]


def test_with_counts_the_limit_of_many_draws_is_the_gradient_of_half_the_second_moment():
    """n / N -> p: the step is that of 1/2 sum_i R_i p_i^2, and not that of the expected reward."""
    logits = CARD.clone().requires_grad_()
    p, rewards = logits.softmax(0), torch.where(CORRECT, 1.0, -1.0).double()
    (half,) = torch.autograd.grad((rewards * p.square()).sum() / 2, logits, retain_graph=True)
    (whole,) = torch.autograd.grad((rewards * p).sum(), logits)
    log_p = CARD.log_softmax(0)
    assert torch.allclose(surrogate_step(log_p, CORRECT, p.detach()), half, atol=1e-15)
    assert torch.allclose(surrogate_step(log_p, CORRECT, torch.ones(6)), whole, atol=1e-15)
    assert torch.allclose(exact_step(log_p, rewards), whole, atol=1e-15)


def test_too_many_tokens_and_no_draws_are_named():
    with pytest.raises(ValueError, match="n_tokens must be from 1 to 16, got 17"):
        subsets(17)
    with pytest.raises(ValueError, match="n must be >= 0, got -1"):
        subset_law(CARD.log_softmax(0), -1)
    with pytest.raises(ValueError, match="gives 78364164096 groups"):
        enumerate_draws(CARD.log_softmax(0), 14)
