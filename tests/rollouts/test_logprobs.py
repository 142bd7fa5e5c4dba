from __future__ import annotations

import torch

from toykit.policies import TabularLM
from toykit.rollouts import chosen, leaf_logps, log_softmax, token_logps, vocab_logps
from toykit.tasks.bandit import tricks_tree


def test_low_precision_logits_get_float32_probabilities():
    logits = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.bfloat16)
    assert log_softmax(logits).dtype == torch.float32
    assert torch.equal(log_softmax(logits), logits.float().log_softmax(-1))
    assert log_softmax(logits.double()).dtype == torch.float64


def test_chosen_takes_the_tokens_and_gives_0_where_masked():
    table = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [0.9, 0.05, 0.05]]).log()
    found = chosen(table, torch.tensor([2, 1, 0]), torch.tensor([True, True, False]))
    assert torch.allclose(found, torch.tensor([0.25, 0.2, 1.0]).log())


def test_probabilities_by_hand_and_at_a_temperature():
    task, logits = tricks_tree()
    policy = TabularLM.of(task, logits=logits)
    prompts, tree = task.prompts(), task.tree
    first, second, third = logits[0].softmax(0), logits[1, :2].softmax(0), logits[2, :2].softmax(0)
    chain = first[1] * second[1]
    expected = torch.stack([first[0], first[1] * second[0], chain * third[0], chain * third[1], first[2]])
    assert torch.allclose(leaf_logps(policy, prompts, tree).sum(-1).exp()[0], expected, rtol=0, atol=1e-15)
    warm = TabularLM.of(task, logits=logits / 2)
    arguments = prompts.tokens, prompts.mask, tree.tokens[None], tree.mask[None]
    assert torch.allclose(token_logps(policy, *arguments, temperature=2.0), token_logps(warm, *arguments))
    assert vocab_logps(policy, *arguments).shape == (1, 5, 3, 4)
