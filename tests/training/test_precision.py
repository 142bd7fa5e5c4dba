"""Training in bf16: by autocast, and of a policy whose parameters are."""

from __future__ import annotations

import math

import pytest
import torch

from toykit.policies import GPT, GPTConfig
from toykit.rewards import Shaping
from toykit.rollouts import Sampled
from toykit.tasks.chain_sum import ChainSum
from toykit.training import TrainConfig, Trainer


def test_autocast_computes_in_bf16_and_keeps_log_probabilities_in_float32(gpt, chain):
    trainer = Trainer(gpt(torch.float32), chain, "grpo", Sampled(4), TrainConfig(prompts=4, autocast=True))
    rollouts, _ = trainer.rollouts()
    vocab = trainer.reader.vocab_logp(trainer.policy, rollouts)
    assert vocab.dtype == torch.float32
    exact = Trainer(gpt(torch.float32), chain, "grpo", Sampled(4)).reader.vocab_logp(trainer.policy, rollouts)
    assert 1e-4 < (vocab - exact).abs().max() < 0.5
    assert math.isfinite(trainer.step()["loss"])


def test_under_autocast_the_first_update_sees_the_policy_that_made_the_completions(chain):
    """Rounding of the sampler's float32 against bf16 would otherwise look like a policy that has moved."""
    first_token = Shaping({"first": (1.0, lambda r: (r.completions[..., 0] % 3).double())})

    def step(name: str, autocast: bool) -> dict[str, float]:
        policy = GPT(GPTConfig(16, context=16, layers=2, width=64, heads=2, hidden=64))
        config = TrainConfig(prompts=4, micro_size=7, autocast=autocast)
        return Trainer(policy, chain, name, Sampled(16), config, shaping=first_token).step()

    found, expected = step("gspo", True), step("gspo", False)
    assert found["clip_low"] == found["clip_high"] == 0
    assert found["grad_norm"] == pytest.approx(expected["grad_norm"], rel=0.05)
    assert step("grpo", True)["kl"] == 0


def test_of_a_policy_in_bf16_too():
    policy = GPT(GPTConfig(16, context=32, layers=2, width=64, heads=4, hidden=128))
    for p in policy.parameters():
        p.data.mul_(6 if p.dim() == 2 else 1)  # so that rounding shows
    task = ChainSum(n_digits=(2, 3, 4), n_train=24, n_test=8, horizon=12)
    trainer = Trainer(policy.to(torch.bfloat16), task, "gspo", Sampled(8), TrainConfig(prompts=8))
    made, _ = trainer.rollouts()
    again = trainer.reader.logp(policy, made)
    assert (made.old_logp - again).abs().max() > 1e-3
    assert torch.equal(trainer._with_others(made).old_logp, again.detach())
