"""Lesson 17 on the gpt and llm rungs: sums of digits whose answers may be checked again, from a base above 1/2."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import nn

from toykit.lessons.compare import Figures, Measure
from toykit.lessons.rungs import QWEN3_60M, TINY, Comparison, Setup
from toykit.objectives import Clip, Method, method
from toykit.policies import device_of
from toykit.rollouts import Sampled
from toykit.tasks import ChainSum
from toykit.training import PretrainConfig, TrainConfig, Trainer

CLIP = Clip(0.03, 0.04)  # completions of 8 tokens: the log of a mean ratio spreads like 1 / sqrt(length)
MEASURED = 256  # held-out prompts, with a group each
STOPS = (0, 5, 10, 20, 30, 40)


def methods() -> dict[str, Method]:
    """LUSPO, GSPO with the same clip, and GRPO with the usual one of its tokens' ratios; none has a KL penalty."""
    grpo, gspo, luspo = (method(name) for name in ("grpo", "gspo", "luspo"))
    return {
        "GRPO": replace(grpo, objective=grpo.objective.with_(kl=None)),
        "GSPO": replace(gspo, objective=gspo.objective.with_(clip=CLIP)),
        "LUSPO": replace(luspo, objective=luspo.objective.with_(clip=CLIP)),
    }


@torch.no_grad()
def measure(trainer: Trainer, seed: int, group_size: int) -> Figures:
    """Success and mean length of held-out groups, of all, right and wrong completions (0 where there are none)."""
    task, policy = trainer.task, trainer.policy
    asked = task.prompts("test").to(device_of(policy))[slice(0, MEASURED)]
    generator = torch.Generator(asked.tokens.device).manual_seed(seed)
    made = Sampled(group_size)(policy, task, asked, generator)
    kinds = {"length": torch.ones_like(made.correct), "length, right": made.correct, "length, wrong": ~made.correct}
    lengths = made.lengths.double()
    means = {name: float((lengths * kind).sum() / kind.sum().clamp(min=1)) for name, kind in kinds.items()}
    return {"success": float(made.correct.double().mean())} | means


def measuring(base: nn.Module, setup: Setup) -> Measure:
    return partial(measure, group_size=setup.group_size)


LUSPO = Comparison(
    methods,
    measuring,
    gpt=Setup(
        ChainSum(),
        TrainConfig(lr=5e-4, prompts=12, epochs=2, max_grad_norm=1.0),  # 96 completions, two inner steps
        STOPS,
        base="chain_sum_400",
    ),
    llm={
        "60m": Setup(
            ChainSum(n_digits=(8, 10, 12), horizon=40),
            TrainConfig(lr=1e-5, prompts=64, epochs=2, max_grad_norm=1.0, autocast=True),
            (0, 20, 40, 80, 120),
            base=QWEN3_60M,
            pretrain=PretrainConfig(steps=4_000, batch=256, lr=3e-4, warmup=50, accuracy=0.7),  # greedy
        ),
        "tiny": Setup(
            ChainSum(n_digits=2, n_train=60, n_test=20, horizon=8),
            TrainConfig(lr=1e-3, prompts=4, epochs=2, max_grad_norm=1.0),
            (0, 2),
            base=TINY,
            pretrain=PretrainConfig(steps=60, batch=64, lr=1e-2),
        ),
    },
)
