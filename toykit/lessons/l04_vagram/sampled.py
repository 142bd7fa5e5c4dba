"""Lesson 04 on the gpt and llm rungs: the pendulum's world models (gpt only), and the world of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
from torch import nn

from toykit._checks import one_of
from toykit.control import Stacked
from toykit.lessons.base import Results
from toykit.lessons.l04_vagram import row_models
from toykit.lessons.l04_vagram.pendulum import Problem, fit_values
from toykit.lessons.l04_vagram.rows import Rows
from toykit.lessons.l04_vagram.world_models import fit, judge
from toykit.lessons.llm import facts
from toykit.lessons.sharing import remembered
from toykit.policies import GPT, GPTConfig
from toykit.policies.hub import check_device
from toykit.policies.qwen3 import qwen3
from toykit.training import TrainConfig

SETTINGS = ((0, 16), (4, 16), (8, 16), (0, 5), (8, 64))  # number of distractors, width of the model's two layers
STOPS = (0, 100, 200, 300, 400, 500, 600)


@contextmanager
def single_precision() -> Iterator[None]:
    """Networks are made in float32, whatever torch's default is (a notebook's is float64)."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@single_precision()
def gpt(
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    settings: tuple[tuple[int, int], ...] = SETTINGS,
    model_steps: int = 2000,
    sweeps: int = 60,
    episodes: int = 20,
    stops: tuple[int, ...] = STOPS,
    folder: Path | None = None,
    progress: bool = False,
) -> Results:
    """The gpt rung: small networks as world models of a pendulum, and a GPT as one of rows of tokens.

    No `settings` leaves the pendulum out, no `stops` the tokens.
    """
    config = TrainConfig(lr=3e-3, prompts=64, max_grad_norm=1.0)
    return {
        "pendulum": pendulum(seeds, settings, model_steps, sweeps, episodes, folder, progress),
        "rows": row_models.experiment(small_gpt, {}, seeds, stops, config, 32, folder, progress) if stops else {},
    }


def small_gpt(task: Rows, seed: int) -> GPT:
    """A GPT of 56 thousand parameters."""
    return GPT(GPTConfig(task.vocab.size, context=32, width=48, hidden=128), seed)


def pendulum(
    seeds: Sequence[int],
    settings: Sequence[tuple[int, int]],
    model_steps: int,
    sweeps: int,
    episodes: int,
    folder: Path | None = None,
    progress: bool = False,
) -> Results:
    """{"8,16": {method: {figure: [a number a seed]}}} for each setting; with `folder`, finished ones are kept there."""

    @cache
    def made(m: int) -> tuple[Problem, Stacked]:  # one for all models with as many distractors
        problem = Problem.make(m, seeds)
        return problem, fit_values(problem, sweeps)

    def one(m: int, width: int) -> Results:
        problem, values = made(m)
        return judge(problem, values, fit(problem, values, width, model_steps), episodes)

    makes = {f"pendulum_{m}_{width}": partial(one, m, width) for m, width in settings}
    found = remembered(makes, folder, progress, "setting").values()
    return {f"{m},{width}": of_setting for (m, width), of_setting in zip(settings, found, strict=True)}


@dataclass(frozen=True)
class Size:
    """A transformers model of the Qwen3 type, the rows that it is trained on, and how."""

    model: dict[str, int]
    rows: dict[str, int]
    train: TrainConfig
    stops: tuple[int, ...]
    episodes: int


SIZES = {
    "24m": Size(
        {
            "hidden_size": 640,
            "intermediate_size": 1984,
            "num_hidden_layers": 5,
            "num_attention_heads": 10,
            "max_position_embeddings": 80,
        },
        {"length": 32, "relevant": 4, "n_train": 65_536, "n_test": 512},
        TrainConfig(lr=3e-4, prompts=256, max_grad_norm=1.0, autocast=True),
        (0, 200, 400, 600, 900, 1200),
        64,
    ),
    "tiny": Size(
        {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        },
        {"length": 6, "relevant": 2, "n_train": 256, "n_test": 16},
        TrainConfig(lr=3e-3, prompts=32, max_grad_norm=1.0),
        (0, 2, 4),
        4,
    ),
}


@single_precision()
def llm(
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    size: str = "24m",
    device: str = "cpu",
    folder: Path | None = None,
    progress: bool = False,
) -> Results:
    """The llm rung: the world of tokens with a transformers model of the Qwen3 type, from scratch."""
    chosen, where = SIZES[one_of("size", size, SIZES)], check_device(device)

    def make(task: Rows, seed: int) -> nn.Module:
        return qwen3(task.vocab, chosen.model, seed).to(where)

    found = row_models.experiment(
        make, chosen.rows, seeds, chosen.stops, chosen.train, chosen.episodes, folder, progress
    )
    return {"rows": found} | facts(size, qwen3(Rows(**chosen.rows).vocab, chosen.model))
