"""Lesson 47 on the gpt rung: a verifier whose rule is turned around, and policies that begin to learn anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from torch import nn

from toykit.control.online import Watch
from toykit.lessons.compare import Figures, Measure
from toykit.lessons.held_out import held_out
from toykit.lessons.rungs import Arm, Comparison, Setup, start
from toykit.objectives import Method, PolicyGradient
from toykit.objectives.baselines import RunningMean
from toykit.tasks import Sorting
from toykit.training import AtSteps, Restarting, TrainConfig, Trainer
from toykit.training.restarts import Begun, Due

CHANGES = (80, 160)  # updates after which the rule turns around
PERIOD = 50
HOT, TEMPERATURE = 20, 2.0
ETA = 1e-3
STOPS = tuple(range(0, 241, 10))


def dues() -> Mapping[str, Due | None]:
    """When each arm begins anew."""
    return {
        "no reset": None,
        "periodic": AtSteps(range(PERIOD, STOPS[-1], PERIOD)),
        "detector": Watch(prior=ETA),
        "detector, falls": Watch(prior=ETA, falls=True),
        "oracle": AtSteps(CHANGES),
        "oracle, not hot": AtSteps(CHANGES),
    }


def arms() -> Mapping[str, Arm]:
    return {name: partial(trainer, name=name) for name in dues()}


def trainer(base: nn.Module, setup: Setup, seed: int, name: str) -> Restarting:
    """REINFORCE with a moving baseline, asked to sort up, down, and up again."""
    assert isinstance(setup.task, Sorting)
    method = Method(PolicyGradient(RunningMean()), "Williams 1992")
    tasks = {change: replace(setup.task, decreasing=i % 2 == 0) for i, change in enumerate(CHANGES)}
    temperature = 1.0 if name.endswith("not hot") else TEMPERATURE
    return Restarting(start(base, setup, seed, method), dues()[name], HOT, temperature, tasks)


def measuring(base: nn.Module, setup: Setup) -> Measure:
    return partial(measure, group_size=4)


def measure(trainer: Trainer, seed: int, group_size: int) -> Figures:
    """Success on held-out prompts, by the rule of the last step, at a temperature of 1; how often the trainer has begun
    anew, and after which update it did last."""
    begun = trainer.others["begun"]
    assert isinstance(begun, Begun)
    success = held_out(trainer, seed, group_size).correct.double().mean()
    return {"success": float(success), "restarts": len(begun.steps), "last restart": max(begun.steps, default=0)}


DRIFT = Comparison(
    arms,
    measuring,
    gpt=Setup(
        Sorting(places=3),
        TrainConfig(lr=5e-4, prompts=16, max_grad_norm=1.0),
        STOPS,
        base="sorting_both",
    ),
    llm={},
)
