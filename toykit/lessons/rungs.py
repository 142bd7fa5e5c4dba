"""The gpt and the llm rung of a lesson that compares methods: what differs between them is data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toykit._checks import one_of
from toykit.lessons.base import Results
from toykit.lessons.compare import Led, Measure, compare
from toykit.lessons.llm import facts, pretrained
from toykit.objectives import Method, method
from toykit.policies.qwen3 import PRESETS
from toykit.rollouts import Given, Sampled
from toykit.tasks import Task
from toykit.training import PretrainConfig, TrainConfig, Trainer, load_policy

SEEDS = (0, 1, 2, 3, 4)
QWEN3_60M = PRESETS["qwen3-60m"].sizes
TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


@dataclass(frozen=True)
class Setup:
    """Where the arms of a comparison begin, and how they are trained.

    task        what is asked
    train       how the objective is followed; its seed is the run's
    stops       numbers of steps at which is measured, the first is usually 0
    group_size  completions a prompt
    base        the name of a base policy that is shipped (gpt), or the sizes of a transformers model (llm)
    pretrain    how such a model is pretrained on the task's corpus
    """

    task: Task
    train: TrainConfig
    stops: tuple[int, ...]
    group_size: int = 8
    base: str | Mapping[str, int] = ""
    pretrain: PretrainConfig | None = None


Make = Callable[[nn.Module, Setup, int], Led]  # of the base policy, the setup and a seed
Arm = Method | Make


@dataclass(frozen=True)
class Comparison:
    """Arms by name, each trained from one base with each seed; `on_gpt` and `on_llm` are experiments of a lesson.

    arms     makes them: a method, which is trained by `start`, or what makes the trainer, by `start` as well, where an
             arm needs more than that
    measure  makes the measurement (see `toykit.lessons.compare`) from the base and the setup
    about    further facts of the base that belong in the results, JSON-able
    """

    arms: Callable[[], Mapping[str, Arm]]
    measure: Callable[[nn.Module, Setup], Measure]
    gpt: Setup
    llm: Mapping[str, Setup]
    about: Callable[[nn.Module, Setup], Results] = lambda base, setup: {}

    def on_gpt(
        self,
        seeds: tuple[int, ...] = SEEDS,
        stops: tuple[int, ...] = (),
        folder: Path | None = None,
        progress: bool = False,
        only: tuple[str, ...] = (),
    ) -> Results:
        """The arms (or `only` some) from the base that is shipped, measured at its setup's stops or at others."""
        assert isinstance(self.gpt.base, str)
        setup = replace(self.gpt, stops=stops or self.gpt.stops)
        return self.run(load_policy(self.gpt.base), setup, seeds, folder, progress, only)

    def on_llm(
        self,
        seeds: tuple[int, ...] = SEEDS,
        size: str = "60m",
        device: str = "cpu",
        folder: Path | None = None,
        progress: bool = False,
        only: tuple[str, ...] = (),
    ) -> Results:
        """The same arms from a transformers model of the Qwen3 type that is pretrained here."""
        setup = self.llm[one_of("size", size, self.llm)]
        assert isinstance(setup.base, Mapping) and setup.pretrain is not None
        base = pretrained(setup.task, setup.base, setup.pretrain, device, folder, progress)
        found = self.run(base, setup, seeds, folder, progress, only)
        return found | facts(size, base)

    def run(
        self,
        base: nn.Module,
        setup: Setup,
        seeds: tuple[int, ...],
        folder: Path | None = None,
        progress: bool = False,
        only: tuple[str, ...] = (),
    ) -> Results:
        """Raises ValueError for an arm of `only` that is not there."""
        arms = self.arms()
        chosen = [one_of("only", name, arms) for name in only] or list(arms)
        made = {name: partial(_trainer, arms[name], base, setup) for name in chosen}
        found = compare(made, seeds, setup.stops, self.measure(base, setup), folder, progress)
        return found | {"lr": setup.train.lr, "group_size": setup.group_size} | self.about(base, setup)


def pretrain_60m(steps: int, batch: int, **further: Any) -> PretrainConfig:
    """How QWEN3_60M learns a task's corpus, in bf16; `further` are arguments of `PretrainConfig`.

    An accuracy that is asked for is looked at often: on sums it goes from 0.3 to 1 within 75 steps.
    """
    return PretrainConfig(steps, batch, lr=3e-4, warmup=50, autocast=True, evaluate_every=10, **further)


def start(base: nn.Module, setup: Setup, seed: int, method: Method, **further: Any) -> Trainer:
    """A trainer of a copy of the base, which is its reference; `further` are arguments of `Trainer`.

    The method is copied too: what it keeps from batch to batch belongs to one run.
    """
    policy = copy.deepcopy(base).requires_grad_(True)
    named = {"strategy": Sampled(setup.group_size), "config": replace(setup.train, seed=seed), "reference": base}
    return Trainer(policy, setup.task, copy.deepcopy(method), **named | further)  # type: ignore[arg-type]


def taught(base: nn.Module, setup: Setup, seed: int, answers: Tensor) -> Trainer:
    """A trainer on given answers int64 [N, G, T], those of the prompt with id x in row x: supervised fine-tuning.

    A step takes half of the prompts with all their answers, so that seeds differ.
    """
    half = replace(setup, train=replace(setup.train, prompts=len(setup.task.prompts()) // 2))
    strategy = Given(answers, torch.ones_like(answers, dtype=torch.bool))
    return start(base, half, seed, method("reinforce"), strategy=strategy)


def _trainer(arm: Arm, base: nn.Module, setup: Setup, seed: int) -> Led:
    return start(base, setup, seed, arm) if isinstance(arm, Method) else arm(base, setup, seed)
