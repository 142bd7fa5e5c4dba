"""What lessons measure on held-out prompts."""

from __future__ import annotations

import pytest
import torch

from toykit.lessons.held_out import held_out, summary
from toykit.rollouts import of_lengths
from toykit.tasks import ChainSum
from toykit.training import Trainer, load_policy


def test_a_summary_by_hand():
    """Three completions of 2, 4 and 1 tokens, right, wrong and right, each token with probability 1/e."""
    made = of_lengths(torch.tensor([[2, 4, 1]]), torch.tensor([[1.0, 0.0, 1.0]]))
    made = made.with_(old_logp=-made.mask.double())
    assert summary(made) == pytest.approx(
        {
            "success": 2 / 3,
            "length": 7 / 3,
            "length, right": 1.5,
            "length, wrong": 4.0,
            "entropy": 7 / 3,
            "token entropy": 1.0,
        }
    )
    assert summary(made.with_(rewards=torch.ones(1, 3)))["length, wrong"] == 0


def test_the_same_seed_asks_the_same_prompts_and_draws_the_same():
    trainer = Trainer(load_policy("chain_sum_200"), ChainSum(), "rloo")
    first, again, other = (held_out(trainer, seed, 4, prompts=6) for seed in (0, 0, 1))
    assert first.completions.shape[:2] == (6, 4)
    assert torch.equal(first.prompt_ids, trainer.task.prompts("test").ids[:6])
    assert torch.equal(first.completions, again.completions)
    assert not torch.equal(first.rewards, other.rewards) or not torch.equal(first.lengths, other.lengths)
