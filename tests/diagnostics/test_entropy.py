from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.diagnostics import (
    answer_entropy,
    answer_log_probs,
    chained_entropy,
    mean_token_entropy,
    sampled_answer_entropy,
    sequence_entropy,
    token_entropy,
)
from toykit.exact import entropy, leaf_log_probs, node_log_probs
from toykit.tasks.tree import Tree


def test_token_entropy_by_hand():
    logits = torch.tensor([[0.0, 0.0, -math.inf], [math.log(8), 0.0, 0.0], [math.nan] * 3], dtype=torch.float64)
    mask = torch.tensor([True, True, False])
    second = -0.8 * math.log(0.8) - 0.2 * math.log(0.1)
    assert token_entropy(logits, mask).tolist() == pytest.approx([math.log(2), second, 0], abs=1e-14)
    assert mean_token_entropy(logits, mask).item() == pytest.approx((math.log(2) + second) / 2, abs=1e-14)
    assert mean_token_entropy(logits, torch.zeros(3, dtype=torch.bool)).item() == 0


@settings(deadline=None)
@given(seed=st.integers(0, 1000))
def test_surprise_and_the_chain_rule_give_the_exact_entropy_of_an_enumeration(seed):
    tree = Tree(3, 4, stop=(0,))
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(tree.n_nodes, 3, generator=generator, dtype=torch.float64)
    log_p, node = leaf_log_probs(tree, logits), node_log_probs(tree, logits)
    logp = node[tree.nodes, tree.tokens]
    at_token = token_entropy(logits[tree.nodes], tree.mask)
    exact = entropy(log_p)
    assert torch.allclose(sequence_entropy(logp, tree.mask, log_p.exp()), exact, atol=1e-13)
    assert torch.allclose(chained_entropy(at_token, tree.mask, log_p.exp()), exact, atol=1e-13)


def test_sampled_sequence_entropies_come_near_the_exact_one():
    tree = Tree(3, 3)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(tree.n_nodes, 3, generator=generator, dtype=torch.float64)
    log_p, node = leaf_log_probs(tree, logits), node_log_probs(tree, logits)
    drawn = torch.multinomial(log_p.exp(), 20_000, replacement=True, generator=generator)
    mask, nodes, tokens = (x[drawn] for x in (tree.mask, tree.nodes, tree.tokens))
    surprise = -node[nodes, tokens].sum(1)
    chained = token_entropy(logits[nodes], mask).sum(1)
    for value, terms in (
        (sequence_entropy(node[nodes, tokens], mask), surprise),
        (chained_entropy(token_entropy(logits[nodes], mask), mask), chained),
    ):
        assert abs(value - entropy(log_p)) < 4 * terms.std() / math.sqrt(20_000)
    assert chained.var() < 0.5 * surprise.var()


def test_answer_entropy_adds_up_the_completions_of_an_answer():
    log_p = torch.tensor([[0.25, 0.25, 0.5], [0.5, 0.5, 0.0]], dtype=torch.float64).log()
    answers = torch.tensor([7, 7, -1])
    assert answer_entropy(log_p, answers).tolist() == pytest.approx([math.log(2), 0], abs=1e-15)
    law = answer_log_probs(log_p, torch.tensor([1, 1, 0]), 3).exp()
    assert law.tolist() == [[0.5, 0.5, 0], [0, 1, 0]]
    with pytest.raises(ValueError, match="answers must be from 0 to 1, got -1 to 7"):
        answer_log_probs(log_p, answers, 2)


@settings(deadline=None)
@given(seed=st.integers(0, 1000))
def test_answer_entropy_is_at_most_that_of_the_completions(seed):
    generator = torch.Generator().manual_seed(seed)
    log_p = torch.randn(2, 9, generator=generator, dtype=torch.float64).log_softmax(-1)
    answers = torch.randint(0, 4, (2, 9), generator=generator)
    assert (answer_entropy(log_p, answers) <= entropy(log_p) + 1e-12).all()
    assert torch.allclose(answer_entropy(log_p, torch.arange(9)), entropy(log_p), atol=1e-13)


def test_sampled_answer_entropy_is_that_of_the_frequencies():
    answers = torch.tensor([[5, 5, 9, 9], [5, 5, 5, 5], [1, 2, 3, 3]])
    expected = [math.log(2), 0, 1.5 * math.log(2)]
    assert sampled_answer_entropy(answers).tolist() == pytest.approx(expected, abs=1e-15)
