"""Lesson 29 on the gpt and llm rungs: a log of completions, and a language model against a learned reward."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from toykit._checks import one_of
from toykit.lessons.base import Results
from toykit.lessons.compare import Figures, compare
from toykit.lessons.held_out import held_out, summary
from toykit.lessons.l29_pessimism.logged import HEADS, NOISE, experiment
from toykit.lessons.llm import pretrained
from toykit.lessons.rungs import QWEN3_60M, TINY, pretrain_60m
from toykit.objectives import Advantage, PolicyGradient
from toykit.objectives.reward_models import last
from toykit.policies import device_of
from toykit.rewards import LearnedReward, in_steps, lower_confidence, reward_model
from toykit.rollouts import Rollouts, Sampled, token_logps
from toykit.rollouts.examples import take
from toykit.tasks import ChainSum
from toykit.training import OfflineConfig, OfflineTrainer, PretrainConfig, TrainConfig, Trainer

gpt = experiment

PESSIMISM = 1.0
SCALES = {"mean": 0.0, "mean - std": PESSIMISM}
TRUE = "true reward"
REINFORCE = PolicyGradient(Advantage(mean="leave_one_out"))  # without a KL: nothing but the reward holds it back


@dataclass(frozen=True)
class Size:
    """A transformers model of the Qwen3 type, its task, how its reward models are made, and how far it is optimised.

    labelled  prompts whose completions, `group_size` each, are labelled for the reward models
    judged    updates of each reward model
    draws     completions a prompt among which the best is chosen, a power of 2
    """

    model: dict[str, int]
    task: ChainSum
    pretrain: PretrainConfig
    judge: OfflineConfig
    train: TrainConfig
    stops: tuple[int, ...]
    labelled: int
    judged: int
    group_size: int
    draws: int


SIZES = {
    "60m": Size(
        dict(QWEN3_60M),
        ChainSum(n_digits=(4, 6, 8), horizon=28),
        pretrain_60m(1_000, batch=256, accuracy=0.7),
        OfflineConfig(lr=3e-5, batch=256, max_grad_norm=1.0, autocast=True),
        TrainConfig(lr=1e-5, prompts=64, max_grad_norm=1.0, autocast=True),
        (0, 10, 20, 40, 70, 100),
        labelled=512,
        judged=200,
        group_size=8,
        draws=64,
    ),
    "tiny": Size(
        dict(TINY),
        ChainSum(n_digits=2, n_train=60, n_test=20, horizon=8),
        PretrainConfig(steps=60, batch=64, lr=1e-2),
        OfflineConfig(lr=1e-2, batch=32),
        TrainConfig(lr=1e-3, prompts=4, max_grad_norm=1.0),
        (0, 2),
        labelled=30,
        judged=5,
        group_size=4,
        draws=8,
    ),
}


def probability(scores: Tensor, mask: Tensor) -> Tensor:
    """What a reward model thinks that a completion is right, [B, G] of scores [B, G, T]."""
    return last(scores, mask).sigmoid()


@torch.enable_grad()
def judges(base: nn.Module, size: Size, seed: int) -> list[nn.Module]:
    """Reward models of the base's completions with labels of which a share NOISE is turned round, each trained by the
    cross-entropy of the last token on a bootstrap of its own."""
    device = device_of(base)
    generator = torch.Generator(device).manual_seed(seed)
    prompts = size.task.prompts().to(device)[slice(0, size.labelled)]
    made = Sampled(size.group_size)(base, size.task, prompts, generator)
    ends = made.mask & ~nn.functional.pad(made.mask[..., 1:], (0, 1))
    flipped = torch.rand(made.rewards.shape, generator=generator, device=device) < NOISE
    data = in_steps(made, ends, (made.correct ^ flipped)[..., None] * ends.double())
    models = []
    for k in range(HEADS):
        rows = torch.randint(len(data.weights), data.weights.shape, generator=generator, device=device)
        again = take(data, rows)
        again = replace(again, weights=again.weights / again.weights.sum())
        model = reward_model(base).requires_grad_(True)
        config = replace(size.judge, seed=HEADS * seed + k)
        OfflineTrainer(model, size.task, "process_reward", again, config).run(size.judged, progress=False)
        models.append(model.requires_grad_(False))
    return models


@torch.no_grad()
def best_of_n(base: nn.Module, size: Size, models: Sequence[nn.Module], seed: int) -> dict[str, list[float]]:
    """The success of the best of n = 1, 2, 4, ... of the base's completions by each score; every block of n counts."""
    device = device_of(base)
    prompts = size.task.prompts("test").to(device)[slice(0, 64)]
    made = Sampled(size.draws)(base, size.task, prompts, torch.Generator(device).manual_seed(seed))
    values, right = LearnedReward(models, probability).values(made), made.correct.double()
    found: dict[str, list[float]] = {}
    for name, score in {k: lower_confidence(values, c) for k, c in SCALES.items()}.items():
        found[name] = []
        for n in numbers(size.draws):
            chosen = score.unflatten(1, (-1, n)).argmax(-1, keepdim=True)
            found[name].append(float(right.unflatten(1, (-1, n)).gather(-1, chosen).mean()))
    return found


def numbers(draws: int) -> list[int]:
    return [2**i for i in range(draws.bit_length())]


def measure(trainer: Trainer, seed: int, base: nn.Module, group_size: int, models: Sequence[nn.Module]) -> Figures:
    """Success, KL to the base in nats, and what the reward models say, on held-out prompts."""
    made: Rollouts = held_out(trainer, seed, group_size)
    rows = made.prompts, made.prompt_mask, made.completions, made.mask
    with torch.no_grad():
        moved = (made.old_logp - token_logps(base, *rows)).double().sum(-1).mean()
    values = LearnedReward(models, probability).values(made)
    spread = values.std(0, correction=0).mean()
    return summary(made) | {"kl": float(moved), "mean": float(values.mean()), "spread": float(spread)}


def llm(
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    size: str = "60m",
    device: str = "cpu",
    folder: Path | None = None,
    progress: bool = False,
) -> Results:
    """The llm rung: a Qwen3 model, pretrained here, follows the mean of five reward models, that less their standard
    deviation, or the true reward; and the best of n of its completions by the two scores."""
    chosen = SIZES[one_of("size", size, SIZES)]
    base = pretrained(chosen.task, chosen.model, chosen.pretrain, device, folder, progress)
    judged = cache(partial(judges, base, chosen))

    def trainer(seed: int, scale: float | None) -> Trainer:
        reward = None if scale is None else LearnedReward(judged(seed), probability, scale)
        how = Sampled(chosen.group_size), replace(chosen.train, seed=seed)
        policy = copy.deepcopy(base).requires_grad_(True)
        return Trainer(policy, chosen.task, REINFORCE, *how, shaping=reward, reference=base)

    def measured(made: Trainer, seed: int) -> Figures:
        return measure(made, seed, base, chosen.group_size, judged(seed))

    arms = {name: partial(trainer, scale=scale) for name, scale in (*SCALES.items(), (TRUE, None))}
    found = compare(arms, seeds, chosen.stops, measured, folder, progress)
    best = [best_of_n(base, chosen, judged(seed), seed) for seed in seeds]
    curves = {name: [of_seed[name] for of_seed in best] for name in SCALES}
    parameters = sum(p.numel() for p in base.parameters())
    return found | {"best_of_n": {"n": numbers(chosen.draws), **curves}, "size": size, "parameters": parameters}
