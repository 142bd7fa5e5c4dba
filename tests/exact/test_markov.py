from __future__ import annotations

import itertools
import math

import pytest
import torch

from toykit.exact import MarkovSource, kl
from toykit.tasks import Letters
from toykit.tasks.letters import NEXT, START, VOWELS

P = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
R = torch.tensor([0, 1, 2, 4])


def chain(seed: int = 0, v: int = 3) -> MarkovSource:
    draw = torch.Generator().manual_seed(seed)
    start, following = (torch.randn(*s, v, generator=draw, dtype=torch.float64).softmax(-1) for s in ((), (v,)))
    return MarkovSource(start, following, torch.randint(0, 4, (v,), generator=draw))


def every_string(source: MarkovSource, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(log-probabilities, rewards) of all strings, written out."""
    strings = torch.tensor(list(itertools.product(range(len(source.start)), repeat=length)))
    log_p = source.start.log()[strings[:, 0]] + source.following.log()[strings[:, :-1], strings[:, 1:]].sum(1)
    return log_p, source.rewards[strings].sum(1)


@pytest.mark.parametrize("source", [chain(0), chain(1), MarkovSource.independent(P, R)])
@pytest.mark.parametrize("length", [1, 2, 5])
def test_the_law_of_the_reward_and_its_moments_are_those_of_all_strings(source, length):
    log_p, rewards = every_string(source, length)
    values, log_mass = source.reward_law(length)
    expected = torch.zeros(len(values), dtype=torch.float64).index_add(0, rewards, log_p.exp())
    assert torch.allclose(log_mass.exp(), expected, rtol=1e-12, atol=0)
    alpha = torch.tensor([-1.0, 0.0, 0.7], dtype=torch.float64)
    moments = (log_p + alpha[:, None] * rewards).logsumexp(1)
    assert torch.allclose(source.log_moment(alpha, length), moments, atol=1e-13)


def test_independent_letters_have_the_binomial_law_and_the_moment_of_one_letter():
    coin = MarkovSource.independent(torch.tensor([0.9, 0.1], dtype=torch.float64), torch.tensor([0, 1]))
    _, log_mass = coin.reward_law(50)
    expected = [math.comb(50, k) * 0.1**k * 0.9 ** (50 - k) for k in range(51)]
    assert log_mass.exp().tolist() == pytest.approx(expected, rel=1e-12)  # 1e-50 at the end, to all digits
    source = MarkovSource.independent(P, R)
    one = (P * (0.6 * R.double()).exp()).sum().log().item()
    assert source.growth(0.6) == pytest.approx(one, abs=1e-14)
    assert source.log_moment(0.6, 100).item() == pytest.approx(100 * one, rel=1e-14)


def test_the_tilt_of_independent_letters_is_the_tilt_of_one():
    tilted = MarkovSource.independent(P, R).tilted(0.6)
    one = (P.log() + 0.6 * R.double()).softmax(0)
    assert torch.allclose(tilted.start, one, atol=1e-14)
    assert torch.allclose(tilted.following, one.expand(4, 4), atol=1e-14)
    assert tilted.reward_rate == pytest.approx((one @ R.double()).item(), abs=1e-13)


@pytest.mark.parametrize("seed", range(3))
def test_the_tilted_chain_is_what_long_tilted_strings_tend_to(seed):
    """Its reward a letter is Lambda', its KL a letter alpha Lambda' - Lambda, and its steps those of the middle."""
    source, alpha, h = chain(seed), 0.8, 1e-5
    tilted = source.tilted(alpha)
    slope = (source.growth(alpha + h) - source.growth(alpha - h)) / (2 * h)
    assert tilted.reward_rate == pytest.approx(slope, abs=1e-8)
    gain = source.log_moment(alpha, 400) - source.log_moment(alpha, 399)
    assert gain.item() == pytest.approx(source.growth(alpha), abs=1e-12)
    steps = kl(tilted.following.log(), source.following.log())
    stationary = torch.linalg.matrix_power(tilted.following, 200)[0]
    assert (stationary @ steps).item() == pytest.approx(alpha * slope - source.growth(alpha), abs=1e-8)


def test_an_untilted_chain_is_itself():
    source = chain(2)
    tilted = source.tilted(0.0)
    assert source.growth(0.0) == pytest.approx(0.0, abs=1e-14)
    assert torch.allclose(tilted.following, source.following, atol=1e-13)
    assert torch.allclose(tilted.start, source.start, atol=1e-13)


def test_the_vowels_of_the_letters_task_are_such_a_source():
    source = MarkovSource(START, NEXT, (torch.arange(len(START)) < len(VOWELS)).long())
    for length in (1, 8, 32):
        _, log_mass = source.reward_law(length)
        assert torch.allclose(log_mass.exp(), Letters("vowels", length).probabilities, rtol=1e-12, atol=0)
    assert source.reward_rate == pytest.approx(0.8 / 1.7, abs=1e-13)  # v = 0.1 v + 0.8 (1 - v)


def test_letters_that_alternate_and_letters_that_are_alike_have_their_eigenvalue():
    """A chain of period 2 grows by sqrt(e^alpha) a letter; copies of a letter add only eigenvalues of 0."""
    turns = MarkovSource(torch.tensor([0.5, 0.5]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 1]))
    assert turns.growth(3.0) == pytest.approx(1.5, abs=1e-13)
    assert turns.reward_rate == pytest.approx(0.5, abs=1e-13)
    vowels = MarkovSource(START, NEXT, (torch.arange(len(START)) < len(VOWELS)).long())
    two = torch.tensor([[0.1, 0.9], [0.8, 0.2]], dtype=torch.float64)  # of a vowel and a consonant
    for alpha in (-3.0, 0.0, 0.4, 2.0, 5.0):
        weighted = two * torch.tensor([math.exp(alpha), 1.0], dtype=torch.float64)
        half, root = weighted.trace() / 2, (weighted.trace() ** 2 / 4 - torch.linalg.det(weighted)).sqrt()
        assert vowels.growth(alpha) == pytest.approx((half + root).log().item(), abs=1e-13)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"following must have shape \[4, 4\], got \[4\]"):
        MarkovSource(P, P, R)
    with pytest.raises(ValueError, match="start must be probabilities that sum to 1"):
        MarkovSource(2 * P, P.expand(4, -1), R)
    with pytest.raises(ValueError, match="rewards must be whole numbers >= 0, got"):
        MarkovSource.independent(P, R.double())
    with pytest.raises(ValueError, match="rewards must be whole numbers >= 0, got"):
        MarkovSource.independent(P, R - 1)
    with pytest.raises(ValueError, match="length must be >= 1, got 0"):
        MarkovSource.independent(P, R).reward_law(0)
    stuck = MarkovSource(P[:2] / 0.8, torch.eye(2, dtype=torch.float64), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="following must lead from every letter to every other one"):
        stuck.tilted(1.0)
