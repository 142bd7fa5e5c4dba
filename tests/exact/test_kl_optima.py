from __future__ import annotations

import math

import pytest
import torch

from toykit.exact import entropy, forward_kl_optimum, kl, posterior, product_log, reverse_kl_optimum


def law(*p: float) -> torch.Tensor:
    return torch.tensor(p, dtype=torch.float64).log()


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_three_answers_by_hand():
    """ref .7, .3, 0 with rewards 0, 0, 1 and alpha 1/4: c = 1, and the unknown answer takes what is left."""
    ref, rewards = law(0.7, 0.3, 0.0), torch.tensor([0.0, 0.0, 1.0])
    assert forward_kl_optimum(ref, rewards, 0.25).exp().tolist() == pytest.approx([0.175, 0.075, 0.75], abs=1e-15)
    assert reverse_kl_optimum(ref, rewards, 0.25).exp().tolist() == pytest.approx([0.7, 0.3, 0.0], abs=1e-15)


def test_two_answers_by_hand():
    """ref 1/2, 1/2, rewards 1, 0, alpha 1: 1/(2 (c - 1)) + 1/(2 c) = 1 gives c = 1 + sqrt(1/2)."""
    found = forward_kl_optimum(law(0.5, 0.5), torch.tensor([1.0, 0.0]), 1.0).exp()
    c = 1 + math.sqrt(0.5)
    assert found.tolist() == pytest.approx([0.5 / (c - 1), 0.5 / c], abs=1e-15)


def test_the_reverse_one_is_the_posterior_and_with_entropy_that_of_a_flattened_reference():
    ref, rewards = draw(0, 5, 7).log_softmax(-1), draw(1, 5, 7)
    assert torch.allclose(reverse_kl_optimum(ref, rewards, 0.3), posterior(ref, rewards, 0.3), atol=1e-14)
    flat = (0.3 / 0.5 * ref).log_softmax(-1)
    assert torch.allclose(reverse_kl_optimum(ref, rewards, 0.3, 0.2), posterior(flat, rewards, 0.5), atol=1e-14)


@pytest.mark.parametrize("bonus", [0.0, 0.02, 0.5])
@pytest.mark.parametrize("alpha", [0.01, 0.3, 5.0])
def test_what_stationarity_demands_is_the_same_for_every_answer(alpha, bonus):
    """r + alpha ref / pi - entropy log pi = c, relative to the size of its terms, and the law sums to 1."""
    ref, rewards = 3 * draw(2, 6, 9), 2 * draw(3, 6, 9)
    ref = ref.log_softmax(-1)
    found = forward_kl_optimum(ref, rewards, alpha, bonus)
    assert torch.allclose(found.exp().sum(-1), torch.ones(6, dtype=torch.float64), atol=1e-13)
    both = rewards + alpha * (ref - found).exp() - bonus * found
    assert (both.amax(-1) - both.amin(-1)).max() < 1e-10


@pytest.mark.parametrize("bonus", [0.0, 0.1])
def test_no_other_law_is_better(bonus):
    """Against 2,000 laws near and far, also where the reference has no mass on the best answer."""
    rewards = torch.tensor([0.2, 0.0, 0.7, 1.0, 1.0], dtype=torch.float64)
    others = torch.cat([draw(4, 1000, 5), 4 * draw(5, 1000, 5)]).log_softmax(-1)
    for ref in (law(0.4, 0.3, 0.2, 0.05, 0.05), law(0.5, 0.3, 0.2, 0.0, 0.0)):
        for alpha in (0.05, 0.4, 3.0):

            def value(log_pi, best, ref=ref, alpha=alpha):
                cost = kl(ref, log_pi) if best == "forward" else kl(log_pi, ref)
                return (log_pi.exp() * rewards).sum(-1) - alpha * cost + bonus * entropy(log_pi)

            for name, optimum in (("forward", forward_kl_optimum), ("reverse", reverse_kl_optimum)):
                best = optimum(ref, rewards, alpha, bonus)
                near = (best.clamp(min=-30) + 0.1 * others).log_softmax(-1)
                for tried in (others, near):
                    assert (value(tried, name) <= value(best, name) + 1e-12).all(), (name, alpha)


def test_where_the_best_answer_is_unknown_and_the_penalty_large_it_stays_unknown():
    """sum alpha ref / (max r - r) > 1: covering the reference takes all of the mass."""
    found = forward_kl_optimum(law(0.5, 0.5, 0.0), torch.tensor([0.0, 0.5, 1.0]), 2.0).exp()
    assert found[2] == 0 and found.sum().item() == pytest.approx(1, abs=1e-14)
    c = 2 * 0.5 / found[0].item()  # from the first answer
    assert found[1].item() == pytest.approx(1.0 / (c - 0.5), abs=1e-13)


def test_equal_rewards_give_the_reference_back():
    ref = draw(6, 4).log_softmax(-1)
    for optimum in (forward_kl_optimum, reverse_kl_optimum):
        assert torch.allclose(optimum(ref, torch.full((4,), 3.0), 0.7), ref, atol=1e-14)


def test_a_small_bonus_leads_to_the_law_without():
    ref, rewards = law(0.6, 0.3, 0.1 - 1e-6, 1e-6), torch.tensor([0.0, 0.3, 0.0, 1.0])
    without = forward_kl_optimum(ref, rewards, 0.2).exp()
    assert torch.allclose(forward_kl_optimum(ref, rewards, 0.2, 1e-6).exp(), without, atol=1e-4)


def test_product_log():
    x = torch.tensor([-torch.inf, -700.0, -5.0, 0.0, 1.0, 2.0, 50.0, 1e6], dtype=torch.float64)
    w = product_log(x)
    assert w[0] == 0 and w[4].item() == pytest.approx(1.0, abs=1e-15)
    assert w[3].item() == pytest.approx(0.5671432904097838, abs=1e-15)  # Lambert's W of 1
    assert torch.allclose(w[1:] + w[1:].log(), x[1:], rtol=1e-14, atol=1e-14)


def test_bad_arguments_are_named():
    ref, rewards = law(0.5, 0.5), torch.tensor([0.0, 1.0])
    for optimum in (forward_kl_optimum, reverse_kl_optimum):
        with pytest.raises(ValueError, match="alpha must be > 0 and finite, got 0"):
            optimum(ref, rewards, 0)
        with pytest.raises(ValueError, match="entropy must be >= 0, got -0.1"):
            optimum(ref, rewards, 0.1, -0.1)
        with pytest.raises(ValueError, match="log_ref must be log-probabilities that sum to 1"):
            optimum(torch.zeros(2), rewards, 0.1)
        with pytest.raises(ValueError, match="rewards must be finite"):
            optimum(ref, torch.tensor([0.0, math.inf]), 0.1)
