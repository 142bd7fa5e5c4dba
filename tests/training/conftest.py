"""Tasks, and policies to train on them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from toykit.policies import GPT, GPTConfig, TabularLM
from toykit.rollouts import Sampled
from toykit.tasks import ChainSum
from toykit.tasks.bandit import TreeTask, tricks_tree
from toykit.training import TrainConfig, Trainer


@pytest.fixture(scope="session")
def fresh() -> Callable[[], tuple[TreeTask, TabularLM]]:
    """Makes a task of three prompts over card 03's tree and the card's policy, the same for each prompt."""

    def make() -> tuple[TreeTask, TabularLM]:
        task, logits = tricks_tree()
        rewards = torch.tensor([[1.0, 0, 1, 0, 0], [0, 1, 0, 0.5, 1], [0, 0, 0, 1, 0.2]])
        made = TreeTask(task.tree, rewards)
        return made, TabularLM.of(made, logits=logits)

    return make


@pytest.fixture(scope="session")
def chain() -> ChainSum:
    return ChainSum(n_digits=(2, 3), n_train=16, n_test=4, horizon=8)


@pytest.fixture(scope="session")
def gpt() -> Callable[..., GPT]:
    """Makes a small GPT for `chain` whose completions differ from prompt to prompt."""

    def make(dtype: torch.dtype = torch.float64, seed: int = 0) -> GPT:
        made = GPT(GPTConfig(16, context=16, layers=1, width=16, heads=2, hidden=16), seed).to(dtype)
        with torch.no_grad():
            made.embedding.weight.mul_(20)
        return made

    return make


@pytest.fixture(scope="session")
def on_chain(chain, gpt) -> Callable[..., Trainer]:
    """Makes a trainer of a new `gpt` on `chain`."""

    def make(objective, config: TrainConfig | None = None, **options) -> Trainer:
        config = config or TrainConfig(prompts=4)
        return Trainer(gpt(), chain, objective, options.pop("strategy", Sampled(4)), config, **options)

    return make
