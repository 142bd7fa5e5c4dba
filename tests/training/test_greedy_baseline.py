from __future__ import annotations

import pytest
import torch

from toykit.objectives import GreedyBaseline, PolicyGradient, Posterior, PseudoReward
from toykit.rewards import Shaping, length
from toykit.rollouts import Sampled, greedy
from toykit.training import TrainConfig, Trainer


def test_remax_sets_each_completion_beside_the_greedy_one_of_its_prompt(fresh):
    """With the reward as the objective sees it: shaped, and of the policy before its step."""
    task, policy = fresh()
    shaping = Shaping({"length": (-0.1, length)})
    trainer = Trainer(policy, task, "remax", Sampled(4), shaping=shaping)
    rollouts, _ = trainer.rollouts()
    likeliest, _ = shaping(greedy(policy, task, task.prompts()))
    seen = trainer._with_others(rollouts)
    assert torch.equal(seen.extras["greedy_rewards"], likeliest.rewards.expand(-1, 4).to(rollouts.rewards))
    expected = (rollouts.rewards - likeliest.rewards)[..., None] * rollouts.mask
    assert torch.equal(trainer.objective.prepare(seen).advantages, expected)
    with pytest.raises(ValueError, match=r"extras\['greedy_rewards'\] must be given for this objective, got"):
        trainer.objective.prepare(rollouts)


def test_a_group_of_one_is_enough_for_remax(fresh):
    task, policy = fresh()
    trainer = Trainer(policy, task, "remax", Sampled(1), TrainConfig(lr=0.05))
    rewards = [trainer.step()["reward"] for _ in range(200)]
    assert sum(rewards[-20:]) / 20 > sum(rewards[:20]) / 20 + 0.2


def test_a_greedy_baseline_does_not_go_with_another_signal():
    with pytest.raises(ValueError, match="signal must be None with advantage=GreedyBaseline()"):
        PolicyGradient(GreedyBaseline(), signal=PseudoReward(Posterior(0.5)))
