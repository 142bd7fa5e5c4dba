"""The exact rung by the code of all rungs: a table that the Trainer trains on every completion."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from toykit.objectives import Method, Objective
from toykit.policies import TabularLM
from toykit.rollouts import Enumerated
from toykit.tasks import Task
from toykit.training import TrainConfig, Trainer


def trained_table(
    policy: TabularLM,
    task: Task,
    objective: str | Method | Objective,
    lr: float,
    steps: int,
    epochs: int = 1,
    **further: Any,
) -> Tensor:
    """A table's logits after `steps` rounds of plain gradient descent on all completions with their probabilities.

    `further` are arguments of `Trainer`, such as a reference, a selection, or another strategy.
    """
    config = TrainConfig(lr=lr, optimizer="sgd", epochs=epochs)
    given: dict[str, Any] = {"strategy": Enumerated(), "config": config} | further
    Trainer(policy, task, objective, **given).run(steps, progress=False)
    return policy.table.detach()
