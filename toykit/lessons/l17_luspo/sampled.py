"""Lesson 17 on the gpt and llm rungs: sums of digits whose answers may be checked again, from a base above 1/2."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from toykit.lessons.compare import Measure
from toykit.lessons.held_out import held_out, summary
from toykit.lessons.rungs import QWEN3_60M, TINY, Comparison, Setup, pretrain_60m
from toykit.objectives import Clip, Method, method
from toykit.tasks import ChainSum
from toykit.training import PretrainConfig, TrainConfig

CLIP = Clip(0.03, 0.04)  # completions of 8 tokens: the log of a mean ratio spreads like 1 / sqrt(length)
STOPS = (0, 5, 10, 20, 30, 40)


def methods() -> dict[str, Method]:
    """LUSPO, GSPO with the same clip, and GRPO with the usual one of its tokens' ratios; none has a KL penalty."""
    grpo, gspo, luspo = (method(name) for name in ("grpo", "gspo", "luspo"))
    return {
        "GRPO": replace(grpo, objective=grpo.pieces.with_(kl=None)),
        "GSPO": replace(gspo, objective=gspo.pieces.with_(clip=CLIP)),
        "LUSPO": replace(luspo, objective=luspo.pieces.with_(clip=CLIP)),
    }


def measuring(base: nn.Module, setup: Setup) -> Measure:
    """Success and lengths of held-out groups."""
    return lambda trainer, seed: summary(held_out(trainer, seed, setup.group_size))


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
            ChainSum(n_digits=(4, 6, 8), horizon=28),
            TrainConfig(lr=1e-5, prompts=64, epochs=2, max_grad_norm=1.0, autocast=True),
            (0, 20, 40, 80, 120),
            base=QWEN3_60M,
            pretrain=pretrain_60m(1_000, batch=256, accuracy=0.7),  # greedy
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
