"""Lesson 22 on the gpt and llm rungs: alternating sums with four right orders or eight, from a base with habits."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from toykit.diagnostics import exact_pass_at_k
from toykit.exact import entropy
from toykit.lessons.compare import Figures, Measure
from toykit.lessons.held_out import held_out, summary
from toykit.lessons.l10_rapo.sampled import RAPO
from toykit.lessons.right_orders import right_logps
from toykit.lessons.rungs import TINY, Comparison, Setup
from toykit.objectives import PACS, Method, method
from toykit.tasks import AlternatingSum
from toykit.training import PretrainConfig, TrainConfig, Trainer

STOPS = (0, 5, 10, 20, 30, 40, 60, 80, 100)
KS = (1, 8, 64)
DRAWN = 64  # samples among which different right orders are counted
BETAS = (0.5, 1.0, 2.0)


def methods() -> dict[str, Method]:
    """PACS as released and as printed, and two policy gradients; the fixed reference is the base."""
    pacs, grpo = method("pacs"), method("grpo")

    def fixed(beta: float) -> Method:
        return replace(pacs, objective=PACS(beta, reference="fixed"))

    return {
        "GRPO": replace(grpo, objective=grpo.pieces.with_(kl=None)),
        "RLOO": method("rloo"),
        "PACS, behaviour": pacs,
        **{f"PACS, fixed, {beta:g}": fixed(beta) for beta in BETAS},
    }


def distinct(p: Tensor, drawn: int = DRAWN) -> Tensor:
    """The expected number [...] of different right answers among `drawn` samples, from their probabilities [..., R]."""
    return exact_pass_at_k(p, drawn).sum(-1)


@torch.no_grad()
def measure(trainer: Trainer, seed: int, group_size: int) -> Figures:
    """Exact of the prompts that are trained on and of others; the entropy per token is that of samples of the others.

    "right entropy" is that of the law among a prompt's right orders, in nats, the mean over prompts.
    """
    found: Figures = {}
    for split, name in (("train", ""), ("test", "held-out ")):
        p = right_logps(trainer.policy, trainer.task, split).exp()  # type: ignore[arg-type]
        success = p.sum(-1).clamp(max=1.0)
        found |= {f"{name}pass@{k}": float(exact_pass_at_k(success, k).mean()) for k in KS}
        found[f"{name}distinct"] = float(distinct(p).mean())
        found[f"{name}right entropy"] = float(entropy((p / p.sum(-1, keepdim=True)).log()).mean())
    return found | {"entropy": summary(held_out(trainer, seed, group_size))["token entropy"]}


def measuring(base: nn.Module, setup: Setup) -> Measure:
    return partial(measure, group_size=setup.group_size)


def _in_minibatches(setup: Setup) -> Setup:
    """Four a step, as released."""
    return replace(setup, train=replace(setup.train, minibatch=4), stops=STOPS)


COMPARISON = Comparison(
    methods,
    measuring,
    gpt=_in_minibatches(RAPO.gpt),
    llm={
        "60m": _in_minibatches(RAPO.llm["60m"]),
        "tiny": Setup(
            AlternatingSum(skill=1.0, typo=0.0),  # without a right order PACS, RLOO and GRPO all stand still
            TrainConfig(lr=1e-3, prompts=16, minibatch=4, max_grad_norm=1.0),
            (0, 1, 2),
            group_size=16,
            base=TINY,
            pretrain=PretrainConfig(steps=100, batch=64, lr=1e-2),
        ),
    },
)
