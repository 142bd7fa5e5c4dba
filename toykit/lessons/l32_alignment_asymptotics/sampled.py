"""Lesson 32 on the gpt and llm rungs: best-of-n and KL-RL from one base policy, over strings of several lengths."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toykit._checks import one_of
from toykit.diagnostics import sampled_best_of_n
from toykit.exact import best_of_n_to_kl
from toykit.lessons.base import Results
from toykit.lessons.compare import Figures, compare, last
from toykit.lessons.l01_kl_as_bayes.sampled import SIZES as BASES
from toykit.lessons.l01_kl_as_bayes.sampled import drawn, log_prob
from toykit.lessons.l32_alignment_asymptotics.vowels import Vowels
from toykit.lessons.llm import Size, facts, pretrained
from toykit.objectives import method
from toykit.rollouts import Sampled
from toykit.tasks import Letters
from toykit.training import TrainConfig, Trainer, load_policy

ARMS = {"budget": "KL-RL, KL mδ", "matched": "KL-RL, KL of best-of-n"}
BASE_SEED = 1_000  # + seed: of the base's sample
AT_ONCE = 4_096  # strings drawn together


@dataclass(frozen=True)
class Plan:
    """How long the strings are, how RL is trained (`samples` strings a step), and how much is drawn to measure."""

    lengths: tuple[int, ...]
    stops: tuple[int, ...]
    samples: int
    base_samples: int
    measured: int
    config: TrainConfig


def measure(trainer: Trainer, seed: int, base: nn.Module, n: int) -> Figures:
    """Vowels a letter, and KL to the base in nats a letter, of `n` of the policy's strings."""
    task: Any = trainer.task
    own = drawn(trainer.policy, task, n, seed)
    ratio = (own.old_logp.sum(-1) - log_prob(base, own)).double().mean()
    return {"reward": float(own.rewards.mean()), "kl": float(ratio) / task.horizon}


def count_vowels(policy: nn.Module, task: Letters, n: int, seed: int) -> Tensor:
    """The numbers of vowels [n] of a policy's strings, float64."""
    pieces = [
        drawn(policy, task, min(AT_ONCE, n - start), seed + 7 * start).rewards[0] for start in range(0, n, AT_ONCE)
    ]
    return (torch.cat(pieces).double().cpu() * task.horizon).round()


def beside(exact: Vowels, counts: Tensor, reached: dict[str, tuple[float, float]]) -> Figures:
    """The record's figures for one seed, all a letter but `slack`.

    `counts` are the vowels of the base's strings, `reached` the KL and reward of each arm.
    """
    m, bon = exact.m, sampled_best_of_n(counts, exact.n)
    reward, kl = bon.reward.item() / m, bon.kl.item() / m
    uniform = torch.full_like(counts, -math.log(len(counts)))
    matched_kl, matched_reward = reached["matched"]
    same = best_of_n_to_kl(uniform, counts, max(matched_kl, 0.0) * m)
    return {
        "reward": reward,
        "kl": kl,
        "gap": reached["budget"][1] - reward,
        "ahead": matched_reward - (same.log_p.exp() @ counts).item() / m,
        "bon_distance": exact.distance(kl, reward),
        **{f"short_{arm}": exact.below_frontier(max(k, 0.0), r) for arm, (k, r) in reached.items()},
        "from_source": abs(reward - exact.reward),
        "slack": math.log(exact.n) - (exact.n - 1) / exact.n - bon.kl.item(),
    }


def one_length(
    base: nn.Module, m: int, seeds: Sequence[int], plan: Plan, folder: Path | None, progress: bool
) -> Results:
    """Both arms and best-of-n over strings of `m` letters."""
    task, exact = Letters("vowels", horizon=m), Vowels.of(m)

    def trainer(seed: int, arm: str) -> Trainer:
        policy = copy.deepcopy(base).requires_grad_(True)
        objective = method("kl_rl").with_beta(1 / (exact.alpha[arm] * m))  # the reward is vowels / m
        return Trainer(policy, task, objective, Sampled(plan.samples), replace(plan.config, seed=seed), reference=base)

    made = compare(
        {arm: partial(trainer, arm=arm) for arm in ARMS},
        seeds,
        plan.stops,
        partial(measure, base=base, n=plan.measured),
        None if folder is None else folder / f"m_{m}",
        progress,
    )
    draws = [2**i for i in range(exact.n.bit_length())]
    curve, figures = [], []
    for i, seed in enumerate(seeds):
        counts = count_vowels(base, task, plan.base_samples, BASE_SEED + seed)
        points = [sampled_best_of_n(counts, n) for n in draws]
        curve.append([[point.kl.item() / m, point.reward.item() / m] for point in points])
        reached = {arm: (last(made, arm, "kl")[i], last(made, arm, "reward")[i]) for arm in ARMS}
        figures.append(beside(exact, counts, reached))
    return {
        "n": exact.n,
        "alpha": exact.alpha,
        "draws": draws,
        "curve": curve,  # [seed][draws]: KL and reward of best-of-n, a letter
        "runs": made["runs"],
        **{name: [of[name] for of in figures] for name in figures[0]},
    }


def experiment(base: nn.Module, seeds: Sequence[int], plan: Plan, folder: Path | None, progress: bool) -> Results:
    """Best-of-n and two arms of KL-RL over strings of each of the plan's lengths."""
    return {
        "m": list(plan.lengths),
        "stops": list(plan.stops),
        "lengths": {str(m): one_length(base, m, seeds, plan, folder, progress) for m in plan.lengths},
        "samples": plan.samples,
        "base_samples": plan.base_samples,
        "lr": plan.config.lr,
    }


def gpt(
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    lengths: tuple[int, ...] = (8, 16, 32),
    stops: tuple[int, ...] = (0, 10, 30, 100),
    samples: int = 128,
    base_samples: int = 16_384,
    measured: int = 2_048,
    folder: Path | None = None,
    progress: bool = False,
) -> Results:
    """The gpt rung: strings of 8, 16 and 32 letters, the reward is their number of vowels."""
    plan = Plan(lengths, stops, samples, base_samples, measured, TrainConfig())
    return experiment(load_policy("letters_32"), seeds, plan, folder, progress)


SIZES = {
    "60m": Size(
        BASES["60m"].model,
        BASES["60m"].pretrain,
        Plan((8, 16, 28), (0, 10, 20, 40, 70, 100), 512, 65_536, 4_096, TrainConfig(lr=3e-5, autocast=True)),
    ),
    "tiny": Size(BASES["tiny"].model, BASES["tiny"].pretrain, Plan((4, 8), (0, 2), 32, 512, 128, TrainConfig(lr=1e-3))),
}


def llm(
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    size: str = "60m",
    device: str = "cpu",
    folder: Path | None = None,
    progress: bool = False,
) -> Results:
    """The llm rung: a transformers model of the Qwen3 type, pretrained here; best of up to 128, over 28 letters."""
    chosen = SIZES[one_of("size", size, SIZES)]
    task = Letters("vowels", horizon=max(chosen.plan.lengths))
    base = pretrained(task, chosen.model, chosen.pretrain, device, folder, progress)
    found = experiment(base, seeds, chosen.plan, folder, progress)
    return found | facts(size, base)
