"""Lesson 38 on the gpt and llm rungs: chains of hidden operators, of which most are too rare to be sampled."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from toykit.diagnostics import exact_pass_at_k
from toykit.lessons.base import Results
from toykit.lessons.compare import Figures, Measure
from toykit.lessons.rungs import QWEN3_60M, TINY, Arm, Comparison, Setup, pretrain_60m, start, taught
from toykit.objectives import MIS, Likelihood, Method, method
from toykit.policies import device_of
from toykit.rollouts import Mixed, Sampled, Solutions, token_logps
from toykit.tasks import OperatorChain
from toykit.training import PretrainConfig, TrainConfig, Trainer

STOPS = (0, 25, 50, 100, 150, 200)
KS = (1, 16, 64, 256, 1024)
RARE = 1e-3  # a prompt is rare where the base is right less often
ROWS = {"LUFFY", "RL-PLUS", "RL-PLUS, 1/V", "GRPO + SFT"}


def methods() -> dict[str, Method]:
    """Those with solutions differ in their weight alone; GRPO has its own std and clip, and no KL penalty."""
    plus, grpo = method("rl_plus"), method("grpo")
    return {
        "GRPO": replace(grpo, objective=grpo.pieces.with_(kl=None)),
        "GRPO + SFT": replace(plus, objective=plus.pieces.with_(external=Likelihood(), transforms=())),
        "LUFFY": method("luffy"),
        "RL-PLUS": plus,
        "RL-PLUS, 1/V": replace(plus, objective=plus.pieces.with_(external=MIS(1 / OperatorChain.vocab.size))),
    }


def beside(base: nn.Module, setup: Setup, seed: int, given: Method) -> Trainer:
    """Groups of the policy's own completions and one solution."""
    return start(base, setup, seed, given, strategy=Mixed(Solutions.of(setup.task), setup.group_size))


def supervised(base: nn.Module, setup: Setup, seed: int) -> Trainer:
    """The solutions alone: each of them once, because a second copy changes nothing."""
    assert isinstance(setup.task, OperatorChain)
    return taught(base, setup, seed, setup.task.right[setup.task.prompts().ids, None])


def arms() -> dict[str, Arm]:
    mixed = {name: partial(beside, given=m) if name in ROWS else m for name, m in methods().items()}
    return {**mixed, "SFT": supervised}


@torch.no_grad()
def right_logps(policy: nn.Module, task: OperatorChain, split: str) -> Tensor:
    """Log-probabilities float64 [B, T] of the right completions' tokens."""
    prompts = task.prompts(split).to(device_of(policy))
    answers = task.right.to(prompts.ids.device)[prompts.ids][:, None]
    there = torch.ones_like(answers, dtype=torch.bool)
    return token_logps(policy, prompts.tokens, prompts.mask, answers, there)[:, 0].double().cpu()


@torch.no_grad()
def measure(trainer: Trainer, seed: int, before: dict[str, Tensor]) -> Figures:
    """Exact pass@k of both splits; on training prompts how likely the right operators are that the base finds rare, and
    right completions of rare prompts; the entropy of a completion, nats, sampled."""
    task, found = trainer.task, Figures()
    assert isinstance(task, OperatorChain)
    for split, base in before.items():
        logp = right_logps(trainer.policy, task, split)
        p = logp.sum(-1).exp().clamp(max=1.0)
        found |= {f"{split} pass@{k}": float(exact_pass_at_k(p, k).mean()) for k in KS}
        rare, unlikely = base.sum(-1).exp() < RARE, base[:, ::2].exp() < 0.1
        found[f"{split} rare pass@1"] = float((p * rare).sum() / rare.sum())
        found[f"{split} rare operators"] = float((logp[:, ::2].exp() * unlikely).sum() / unlikely.sum())
    asked = task.prompts().to(device_of(trainer.policy))
    generator = torch.Generator(asked.tokens.device).manual_seed(seed)
    made = Sampled(8)(trainer.policy, task, asked, generator)
    return found | {"entropy": float(-made.old_logp.double().sum(-1).mean())}


def measuring(base: nn.Module, setup: Setup) -> Measure:
    task = setup.task
    assert isinstance(task, OperatorChain)
    return partial(measure, before={split: right_logps(base, task, split) for split in ("train", "test")})


def about(base: nn.Module, setup: Setup) -> Results:
    """The base's success on the training prompts, sorted."""
    assert isinstance(setup.task, OperatorChain)
    p = right_logps(base, setup.task, "train").sum(-1).exp().sort().values
    return {"base": [float(f"{x:.3g}") for x in p.tolist()]}


RL_PLUS = Comparison(
    arms,
    measuring,
    gpt=Setup(OperatorChain(), TrainConfig(lr=3e-4, prompts=12, max_grad_norm=1.0), STOPS, base="operator_chain"),
    llm={
        "60m": Setup(
            OperatorChain(),
            TrainConfig(lr=3e-5, prompts=60, max_grad_norm=1.0, autocast=True),
            (0, 50, 100, 150, 200),
            base=QWEN3_60M,
            pretrain=pretrain_60m(3_000, batch=512),
        ),
        "tiny": Setup(
            OperatorChain(n_train=20, n_test=10),
            TrainConfig(lr=1e-3, prompts=4, max_grad_norm=1.0),
            (0, 2),
            group_size=4,
            base=TINY,
            pretrain=PretrainConfig(steps=40, batch=64, lr=1e-2),
        ),
    },
    about=about,
)
