"""Lesson 24 on the gpt and llm rungs: sums of digits whose answers may be checked again, and how much is given back."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from toykit.lessons.compare import Figures, Measure
from toykit.lessons.held_out import held_out, summary
from toykit.lessons.rungs import QWEN3_60M, TINY, Comparison, Setup, pretrain_60m
from toykit.objectives import Method, method
from toykit.selection import Recomposition
from toykit.tasks import ChainSum
from toykit.training import PretrainConfig, TrainConfig, Trainer

STOPS = (0, 5, 10, 20, 30, 40)
RATES = (1.0, 0.5, 0.2, 0.0)
DELAYED = "p_comp 0.5, delayed"


def arm(p_comp: float) -> str:
    return f"p_comp {p_comp:g}"


def methods() -> dict[str, Method]:
    """GRPO without a KL, summed over tokens; the same with the remainder given back at once, or from a full buffer."""
    base = method("rorecomp")
    hows = {arm(p): Recomposition(p_comp=p, capacity=0) for p in RATES} | {DELAYED: Recomposition()}
    return {"GRPO": replace(base, recomposition=None)} | {k: replace(base, recomposition=h) for k, h in hows.items()}


def measuring(base: nn.Module, setup: Setup) -> Measure:
    """Success and lengths of held-out groups, and the success of what ends within half of the horizon."""

    def measure(trainer: Trainer, seed: int) -> Figures:
        made = held_out(trainer, seed, setup.group_size)
        within = made.correct & (2 * made.lengths <= setup.task.horizon)
        return summary(made) | {"success, half the tokens": float(within.double().mean())}

    return measure


RORECOMP = Comparison(
    methods,
    measuring,
    gpt=Setup(
        ChainSum(),
        TrainConfig(lr=2e-4, prompts=12, epochs=2),  # 96 completions; no limit of the gradient, which has two parts
        STOPS,
        base="chain_sum_200",
    ),
    llm={
        "60m": Setup(
            ChainSum(n_digits=8, horizon=23),  # up to six rechecks
            TrainConfig(lr=1e-5, prompts=64, epochs=2, autocast=True),
            (0, 20, 40, 60, 80),
            base=QWEN3_60M,
            pretrain=pretrain_60m(1_000, batch=256, accuracy=0.5),  # greedy
        ),
        "tiny": Setup(
            ChainSum(n_digits=2, n_train=60, n_test=20, horizon=8),
            TrainConfig(lr=1e-3, prompts=4, epochs=2),
            (0, 10),  # in which a rest has come back with 0.2 too, and from the buffer
            base=TINY,
            pretrain=PretrainConfig(steps=60, batch=64, lr=1e-2),
        ),
    },
)
