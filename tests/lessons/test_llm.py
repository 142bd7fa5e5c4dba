"""The llm rung at its full size, which no test trains: every recipe begins, and is short enough for one GPU.

A model with one thin layer takes the place of the full one. Every arm takes one step and is measured once, and from the
calls of the model the time of the whole recipe is estimated.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from types import ModuleType
from typing import Any

import pytest
import torch
from transformers.models.qwen3.modeling_qwen3 import Qwen3Model

from toykit.lessons import compare, load
from toykit.lessons import llm as shared
from toykit.lessons.l06_mbrcsl import chains
from toykit.lessons.registry import modules
from toykit.policies.qwen3 import qwen3
from toykit.tasks import ChainSum, Sorting, Vocab
from toykit.training import Curriculum, Restarting, loop

TEN_MINUTES = 600.0
THIN = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
SEEDS = 5

# What a call costs on any device, in ms: for each layer, and besides. One core of an EPYC took 0.35 and 0.35 to draw a
# token, 1.1 and 1.1 for a forward and a backward pass, 0.15 and 0.4 for an update; rounded up for what CUDA adds.
DRAWN, LEARNED, UPDATED = (0.5, 0.7), (1.5, 2.0), (0.0, 4.0)
# Operations a second: a third of what an H100 does with dense matrices in TF32, and a quarter of it in bf16.
TF32, BF16 = 150e12, 250e12


@dataclass
class Work:
    """Calls of a model, and the tokens of its operations, by what they cost."""

    model: dict[str, int] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)

    def call(self, tokens: int, learned: bool) -> None:
        self.done["learned" if learned else "drawn"] += 1
        self.done["learned tokens" if learned else "drawn tokens"] += tokens

    def times(self, n: int, work: Callable[[], Any]) -> Any:
        """Does the work once and counts it n times."""
        before = self.done.copy()
        found = work()
        for name, count in self.done.items():
            self.done[name] = before[name] + n * (count - before[name])
        return found

    @property
    def seconds(self) -> float:
        width, hidden = self.model["hidden_size"], self.model["intermediate_size"]
        layers, done = self.model["num_hidden_layers"], self.done
        parameters = layers * (2.6 * width**2 + 3 * width * hidden)
        called = {"drawn": DRAWN, "learned": LEARNED, "updates": UPDATED}
        calls = sum(done[name] * (layers * each + rest) for name, (each, rest) in called.items()) / 1e3
        return calls + parameters * (2 * done["drawn tokens"] / TF32 + 6 * done["learned tokens"] / BF16)


@pytest.fixture
def work(monkeypatch):
    """Counts what a recipe asks of its model, which is made thin; loops make one step and count all of them."""
    work, forward, update, fit = Work(), Qwen3Model.forward, torch.optim.AdamW.step, chains.fit

    def thin(vocab: Vocab, sizes: dict[str, int], seed: int = 0) -> Any:
        work.model = dict(sizes)
        return qwen3(vocab, {**sizes, **THIN}, seed)

    def counted(model, input_ids=None, **given):
        work.call(input_ids.numel(), torch.is_grad_enabled() and next(model.parameters()).requires_grad)
        return forward(model, input_ids, **given)

    def updated(optimizer, *given):
        work.done["updates"] += 1
        return update(optimizer, *given)

    def once(stepper, steps, *given, **how):
        work.times(steps, stepper.step)
        return []

    def follow(make, seed, stops, measure, *given, **how):
        trainer = work.times(SEEDS, make)
        led = isinstance(trainer, Curriculum | Restarting)
        found = work.times(SEEDS * len(stops), partial(measure, trainer.trainer if led else trainer, seed))
        work.times(SEEDS, trainer.step)  # the first of a curriculum ranks the prompts too
        work.times(SEEDS * (min(max(stops), getattr(trainer, "steps", max(stops))) - 1), trainer.step)
        return [found for _ in stops]

    def fitted(model, rows, learn, plan, seed):
        return work.times(SEEDS * plan.steps, partial(fit, model, rows, learn, replace(plan, steps=1), seed))

    monkeypatch.setattr(Qwen3Model, "forward", counted)
    monkeypatch.setattr(torch.optim.AdamW, "step", updated)
    monkeypatch.setattr(loop, "run", once)
    monkeypatch.setattr(compare, "follow", follow)
    monkeypatch.setattr(chains, "fit", fitted)
    for module in (shared, chains, sampled("04")):
        monkeypatch.setattr(module, "qwen3", thin)
    for task in (ChainSum, Sorting):  # half of all is right, as what a trained model writes: groups are mixed
        monkeypatch.setattr(task, "score", lambda self, ids, completions, mask: (completions.sum(-1) % 2).double())
    return work


def sampled(number: str) -> ModuleType:
    """The module of a lesson's llm rung."""
    return importlib.import_module(load(number).experiments["llm"].run.__module__)


@pytest.mark.parametrize("number", modules())
def test_the_recipe_begins_and_takes_at_most_ten_minutes_by_estimate(number, work):
    experiment = load(number).experiments["llm"]
    found = experiment.run(seeds=(0,))
    assert found["size"] != "tiny" and work.done["learned"] > 0
    assert work.seconds <= TEN_MINUTES, f"{work.seconds / 60:.1f} minutes: {dict(work.done)}"
