"""Lesson 23 on the gpt and llm rungs: a policy learns a hidden taste from comparisons, asked for or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from toykit.control.online import PRLSVI, ComparedReward, pooled_states
from toykit.control.online.compared import Features
from toykit.lessons.compare import Figures, Measure
from toykit.lessons.held_out import held_out
from toykit.lessons.l23_pr_lsvi.taste import ATTRIBUTES, Taste, counts
from toykit.lessons.rungs import QWEN3_60M, TINY, Arm, Comparison, Setup, pretrain_60m, start
from toykit.objectives import Advantage, Method, PolicyGradient
from toykit.policies import device_of
from toykit.rollouts import Rollouts, Sampled
from toykit.training import PretrainConfig, TrainConfig, Trainer

STOPS = tuple(range(0, 29, 2))
OBJECTIVE = Method(PolicyGradient(Advantage("group", "group")), "a draw of the reward as it is")
HOW = {
    "eps 0.5": PRLSVI(eps=0.5),
    "eps 1": PRLSVI(eps=1.0),
    "eps 2": PRLSVI(eps=2.0),
    "every pair": PRLSVI(passive=1.0),
    "passive 0.1": PRLSVI(passive=0.1),
    "no noise": PRLSVI(eps=1.0, randomise=False),
}

Read = Callable[[nn.Module, Setup], tuple[Features, int]]  # the features of completions, and their number


def counted(base: nn.Module, setup: Setup) -> tuple[Features, int]:
    """The eight counts in which the hidden reward is linear."""
    return (lambda r: counts(r.completions, r.mask)), len(ATTRIBUTES)


def pooled(base: nn.Module, setup: Setup, size: int) -> tuple[Features, int]:
    """Hidden states of the frozen base, in units in which two of its completions are 2 apart (root of mean square)."""
    features = pooled_states(base, size)
    draw = torch.Generator(device_of(base)).manual_seed(0)
    asked = setup.task.prompts("train").to(device_of(base))[:1]
    found = features(Sampled(256)(base, setup.task, asked, draw))[0]
    unit = found.double().var(0).sum().mul(2).sqrt() / 2  # E |x - x'|^2 is twice the sum of the variances
    return (lambda r: features(r) / unit), size


def arms(read: Read) -> Mapping[str, Arm]:
    return {name: partial(trainer, read, how) for name, how in HOW.items()}


def trainer(read: Read, how: PRLSVI, base: nn.Module, setup: Setup, seed: int) -> Trainer:
    """A trainer whose reward is learned from comparisons; each seed has a taste of its own."""
    features, size = read(base, setup)
    reward = ComparedReward(features, size, how, seed)
    assert isinstance(setup.task, Taste)
    made = start(base, replace(setup, task=replace(setup.task, seed=seed)), seed, OBJECTIVE, shaping=reward)
    made.others["compared"] = reward
    return made


def measuring(base: nn.Module, setup: Setup) -> Measure:
    return partial(measure, group_size=setup.group_size)


def measure(trainer: Trainer, seed: int, group_size: int) -> Figures:
    """The policy's reward, and the regret of both sides of all pairs so far: 0 at the base's own, 1 at the best."""
    task, reward = trainer.task, trainer.shaping
    assert isinstance(task, Taste) and isinstance(reward, ComparedReward)
    span = task.best - task.usual
    made: Rollouts = held_out(trainer, seed, group_size, prompts=8)
    lost = (task.best - reward.earned).sum() / (2 * span)
    return {
        "reward": (float(made.rewards.mean()) - task.usual) / span,
        "asked": float(reward.asked),
        "regret": float(lost),
    }


def comparison(read: Read, **where: Any) -> Comparison:
    return Comparison(partial(arms, read), measuring, **where)


GPT_SETUP = Setup(Taste(), TrainConfig(lr=2e-3, prompts=8, max_grad_norm=1.0), STOPS, group_size=32, base="letters")
LLM = {
    "60m": Setup(
        Taste(horizon=24),
        TrainConfig(lr=1e-4, prompts=8, max_grad_norm=1.0, autocast=True),
        tuple(range(0, 65, 4)),
        group_size=32,
        base=QWEN3_60M,
        pretrain=pretrain_60m(2_000, batch=256),
    ),
    "tiny": Setup(
        Taste(horizon=4, n_prompts=8),
        TrainConfig(lr=3e-3, prompts=8, max_grad_norm=1.0),
        (0, 8),
        group_size=8,
        base=TINY,
        pretrain=PretrainConfig(steps=40, batch=64, lr=1e-2),
    ),
}
ON_GPT = comparison(counted, gpt=GPT_SETUP, llm={})
ON_LLM = comparison(partial(pooled, size=64), gpt=GPT_SETUP, llm=LLM)
