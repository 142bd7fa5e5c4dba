from __future__ import annotations

import itertools

import pytest
import torch

from toykit.policies import TabularLM
from toykit.rollouts import Enumerated
from toykit.tasks import Letters
from toykit.tasks.letters import BEGIN, NEXT, REWARDS, START

SHORT = {name: Letters(name, horizon=3) for name in REWARDS}
EVERY = torch.tensor(list(itertools.product(range(BEGIN), repeat=3)))  # all strings of three letters


def scores(task: Letters, strings: torch.Tensor) -> torch.Tensor:
    return task.score(torch.tensor([0]), strings[None], torch.ones_like(strings, dtype=torch.bool)[None])[0]


def test_the_grammar_is_made_of_probabilities() -> None:
    assert START.sum().item() == pytest.approx(1.0, abs=1e-12)
    assert torch.allclose(NEXT.sum(1), torch.ones(BEGIN, dtype=torch.float64), atol=1e-12)
    assert SHORT["vowels"].log_prob(EVERY).exp().sum().item() == pytest.approx(1.0, abs=1e-10)


def test_rewards_are_the_share_of_vowels_and_whether_there_is_an_a() -> None:
    strings = [Letters.vocab.encode(s) for s in ("aeiouaei", "ntsrldmk", "banatntt", "noteless")]
    tokens = torch.tensor(strings)
    assert scores(Letters("vowels"), tokens).tolist() == [1.0, 0.0, 0.25, 0.375]
    assert scores(Letters("contains_a"), tokens).tolist() == [1.0, 0.0, 1.0, 0.0]


def test_a_word_of_two_letters_counts_where_they_stand_side_by_side() -> None:
    tokens = torch.tensor(
        [Letters.vocab.encode(s) for s in ("banatntt", "nbatntan", "anananan", "tttttttn", "natttttt")]
    )
    assert scores(Letters("contains_na"), tokens).tolist() == [1.0, 0.0, 1.0, 0.0, 1.0]


def test_the_prior_mass_of_strings_with_the_word_na_is_about_1_in_130() -> None:
    task = Letters("contains_na")
    step = NEXT.clone()
    step[Letters.vocab.tokens.index("n"), 0] = 0  # an independent count: the mass of walks that never go from n to a
    without = (START @ torch.linalg.matrix_power(step, 7)).sum().item()
    assert (task.probabilities * task.values).sum().item() == pytest.approx(1 - without, abs=1e-12)
    assert 1 / 140 < 1 - without < 1 / 120


@pytest.mark.parametrize("name", REWARDS)
def test_the_exact_reward_distribution_is_that_of_all_strings(name: str) -> None:
    task = SHORT[name]
    p, rewards = task.log_prob(EVERY).exp(), scores(task, EVERY)
    for f in (lambda r: r, torch.square, lambda r: (r / 0.2).exp()):
        assert (task.probabilities * f(task.values)).sum().item() == pytest.approx(
            (p * f(rewards)).sum().item(), abs=1e-10
        )


def test_the_prior_mass_of_strings_with_an_a_is_about_a_twentieth() -> None:
    task = Letters("contains_a")
    mass = (task.probabilities * task.values).sum().item()
    step = NEXT[1:, 1:]  # an independent count: the mass of walks that avoid "a"
    assert mass == pytest.approx(1 - (START[1:] @ torch.linalg.matrix_power(step, 7)).sum().item(), abs=1e-12)
    assert 0.045 < mass < 0.055


@pytest.mark.parametrize("name", REWARDS)
def test_exact_entropies_are_those_of_all_strings(name: str) -> None:
    task = SHORT[name]
    log_p, rewards = task.log_prob(EVERY), scores(task, EVERY)
    assert task.entropy() == pytest.approx(-(log_p.exp() * log_p).sum().item(), abs=1e-10)
    for weights, log_w in ((task.values, rewards.log()), ((task.values / 0.3).exp(), rewards / 0.3)):
        posterior = (log_p + log_w).softmax(0)
        assert task.entropy(weights) == pytest.approx(-torch.xlogy(posterior, posterior).sum().item(), abs=1e-10)


def test_a_table_with_the_grammar_as_logits_is_the_grammar() -> None:
    task = SHORT["vowels"]
    policy = TabularLM.of(task, logits=task.node_logits())
    everything = Enumerated()(policy, task, task.prompts())
    log_p, letters = everything.old_logp.sum(-1)[0], (everything.completions[0] < BEGIN).all(-1)
    assert torch.allclose(log_p[letters], task.log_prob(everything.completions[0, letters]), rtol=0, atol=1e-12)
    assert log_p[~letters].exp().sum().item() < 1e-20
    mean = (task.probabilities * task.values).sum().item()
    assert everything.mean(everything.rewards).item() == pytest.approx(mean, abs=1e-12)


def test_strings_of_eight_letters_are_too_many_to_enumerate() -> None:
    with pytest.raises(ValueError, match="give 11019960576 completions, the limit is 20000000; use sampling"):
        TabularLM.of(Letters())


def test_the_entropy_of_the_grammar_is_that_of_a_markov_chain() -> None:
    at, entropy = START, -torch.xlogy(START, START).sum()
    for _ in range(7):
        entropy = entropy - (at @ torch.xlogy(NEXT, NEXT)).sum()
        at = at @ NEXT
    assert Letters().entropy() == pytest.approx(entropy.item(), abs=1e-12)


def test_the_corpus_follows_the_grammar() -> None:
    task, n = Letters("contains_a"), 20_000
    prompts, strings, mask = task.corpus(n, torch.Generator().manual_seed(0))
    assert prompts.tokens.tolist() == [[BEGIN]] * n
    assert bool(mask.all())
    log_p, mass = task.log_prob(strings), (task.probabilities * task.values).sum().item()
    assert scores(task, strings).mean().item() == pytest.approx(mass, abs=4 * (mass / n) ** 0.5)
    assert -log_p.mean().item() == pytest.approx(task.entropy(), abs=4 * log_p.std().item() / n**0.5)
    pairs = torch.zeros(BEGIN, BEGIN, dtype=torch.float64).index_put_(
        (strings[:, :-1].flatten(), strings[:, 1:].flatten()), torch.tensor(1.0, dtype=torch.float64), accumulate=True
    )
    assert (pairs / pairs.sum(1, keepdim=True) - NEXT).abs()[1:].max().item() < 0.05


def test_a_string_with_the_begin_token_has_no_probability_and_it_counts_for_nothing() -> None:
    string = torch.tensor([0, BEGIN, 1])
    assert Letters(horizon=3).log_prob(string).item() == -torch.inf
    assert scores(SHORT["vowels"], string[None]).tolist() == [pytest.approx(2 / 3)]


def test_masked_letters_do_not_count() -> None:
    mask = torch.tensor([[[True, False, False]]])
    assert SHORT["contains_a"].score(torch.tensor([0]), torch.tensor([[[5, 0, 0]]]), mask).item() == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"reward": "vowel"},
            "reward must be one of contains_a, contains_na, vowels, got 'vowel'; did you mean 'vowels'",
        ),
        ({"horizon": 0}, "horizon must be >= 1, got 0"),
    ],
)
def test_bad_settings_are_refused(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Letters(**options)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.ones(3), r"weights must have shape \[9\], got \[3\]"),
        (torch.zeros(9), "at least one > 0"),
        (-torch.ones(9), "weights must be >= 0"),
    ],
)
def test_weights_that_make_no_distribution_are_refused(weights: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Letters().entropy(weights)
