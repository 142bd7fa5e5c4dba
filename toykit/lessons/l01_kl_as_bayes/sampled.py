"""Lesson 01 on the gpt and llm rungs: one experiment, with whatever policy it is given."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from toykit._checks import one_of
from toykit.diagnostics import distance_to_target, distinct_n, sequence_entropy
from toykit.lessons.base import Results
from toykit.lessons.compare import compare
from toykit.lessons.llm import facts, pretrained
from toykit.lessons.rungs import QWEN3_60M, TINY, pretrain_60m
from toykit.objectives import Filtered
from toykit.policies import device_of
from toykit.rollouts import Rollouts, Sampled, token_logps
from toykit.tasks import Letters
from toykit.training import PretrainConfig, TrainConfig, Trainer, load_policy

METHODS = {"plain RL": "rloo", "KL-RL": "kl_rl", "GDC": "gdc"}
BETA = 0.1  # of the catalogue's kl_rl
STOPS = (0, 10, 20, 30, 50, 75, 100, 150, 200, 250, 300)
PRIOR_SEED = 1_000  # of the prior's sample, the same for all runs


@dataclass(frozen=True)
class Prior:
    """The base policy, and a sample from it by which distances to a target are estimated."""

    policy: nn.Module
    task: Letters
    sample: Rollouts

    @staticmethod
    def of(policy: nn.Module, task: Letters, n: int) -> Prior:
        return Prior(policy, task, drawn(policy, task, n, PRIOR_SEED))

    @property
    def log_filtered(self) -> Tensor:
        """log of the prior where the reward is 1, -inf elsewhere, up to a constant: [1, n] at the sample."""
        return Filtered()(self.sample.with_(ref_logp=self.sample.old_logp))

    def filtered_entropy(self) -> float:
        """H(p) = -E_p log p of the filtered prior p, in nats, from the sample's successes."""
        right = self.sample.rewards > 0.5
        if not bool(right.any()):
            raise ValueError("prior must succeed at least once in its sample to be filtered, got no success")
        return float(right.double().mean().log() - self.sample.old_logp.sum(-1)[right].double().mean())


def drawn(policy: nn.Module, task: Letters, n: int, seed: int) -> Rollouts:
    """`n` strings of a policy as one group, from a generator of that seed."""
    device = device_of(policy)
    generator = torch.Generator(device).manual_seed(seed)
    return Sampled(n)(policy, task, task.prompts().to(device), generator)


@torch.no_grad()
def log_prob(policy: nn.Module, strings: Rollouts) -> Tensor:
    """Log-probabilities [1, n] of strings under a policy, nats."""
    s = strings
    return token_logps(policy, s.prompts, s.prompt_mask, s.completions, s.mask).sum(-1)


def measure(trainer: Trainer, seed: int, prior: Prior, n: int) -> dict[str, float]:
    """Figures of the policy from `n` of its strings, and its distance to the filtered prior from the prior's sample."""
    own = drawn(trainer.policy, prior.task, n, seed)
    log_pi = own.old_logp.sum(-1)
    log_prior = prior.sample.old_logp.sum(-1)
    distance = distance_to_target(prior.log_filtered, log_prob(trainer.policy, prior.sample), log_prior)
    strings = own.completions[0]
    return {
        "success": float(own.rewards.mean()),
        "entropy": float(sequence_entropy(own.old_logp, own.mask)),
        "kl_to_prior": float((log_pi - log_prob(prior.policy, own)).mean()),
        "kl_from_target": float(distance.kl),
        "distinct": strings.unique(dim=0).shape[0] / len(strings),
        "distinct_4": float(distinct_n(strings[None], own.mask, 4)),
    }


def experiment(
    base: nn.Module,
    task: Letters,
    seeds: Sequence[int],
    stops: Sequence[int],
    samples: int,
    config: TrainConfig,
    prior_samples: int,
    measured: int,
    folder: Path | None,
    progress: bool,
) -> Results:
    """The three methods from one base policy, with `samples` strings a step; see `toykit.lessons.compare`."""
    prior = Prior.of(base, task, prior_samples)

    def trainer(seed: int, name: str) -> Trainer:
        policy = copy.deepcopy(base).requires_grad_(True)
        return Trainer(policy, task, name, Sampled(samples), replace(config, seed=seed), reference=base)

    methods = {label: partial(trainer, name=name) for label, name in METHODS.items()}
    found = compare(methods, seeds, stops, partial(measure, prior=prior, n=measured), folder, progress)
    right = task.values > 0
    mass = float(task.probabilities[right].sum())
    return found | {
        "prior": {
            "success": float(prior.sample.rewards.mean()),
            "filtered_entropy": prior.filtered_entropy(),
            "grammar_success": mass,
            "grammar_entropy": task.entropy(),
            "grammar_filtered_entropy": task.entropy(right.double()),
        },
        "samples": samples,
        "lr": config.lr,
    }


def gpt(
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    stops: tuple[int, ...] = STOPS,
    samples: int = 256,
    prior_samples: int = 16_384,
    measured: int = 512,
    folder: Path | None = None,
    progress: bool = False,
) -> Results:
    """The gpt rung: strings of 8 letters, success is an "a" in the string (1 in 20 of the prior's)."""
    base, task = load_policy("letters"), Letters("contains_a")
    return experiment(base, task, seeds, stops, samples, TrainConfig(), prior_samples, measured, folder, progress)


@dataclass(frozen=True)
class Size:
    """A transformers model of the Qwen3 type, how it is pretrained, and how it is then trained by RL."""

    model: dict[str, int]
    pretrain: PretrainConfig
    train: TrainConfig
    stops: tuple[int, ...]
    samples: int
    prior_samples: int


SIZES = {
    "60m": Size(
        QWEN3_60M,
        pretrain_60m(1_500, batch=512),
        TrainConfig(lr=3e-5, autocast=True),
        (0, 10, 20, 40, 70, 100, 150),
        1_024,
        65_536,
    ),
    "tiny": Size(
        TINY,
        PretrainConfig(steps=60, batch=64, lr=1e-2),
        TrainConfig(lr=1e-3),
        (0, 2, 4),
        64,
        4_096,
    ),
}


def llm(
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    size: str = "60m",
    device: str = "cpu",
    folder: Path | None = None,
    progress: bool = False,
) -> Results:
    """The llm rung: a transformers model of the Qwen3 type, pretrained here; success is the word "na" (1 in 130)."""
    chosen = SIZES[one_of("size", size, SIZES)]
    task = Letters("contains_na")
    base = pretrained(task, chosen.model, chosen.pretrain, device, folder, progress)
    found = experiment(
        base,
        task,
        seeds,
        chosen.stops,
        chosen.samples,
        chosen.train,
        chosen.prior_samples,
        measured=512,
        folder=folder,
        progress=progress,
    )
    return found | facts(size, base)
