"""Lesson 35 on the gpt and llm rungs: six algorithms and a teacher, from one base, on the hidden-operator task."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from toykit._checks import one_of
from toykit.diagnostics import efficiency_gap, match_temperature, perplexity, solved, support_table
from toykit.exact import entropy, leaf_log_probs
from toykit.lessons.base import Results
from toykit.lessons.compare import Figures, compare
from toykit.lessons.l35_limit_of_rlvr.exact import missed
from toykit.lessons.llm import pretrained
from toykit.objectives import Method, method
from toykit.policies.qwen3 import PRESETS
from toykit.rollouts import Given, Sampled, node_logps
from toykit.tasks import Operator
from toykit.training import PretrainConfig, TrainConfig, Trainer, load_policy

KS = (1, 4, 16, 64, 128, 256)
SAMPLES = 256  # a problem is solvable where so many samples more likely than not hold a right answer
SPLITS = ("train", "test")
ALGORITHMS = ("GRPO", "RLOO", "ReMax", "REINFORCE++", "DAPO", "PPO")
ARMS = (*ALGORITHMS, "GRPO, G = 32", "GRPO, KL 0.001", "distilled")


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


@dataclass(frozen=True)
class Arm:
    """One way to train: an objective, whose answers it learns from, and how many prompts a step (None: all)."""

    objective: str | Method
    answers: Sampled | Given
    prompts: int | None = None


def every_arm(task: Operator) -> dict[str, Arm]:
    """The arms by name, without a KL penalty unless it is named.

    What the teacher shows is fixed: half of the train prompts a step, so that seeds differ.
    """
    grpo, dapo = method("grpo"), method("dapo")
    plain, own = replace(grpo, objective=grpo.objective.with_(kl=None)), Sampled(8)
    return {
        "GRPO": Arm(plain, own),
        "RLOO": Arm("rloo", own),
        "ReMax": Arm("remax", own),
        "REINFORCE++": Arm("reinforce_plus_plus", own),
        "DAPO": Arm(replace(dapo, shaping=None), own),  # every answer has two tokens: none is too long
        "PPO": Arm("ppo", own),
        "GRPO, G = 32": Arm(plain, Sampled(32)),
        "GRPO, KL 0.001": Arm(grpo.with_beta(0.001), own),
        "distilled": Arm("reinforce", teacher(task), len(task.prompts()) // 2),
    }


def teacher(task: Operator) -> Given:
    """The right answer of every prompt, once: what the distilled policy is shown."""
    answers = task.right[:, None]
    return Given(answers, torch.ones_like(answers, dtype=torch.bool))


def experiment(
    base: nn.Module,
    task: Operator,
    seeds: Sequence[int],
    stops: Sequence[int],
    config: TrainConfig,
    arms: Sequence[str],
    folder: Path | None,
    progress: bool,
) -> Results:
    """The named arms from one base policy; see `toykit.lessons.compare`."""
    before = {split: Law.of(base, task, split) for split in SPLITS}

    known = every_arm(task)

    def trainer(seed: int, arm: Arm) -> Trainer:
        policy = copy.deepcopy(base).requires_grad_(True)
        own = replace(config, seed=seed, prompts=arm.prompts)
        return Trainer(policy, task, arm.objective, arm.answers, own, reference=base)

    make = {name: partial(trainer, arm=known[one_of("arm", name, known)]) for name in arms}
    found = compare(make, seeds, stops, partial(measure, before=before), folder, progress)
    law = before["train"]
    right = torch.nn.functional.one_hot(law.right, task.tree.n_leaves).double()
    return found | {
        "ks": list(KS),
        "problems": {split: len(before[split].right) for split in SPLITS},
        "base": {
            **{name: m for split, b in before.items() for name, m in curve(f"{split} missed", b.rates()).items()},
            "base(base)": law.surprise(law.leaves().exp()),
            "base(right)": law.surprise(right),
            "entropy": float(law.entropy()),
        },
        "lr": config.lr,
    }


def gpt(
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    stops: tuple[int, ...] = (0, 50, 100, 150),
    arms: tuple[str, ...] = ARMS,
    folder: Path | None = None,
    progress: bool = False,
) -> Results:
    """The gpt rung: 60 train prompts, all of them in each of 150 steps, and 40 held-out ones."""
    config = TrainConfig(lr=3e-4, max_grad_norm=1.0)
    return experiment(load_policy("operator"), Operator(), seeds, stops, config, arms, folder, progress)


@dataclass(frozen=True)
class Size:
    """A transformers model of the Qwen3 type, how it is pretrained, and how it is then trained by RL."""

    model: dict[str, int]
    pretrain: PretrainConfig
    train: TrainConfig
    stops: tuple[int, ...]


SIZES = {
    "60m": Size(
        PRESETS["qwen3-60m"].sizes,
        PretrainConfig(steps=1_000, batch=512, lr=3e-4),
        TrainConfig(lr=3e-5, max_grad_norm=1.0, autocast=True),
        (0, 50, 100, 200, 300),
    ),
    "tiny": Size(
        {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
        PretrainConfig(steps=60, batch=64, lr=1e-2),
        TrainConfig(lr=1e-3, max_grad_norm=1.0),
        (0, 2),
    ),
}


def llm(
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    size: str = "60m",
    device: str = "cpu",
    folder: Path | None = None,
    progress: bool = False,
) -> Results:
    """The llm rung: a transformers model of the Qwen3 type, pretrained here, on the same task."""
    chosen = SIZES[one_of("size", size, SIZES)]
    task = Operator()
    base = pretrained(task, chosen.model, chosen.pretrain, device, folder, progress)
    found = experiment(base, task, seeds, chosen.stops, chosen.train, ARMS, folder, progress)
    return found | {"size": size, "parameters": sum(p.numel() for p in base.parameters())}
