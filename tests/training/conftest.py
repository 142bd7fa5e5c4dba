"""A task and a policy to train on it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from toykit.policies import TabularLM
from toykit.tasks.bandit import TreeTask, tricks_tree


@pytest.fixture(scope="session")
def fresh() -> Callable[[], tuple[TreeTask, TabularLM]]:
    """Makes a task of three prompts over card 03's tree and the card's policy, the same for each prompt."""

    def make() -> tuple[TreeTask, TabularLM]:
        task, logits = tricks_tree()
        rewards = torch.tensor([[1.0, 0, 1, 0, 0], [0, 1, 0, 0.5, 1], [0, 0, 0, 1, 0.2]])
        made = TreeTask(task.tree, rewards)
        return made, TabularLM.of(made, logits=logits)

    return make
