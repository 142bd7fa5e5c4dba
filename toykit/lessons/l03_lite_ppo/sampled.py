"""Lesson 03 on the gpt and llm rungs: Lite PPO on sums of digits, and one trick at a time in its place."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from toykit._checks import one_of
from toykit.lessons.base import Results
from toykit.lessons.compare import Figures, compare
from toykit.lessons.llm import facts, pretrained
from toykit.lessons.rungs import QWEN3_60M, TINY, pretrain_60m
from toykit.objectives import Advantage, Clip, Method, method
from toykit.policies import device_of
from toykit.rollouts import Sampled
from toykit.tasks import ChainSum
from toykit.training import PretrainConfig, TrainConfig, Trainer, load_policy

GROUP = 8
STOPS = (0, 10, 20, 40)
MEASURED = 256  # held-out prompts, with a group each
CONTROL, APART = "other seeds", 1_000  # Lite PPO again, with seeds so far from the others: how much is chance


def methods() -> dict[str, Method]:
    """Lite PPO (twice), Lite PPO with one piece changed, and the two methods that it is held against."""
    lite = method("lite_ppo")

    def with_(**pieces: Any) -> Method:
        return replace(lite, objective=lite.objective.with_(**pieces))

    return {
        "Lite PPO": lite,
        CONTROL: lite,
        "group std": with_(advantage=Advantage(mean="group", std="group")),
        "no std": with_(advantage=Advantage(mean="group")),
        "batch mean": with_(advantage=Advantage(mean="batch", std="batch")),
        "sequence mean": with_(aggregate="sequence_mean"),
        "clip-higher": with_(clip=Clip(0.2, 0.28)),
        "overlong filter": replace(lite, selection="overlong_filter"),
        "GRPO": method("grpo"),
        "DAPO": method("dapo"),
    }


SETTINGS = {
    "hard": tuple(methods()),
    "easy": ("Lite PPO", "group std", "no std"),
    "short": ("Lite PPO", "overlong filter"),
}
"""What is compared where: hard and easy problems with room enough, and hard ones that are cut short."""

ARMS = {
    name if setting == "hard" else f"{name}, {setting}": (setting, name)
    for setting, names in SETTINGS.items()
    for name in names
}


@dataclass(frozen=True)
class Bases:
    """Where RL begins: problems are hard for a base that is seldom right, and easy for one that greedily is.

    short  the horizon of the task with too little room
    """

    hard: nn.Module
    easy: nn.Module
    task: ChainSum
    short: int

    def of(self, setting: str) -> tuple[nn.Module, ChainSum]:
        """The base and the task of a setting; the prompts are those of all."""
        task = replace(self.task, horizon=self.short) if setting == "short" else self.task
        return (self.easy if setting == "easy" else self.hard), task


def measure(trainer: Trainer, seed: int, prompts: int = MEASURED) -> Figures:
    """What groups of held-out prompts look like: success, length, what is cut at the horizon, entropy in nats (of a
    completion and per token), and the share of silent groups, whose rewards are all equal."""
    task, policy = trainer.task, trainer.policy
    asked = task.prompts("test").to(device_of(policy))[slice(0, prompts)]
    generator = torch.Generator(asked.tokens.device).manual_seed(seed)
    with torch.no_grad():
        made = Sampled(GROUP)(policy, task, asked, generator)
    lengths, surprise = made.lengths.double(), -made.old_logp.double().sum(-1)
    last = made.completions.gather(-1, (made.lengths - 1)[..., None])[..., 0]
    stop = torch.tensor(task.vocab.stop, device=last.device)
    silent = made.rewards.amax(-1) == made.rewards.amin(-1)
    return {
        "success": float(made.rewards.double().mean()),
        "length": float(lengths.mean()),
        "cut": float((~torch.isin(last, stop)).double().mean()),
        "entropy": float(surprise.mean()),
        "token entropy": float(surprise.sum() / lengths.sum()),
        "silent": float(silent.double().mean()),
    }


def experiment(
    bases: Bases,
    seeds: Sequence[int],
    stops: Sequence[int],
    config: TrainConfig,
    folder: Path | None,
    progress: bool,
    only: Sequence[str] = tuple(ARMS),
    prompts: int = MEASURED,
) -> Results:
    """The arms that `only` names, each from its base; see `toykit.lessons.compare`. Raises ValueError for another."""

    def trainer(seed: int, arm: str) -> Trainer:
        setting, name = ARMS[arm]
        base, task = bases.of(setting)
        policy = copy.deepcopy(base).requires_grad_(True)
        own = replace(config, seed=seed + APART if name == CONTROL else seed)
        return Trainer(policy, task, methods()[name], Sampled(GROUP), own, reference=base)

    chosen = {arm: partial(trainer, arm=one_of("only", arm, ARMS)) for arm in only}
    found = compare(chosen, seeds, stops, partial(measure, prompts=prompts), folder, progress)
    return found | {"lr": config.lr, "prompts": config.prompts, "epochs": config.epochs, "short": bases.short}


def gpt(
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    stops: tuple[int, ...] = STOPS,
    folder: Path | None = None,
    progress: bool = False,
    only: tuple[str, ...] = tuple(ARMS),
    prompts: int = MEASURED,
) -> Results:
    """The gpt rung: sums of four digits, 12 prompts of 8 completions a step, two passes over each batch."""
    bases = Bases(load_policy("chain_sum_200"), load_policy("chain_sum_400"), ChainSum(), short=10)
    config = TrainConfig(lr=5e-4, prompts=12, epochs=2, max_grad_norm=1.0)
    return experiment(bases, seeds, stops, config, folder, progress, only, prompts)


@dataclass(frozen=True)
class Size:
    """A transformers model of the Qwen3 type, how it is pretrained for hard and for easy problems, and RL."""

    model: dict[str, int]
    task: ChainSum
    short: int
    hard: PretrainConfig
    easy: PretrainConfig
    train: TrainConfig
    stops: tuple[int, ...]
    prompts: int = MEASURED


SIZES = {
    "60m": Size(
        QWEN3_60M,
        ChainSum(n_digits=4, horizon=28),
        13,
        pretrain_60m(1_000, batch=256, accuracy=0.5),  # greedy: of samples about half as many are right
        pretrain_60m(1_000, batch=256, accuracy=0.9),
        TrainConfig(lr=1e-5, prompts=64, epochs=2, max_grad_norm=1.0, autocast=True),
        (0, 6, 12, 18, 24),
    ),
    "tiny": Size(
        TINY,
        ChainSum(n_digits=2, n_train=60, n_test=20, horizon=8),
        6,
        PretrainConfig(steps=5, batch=16, lr=1e-2),
        PretrainConfig(steps=10, batch=16, lr=1e-2),
        TrainConfig(lr=1e-3, prompts=2, epochs=2, max_grad_norm=1.0),
        (0, 1),
        prompts=4,
    ),
}


def llm(
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    size: str = "60m",
    device: str = "cpu",
    folder: Path | None = None,
    progress: bool = False,
) -> Results:
    """The llm rung: transformers models of the Qwen3 type, pretrained here for a short and for a long time."""
    chosen = SIZES[one_of("size", size, SIZES)]
    hard, easy = (
        pretrained(chosen.task, chosen.model, config, device, None if folder is None else folder / name, progress)
        for name, config in (("base_hard", chosen.hard), ("base_easy", chosen.easy))
    )
    bases = Bases(hard, easy, chosen.task, chosen.short)
    found = experiment(bases, seeds, chosen.stops, chosen.train, folder, progress, prompts=chosen.prompts)
    return found | facts(size, hard)
