"""Lesson 16 on the gpt and llm rungs: alternating sums with four right orders or eight, four inner steps a batch."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from toykit.diagnostics import exact_pass_at_k
from toykit.exact import entropy
from toykit.lessons.compare import Figures, Measure
from toykit.lessons.right_orders import right_logps
from toykit.lessons.rungs import QWEN3_60M, TINY, Arm, Comparison, Setup, pretrain_60m, start
from toykit.objectives import Advantage, Method, PolicyGradient, Rover, method
from toykit.tasks import AlternatingSum
from toykit.training import PretrainConfig, TrainConfig, Trainer

STOPS = (0, 5, 10, 15, 20, 30, 40, 50, 60)
DRAWN = 64  # samples among which different right orders are counted


def in_minibatches(base: nn.Module, setup: Setup, seed: int, taken: Method) -> Trainer:
    """As many updates from as many completions as the other arms, but each completion is learned from once."""
    train, inner = setup.train, setup.train.epochs
    once = replace(train, epochs=1, minibatch=(train.prompts or inner) // inner)
    return start(base, replace(setup, train=once), seed, taken)


def arms() -> dict[str, Arm]:
    """ROVER with the bootstrap and without; as released, in minibatches; GRPO; and REINFORCE with the group's mean."""
    grpo = method("grpo")
    reinforce = Method(PolicyGradient(Advantage(mean="group"), aggregate="token_mean"), "Williams 1992")
    return {
        "ROVER": method("rover"),
        "ROVER, β = 0": Method(Rover(beta=0.0), "arXiv 2509.24981, target_adv_only"),
        "ROVER, minibatches": partial(in_minibatches, taken=method("rover")),
        "GRPO": replace(grpo, objective=grpo.pieces.with_(kl=None, aggregate="token_mean")),
        "REINFORCE": partial(in_minibatches, taken=reinforce),
    }


def distinct(p: Tensor, drawn: int = DRAWN) -> Tensor:
    """The expected number [...] of different right answers among `drawn` samples, from their probabilities [..., R]."""
    return exact_pass_at_k(p, drawn).sum(-1)


@torch.no_grad()
def measure(trainer: Trainer, seed: int) -> Figures:
    """Exact, of the prompts that are trained on and of others: pass@1, pass@64, the expected number of different right
    orders among 64 samples, and the effective number of right orders (exp of their entropy, given success)."""
    found: Figures = {}
    for split, name in (("train", ""), ("test", "held-out ")):
        logp = right_logps(trainer.policy, trainer.task, split)  # type: ignore[arg-type]
        success = logp.exp().sum(-1).clamp(max=1.0)
        found |= {f"{name}pass@{k}": float(exact_pass_at_k(success, k).mean()) for k in (1, DRAWN)}
        found[f"{name}distinct"] = float(distinct(logp.exp()).mean())
        found[f"{name}effective"] = float(entropy(logp.log_softmax(-1)).exp().mean())
    return found


def measuring(base: nn.Module, setup: Setup) -> Measure:
    return measure


COMPARISON = Comparison(
    arms,
    measuring,
    gpt=Setup(
        AlternatingSum(n_train=16),  # few, so that success gets beyond .7 in so many steps
        TrainConfig(lr=6e-4, prompts=16, epochs=4, max_grad_norm=1.0),  # each completion is learned from four times
        STOPS,
        group_size=16,
        base="alternating_sum",
    ),
    llm={
        "60m": Setup(
            AlternatingSum(n_train=16),
            TrainConfig(lr=3e-5, prompts=16, epochs=4, max_grad_norm=1.0, autocast=True),
            STOPS,
            group_size=16,
            base=QWEN3_60M,
            pretrain=pretrain_60m(1_000, batch=512),
        ),
        "tiny": Setup(
            AlternatingSum(skill=1.0, typo=0.0),  # without a right order all arms stand still
            TrainConfig(lr=1e-3, prompts=16, epochs=2, max_grad_norm=1.0),
            (0, 1, 2),
            group_size=16,
            base=TINY,
            pretrain=PretrainConfig(steps=100, batch=64, lr=1e-2),
        ),
    },
)
