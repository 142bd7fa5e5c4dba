"""What stops a trainer: numbers that are not finite, before anything moves, and bad arguments, at once."""

from __future__ import annotations

import math

import pytest
import torch

from toykit.objectives import method
from toykit.policies import GPT, GPTConfig
from toykit.rollouts import Enumerated, Rollouts, Sampled
from toykit.training import Reference, TrainConfig, Trainer


@pytest.mark.parametrize("name", ["rl_plus", "calibrl"])
def test_what_the_strategy_must_supply_is_missed_in_words(name, on_chain):
    with pytest.raises(ValueError, match=rf"rollouts must have extras\['{method(name).data}'\] .* strategy="):
        on_chain(name).step()


class Broken:
    """A strategy whose third prompt has a log-probability that is not a number."""

    def __call__(self, policy, task, prompts, generator) -> Rollouts:
        made = Enumerated()(policy, task, prompts)
        with torch.no_grad():
            policy.table[6] = math.nan  # the root of the third prompt
        return made


def test_log_probabilities_that_are_not_finite_stop_the_step_before_anything_moves(fresh):
    task, policy = fresh()
    others = policy.table[:6].detach().clone()
    with pytest.raises(ValueError, match=r"logp must be finite, got nan at index .* \(prompt 2\)"):
        Trainer(policy, task, "rloo", Broken()).step()
    assert torch.equal(policy.table[:6], others)


def test_rewards_that_are_not_finite_stop_the_step_before_anything_moves(fresh):
    task, policy = fresh()
    start = policy.table.detach().clone()
    task.rewards[1] = math.inf
    with pytest.raises(ValueError, match=r"rewards must be finite, got inf at index \[1, 0\] \(prompt 1\)"):
        Trainer(policy, task, "rloo", Sampled(2)).step()
    assert torch.equal(policy.table, start)


def test_a_gradient_that_is_not_finite_stops_the_step_before_anything_moves(fresh):
    task, policy = fresh()
    start = policy.table.detach().clone()
    task.rewards.mul_(1e308)
    for optimizer in ("adam", "sgd", "natural"):
        trainer = Trainer(policy, task, "reinforce", Enumerated(), TrainConfig(optimizer=optimizer, max_grad_norm=1.0))
        with pytest.raises(ValueError, match="gradient must be finite, got a norm of inf in step 1"):
            trainer.step()
        assert torch.equal(policy.table, start)


def test_bad_arguments_are_refused_at_once(fresh, gpt, chain):
    task, policy = fresh()
    with pytest.raises(ValueError, match="objective must be one of .*, got 'grpoo'; did you mean 'grpo'?"):
        Trainer(policy, task, "grpoo")
    for name in ("grpo", "rloo", "kl_rl", "js_dpg"):
        with pytest.raises(ValueError, match="group_size must be >= 2 for an objective with group statistics, got 1"):
            Trainer(policy, task, name, Sampled(1))
    Trainer(policy, task, "reinforce", Sampled(1)).step()
    with pytest.raises(ValueError, match=r"strategy must be Enumerated\(\) for optimizer='natural'"):
        Trainer(policy, task, "rloo", config=TrainConfig(optimizer="natural"))
    with pytest.raises(ValueError, match="objective must have no critic for optimizer='natural'"):
        Trainer(policy, task, "ppo", Enumerated(), TrainConfig(optimizer="natural"))
    with pytest.raises(ValueError, match="tree is too large to enumerate: n_actions 16 and horizon 8 give"):
        Trainer(gpt(), chain, "rloo", Enumerated())
    with pytest.raises(ValueError, match="policy must know the task's vocabulary of 16 tokens, its own has 6"):
        Trainer(policy, chain, "rloo")
    with pytest.raises(ValueError, match="need 13, the context is 12"):
        Trainer(GPT(GPTConfig(16, context=12)), chain, "rloo")
    for options, message in {
        ("lr", 0): "lr must be > 0 and finite, got 0",
        ("optimizer", "adamw"): "optimizer must be one of .*, got 'adamw'; did you mean 'adam'?",
        ("prompts", 0): "prompts must be >= 1, got 0",
        ("micro_size", 0): "micro_size must be >= 1, got 0",
        ("max_grad_norm", -1): "max_grad_norm must be > 0 and finite, got -1",
    }.items():
        with pytest.raises(ValueError, match=message):
            TrainConfig(**dict([options]))
    with pytest.raises(ValueError, match="reference must be one of .*, got 'freeze'"):
        Reference("freeze")
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\), got 1"):
        Reference("average", decay=1)
