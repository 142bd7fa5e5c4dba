"""Lesson 35 on the gpt and llm rungs: six algorithms and a teacher, from one base, on the hidden-operator task."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from toykit.diagnostics import efficiency_gap, match_temperature, perplexity, solved, support_table
from toykit.exact import entropy, leaf_log_probs
from toykit.lessons.base import Results
from toykit.lessons.compare import Figures
from toykit.lessons.l35_limit_of_rlvr.exact import missed
from toykit.lessons.rungs import QWEN3_60M, TINY, Arm, Comparison, Setup, pretrain_60m, start, taught
from toykit.objectives import method
from toykit.rollouts import Sampled, node_logps
from toykit.tasks import Operator
from toykit.training import PretrainConfig, TrainConfig, Trainer

KS = (1, 4, 16, 64, 128, 256)
SAMPLES = 256  # a problem is solvable where so many samples more likely than not hold a right answer
SPLITS = ("train", "test")
ALGORITHMS = ("GRPO", "RLOO", "ReMax", "REINFORCE++", "DAPO", "PPO")


@dataclass(frozen=True)
class Law:
    """A policy's exact law over the 196 answers to each prompt of a split: node log-probabilities [B, N, V]."""

    task: Operator
    split: str
    logp: Tensor

    @staticmethod
    def of(policy: nn.Module, task: Operator, split: str) -> Law:
        prompts = task.prompts(split).to(next(policy.parameters()).device)
        return Law(task, split, node_logps(policy, prompts, task.tree).double().cpu())

    def leaves(self, temperature: Tensor | float = 1.0) -> Tensor:
        """Log-probabilities [B, L] of the answers."""
        return leaf_log_probs(self.task.tree, self.logp / temperature)

    @cached_property
    def tokens(self) -> Tensor:
        """Log-probabilities [B, L, T] of the answers' tokens."""
        return self.logp[:, self.task.tree.nodes, self.task.tree.tokens]

    @cached_property
    def right(self) -> Tensor:
        """The right answer of each prompt, as a leaf of the tree: int64 [B]."""
        answers = self.task.right[self.task.prompts(self.split).ids]
        return self.task.tree.index(answers, torch.ones_like(answers, dtype=torch.bool))

    def rates(self, temperature: Tensor | float = 1.0) -> Tensor:
        """The success rate [B] on each prompt."""
        return self.leaves(temperature).gather(1, self.right[:, None])[:, 0].exp().clamp(max=1.0)

    def entropy(self, temperature: Tensor | float = 1.0) -> Tensor:
        """Mean entropy of the answers over the prompts, nats."""
        return entropy(self.leaves(temperature)).mean()

    def surprise(self, whose: Tensor) -> float:
        """Mean over prompts of the perplexity under this law of answers drawn from `whose` [B, L]."""
        return float(perplexity(self.tokens, self.task.tree.mask, whose).mean())


def measure(trainer: Trainer, seed: int, before: dict[str, Law]) -> Figures:
    """Success, solvable sets and perplexities of the policy as it stands, exactly, beside those of the base."""
    after = {split: Law.of(trainer.policy, law.task, split) for split, law in before.items()}
    found: Figures = {}
    for split in after:
        p, q = before[split].rates(), after[split].rates()
        found |= curve(f"{split} missed", q)
        table = support_table(solved(p, SAMPLES), solved(q, SAMPLES))
        cells = {"only base": table.lost, "both": table.preserved, "only RL": table.gained, "none": table.out}
        found |= {f"{split} {name}": float(cell) for name, cell in cells.items()}
    base, now = before["train"], after["train"]
    own, matched = now.leaves().exp(), match_temperature(now.entropy, base.entropy())
    return found | {
        "gap": float(efficiency_gap(base.rates(), now.rates(), SAMPLES)),
        "base(own)": base.surprise(own),
        "own(own)": now.surprise(own),
        "entropy": float(now.entropy()),
        "matched": float(matched),
        **curve("hot missed", now.rates(matched)),
    }


def curve(name: str, p: Tensor) -> Figures:
    """1 - pass@k for success rates `p` [B] at each k of `KS`, by name."""
    return {f"{name} {k}": m for k, m in zip(KS, missed(p, KS).tolist(), strict=True)}


def arms() -> dict[str, Arm]:
    """The arms by name, without a KL penalty unless it is named."""
    grpo, dapo = method("grpo"), method("dapo")
    plain = replace(grpo, objective=grpo.objective.with_(kl=None))

    def broad(base: nn.Module, setup: Setup, seed: int) -> Trainer:
        return start(base, setup, seed, plain, strategy=Sampled(32))

    return {
        "GRPO": plain,
        "RLOO": method("rloo"),
        "ReMax": method("remax"),
        "REINFORCE++": method("reinforce_plus_plus"),
        "DAPO": replace(dapo, shaping=None),  # every answer has two tokens: none is too long
        "PPO": method("ppo"),
        "GRPO, G = 32": broad,
        "GRPO, KL 0.001": grpo.with_beta(0.001),
        "distilled": partial(taught, answers=Operator().right[:, None]),  # the right answer of every prompt, once
    }


def laws(base: nn.Module) -> dict[str, Law]:
    return {split: Law.of(base, Operator(), split) for split in SPLITS}


def about(base: nn.Module, setup: Setup) -> Results:
    """What the base misses, its perplexities, and the number of problems."""
    before = laws(base)
    law = before["train"]
    right = torch.nn.functional.one_hot(law.right, law.task.tree.n_leaves).double()
    return {
        "ks": list(KS),
        "problems": {split: len(before[split].right) for split in SPLITS},
        "base": {
            **{name: m for split, b in before.items() for name, m in curve(f"{split} missed", b.rates()).items()},
            "base(base)": law.surprise(law.leaves().exp()),
            "base(right)": law.surprise(right),
            "entropy": float(law.entropy()),
        },
    }


LIMIT = Comparison(
    arms,
    lambda base, setup: partial(measure, before=laws(base)),
    gpt=Setup(Operator(), TrainConfig(lr=3e-4, max_grad_norm=1.0), (0, 50, 100, 150), base="operator"),
    llm={
        "60m": Setup(
            Operator(),
            TrainConfig(lr=3e-5, max_grad_norm=1.0, autocast=True),
            (0, 50, 100, 150, 200),
            base=QWEN3_60M,
            pretrain=pretrain_60m(1_000, batch=512),
        ),
        "tiny": Setup(
            Operator(),
            TrainConfig(lr=1e-3, max_grad_norm=1.0),
            (0, 2),
            base=TINY,
            pretrain=PretrainConfig(steps=60, batch=64, lr=1e-2),
        ),
    },
    about=about,
)
