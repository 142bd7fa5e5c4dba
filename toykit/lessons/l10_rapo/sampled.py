"""Lesson 10 on the gpt and llm rungs: alternating sums, from a base policy whose habit finds some and hardly others."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from toykit.diagnostics import exact_pass_at_k
from toykit.lessons.base import Results
from toykit.lessons.compare import Figures, Measure
from toykit.lessons.right_orders import right_logps
from toykit.lessons.rungs import QWEN3_60M, TINY, Comparison, Setup, pretrain_60m
from toykit.objectives import KL, Method, OnPolicyForwardKL, method
from toykit.tasks import AlternatingSum
from toykit.training import PretrainConfig, TrainConfig, Trainer

FORWARD, REVERSE = 0.1, 0.05  # the weight of RAPO in the catalogue, and the card's
STOPS = (0, 25, 50, 100, 150, 200)
KS = (1, 4, 16, 64, 256)
SPLITS = ("train", "test")


def methods() -> dict[str, Method]:
    """RAPO, and what is left of it without its parts; the group's advantages, clip and aggregation are the same.

    The reverse KL stands in two places: in the reward, as on the card, where the group's standard deviation divides it
    too, so that a group without a right answer follows the penalty alone, at full strength; and beside the advantage.
    """
    rapo = method("rapo").with_beta(FORWARD)
    whole = rapo.objective
    grpo = whole.with_(penalties=())
    reverse, beside = (grpo.with_(kl=KL(REVERSE, "k1", route=route)) for route in ("reward", "score"))
    forward = grpo.with_(penalties=(OnPolicyForwardKL(FORWARD),))
    return {
        "GRPO": replace(rapo, objective=grpo),
        "GRPO + reverse KL": replace(rapo, objective=reverse),
        "GRPO + reverse KL, beside": replace(rapo, objective=beside),
        "GRPO + forward KL": replace(rapo, objective=forward),
        "RAPO": rapo,
    }


def rates(policy: nn.Module, task: AlternatingSum, split: str) -> Tensor:
    """Success rates [B] of a split's prompts, float64, exact: the mass of all right orders."""
    return right_logps(policy, task, split).exp().sum(-1).clamp(max=1.0)


def measure(trainer: Trainer, seed: int, hard: Tensor) -> Figures:
    """pass@k of both splits, and pass@1 of the training prompts that are `hard` (bool [B])."""
    found: Figures = {}
    for split in SPLITS:
        p = rates(trainer.policy, trainer.task, split)  # type: ignore[arg-type]
        found |= {f"{split} pass@{k}": float(exact_pass_at_k(p, k).mean()) for k in KS}
        if split == "train":
            found["train hard pass@1"] = float(p[hard].mean())
    return found


def measuring(base: nn.Module, setup: Setup) -> Measure:
    """`measure` with the hard prompts: the training prompts in the lowest quarter of the base's success."""
    before = rates(base, setup.task, "train")  # type: ignore[arg-type]
    return partial(measure, hard=before <= before.quantile(0.25))


def about(base: nn.Module, setup: Setup) -> Results:
    """The base's success by prompt, and what the figures need to know."""
    before = {split: rates(base, setup.task, split).tolist() for split in SPLITS}  # type: ignore[arg-type]
    rounded = {split: [float(f"{x:.6g}") for x in p] for split, p in before.items()}
    return {"base": rounded, "ks": list(KS), "halfway": setup.stops[len(setup.stops) // 2]}


RAPO = Comparison(
    methods,
    measuring,
    gpt=Setup(
        AlternatingSum(),  # 96 training prompts, 64 that are held out
        TrainConfig(lr=3e-4, prompts=16, max_grad_norm=1.0),
        STOPS,
        group_size=16,
        base="alternating_sum",
    ),
    llm={
        "60m": Setup(
            AlternatingSum(),
            TrainConfig(lr=3e-5, prompts=16, max_grad_norm=1.0, autocast=True),
            STOPS,
            group_size=16,
            base=QWEN3_60M,
            pretrain=pretrain_60m(1_000, batch=512),
        ),
        "tiny": Setup(
            AlternatingSum(),
            TrainConfig(lr=1e-3, prompts=4, max_grad_norm=1.0),
            (0, 1, 2),
            group_size=4,
            base=TINY,
            pretrain=PretrainConfig(steps=40, batch=64, lr=1e-2),
        ),
    },
    about=about,
)
