from __future__ import annotations

import copy

import pytest
import torch

from toykit.policies import TabularLM
from toykit.rewards import LearnedReward, lower_confidence, reward_model
from toykit.rollouts import Enumerated
from toykit.tasks import kl_bayes_tree


def test_mean_less_standard_deviations_by_hand():
    values = torch.tensor([[1.0, 2.0], [3.0, 2.0]], dtype=torch.float64)  # means 2, 2; deviations 1, 0
    assert lower_confidence(values, 0.0).tolist() == [2, 2]
    assert lower_confidence(values, 1.5).tolist() == [0.5, 2]
    assert lower_confidence(values[:1], 9.0).tolist() == [1, 2]


def test_an_ensembles_reward_is_the_pessimistic_mean_of_its_models_and_logs_their_spread():
    task, _ = kl_bayes_tree(0)
    policy = TabularLM.of(task)
    rollouts = Enumerated()(policy, task, task.prompts(), torch.Generator())
    models = [reward_model(policy) for _ in range(3)]
    for i, model in enumerate(models):
        torch.nn.init.normal_(model.table, generator=torch.Generator().manual_seed(i))
    alone = torch.stack([LearnedReward(model)(rollouts)[0].rewards for model in models])
    ensemble = LearnedReward(models, pessimism=2.0)
    shaped, means = ensemble(rollouts)
    assert torch.equal(ensemble.values(rollouts), alone)
    assert torch.equal(shaped.rewards, alone.mean(0) - 2 * alone.std(0, correction=0))
    assert torch.equal(shaped.task_rewards, rollouts.rewards)
    assert means["reward/spread"] == pytest.approx(float(rollouts.mean(alone.std(0, correction=0)).mean()))
    same = LearnedReward([models[0], copy.deepcopy(models[0])], pessimism=2.0)(rollouts)[0].rewards
    assert torch.allclose(same, alone[0]) and "reward/spread" not in LearnedReward(models[0])(rollouts)[1]


def test_bad_input():
    with pytest.raises(ValueError, match="number of models must be >= 1, got 0"):
        LearnedReward([])
    with pytest.raises(ValueError, match="pessimism must be >= 0, got -1"):
        LearnedReward(torch.nn.Linear(1, 1), pessimism=-1)
