"""Beginning to learn anew while the weights stay: what to do where the task has changed under a trainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from toykit._checks import at_least, positive
from toykit.rollouts import Sampled
from toykit.tasks.base import Task
from toykit.training import loop
from toykit.training.processes import Processes
from toykit.training.trainer import Trainer


class Due(Protocol):
    """Says after a step, from the steps done and the figures of the last, whether to begin anew; what it keeps is in
    the checkpoint."""

    def __call__(self, done: int, figures: Mapping[str, float]) -> bool: ...

    def state(self) -> dict[str, Tensor]: ...

    def load(self, state: dict[str, Tensor]) -> None: ...


@dataclass(frozen=True)
class AtSteps:
    """When so many steps are done: a schedule such as `range(50, 1000, 50)`, or the true changes."""

    steps: Sequence[int]

    def __call__(self, done: int, figures: Mapping[str, float]) -> bool:
        return done in self.steps

    def state(self) -> dict[str, Tensor]:
        return {}

    def load(self, state: dict[str, Tensor]) -> None:
        return None


@dataclass
class Begun:
    """The numbers of steps that were done when a trainer began anew."""

    steps: list[int] = field(default_factory=list)

    def state(self) -> dict[str, Tensor]:
        return {"steps": torch.tensor(self.steps, dtype=torch.int64)}

    def load(self, state: dict[str, Tensor]) -> None:
        self.steps = state["steps"].tolist()


class Restarting:
    """A trainer that begins anew when it is due; a stepper like the trainer (`done`, `step`, `run`, `save`, `load`).

    Then the optimizer's moments are dropped, what the objective keeps from batch to batch (a moving baseline) is what
    it was at first, and completions are drawn at `temperature` for `hot` steps. The weights stay. Steps that are hot
    are not shown to `due`: their rewards are lower by their temperature. `begun.steps` says when it was.

    due          None: never
    tasks        what is asked from so many steps on, by number of steps: a verifier that drifts. The prompts stay.
    """

    def __init__(
        self,
        trainer: Trainer,
        due: Due | None = None,
        hot: int = 20,
        temperature: float = 1.0,
        tasks: Mapping[int, Task] | None = None,
    ) -> None:
        """Leads a fresh trainer.

        Raises ValueError for a temperature that is not positive, hot < 0, a strategy that has no temperature, and tasks
        with another vocabulary or horizon.
        """
        at_least("hot", hot, 0)
        positive("temperature", temperature)
        if not isinstance(trainer.strategy, Sampled):
            raise ValueError(f"strategy must be Sampled for a temperature, got {type(trainer.strategy).__name__}")
        self.trainer, self.due, self.hot, self.temperature = trainer, due, hot, temperature
        self.usual = trainer.strategy.temperature
        self.tasks = {0: trainer.task} | dict(tasks or {})
        for steps, task in self.tasks.items():
            at_least("tasks' steps", steps, 0)
            if task.vocab != trainer.task.vocab or task.horizon != trainer.task.horizon:
                raise ValueError(f"tasks must have the vocabulary and the horizon of the first, got others at {steps}")
        self.first = {name: kept.state() for name, kept in trainer.objective.moving.items()}
        self.begun = Begun()
        trainer.others["begun"] = self.begun
        if due is not None:
            trainer.others["due"] = due

    @property
    def done(self) -> int:
        return self.trainer.done

    @property
    def updates(self) -> int:
        return self.trainer.updates

    @property
    def policy(self) -> nn.Module:
        return self.trainer.policy

    @property
    def processes(self) -> Processes:
        return self.trainer.processes

    @property
    def hot_until(self) -> int:
        """The steps that are done when the temperature is the usual one again."""
        return self.begun.steps[-1] + self.hot if self.begun.steps else 0

    def step(self) -> dict[str, float]:
        """The trainer's step, and as "restarted" whether it made the trainer begin anew (0 or 1)."""
        made = self.trainer
        self._set(made.done)
        figures = made.step()
        restarted = False
        if self.due is not None and made.done > self.hot_until:
            restarted = self.due(made.done, figures)
        if restarted:
            self._begin_anew()
        return figures | {"restarted": float(restarted)}

    def run(
        self, steps: int, out: str | Path | None = None, save_every: int = 50, progress: bool = True
    ) -> list[dict[str, float]]:
        """Goes on until `steps` steps are done in all; see `toykit.training.loop.run`."""
        return loop.run(self, steps, out, save_every, progress, "train", processes=self.processes)

    def save(self, path: str | Path) -> None:
        """Writes the trainer's whole state, when it began anew, and what `due` keeps."""
        self.trainer.save(path)

    def load(self, path: str | Path) -> Restarting:
        """Restores what `save` wrote into one that was built with the same arguments, and returns it."""
        self.trainer.load(path)
        self._set(max(0, self.done - 1))
        return self

    def plain_policy(self) -> nn.Module:
        """See `Trainer.plain_policy`."""
        return self.trainer.plain_policy()

    def _set(self, done: int) -> None:
        """Task and temperature of the step after `done` steps."""
        made = self.trainer
        made.task = self.tasks[max(steps for steps in self.tasks if steps <= done)]
        temperature = self.temperature if done < self.hot_until else self.usual
        assert isinstance(made.strategy, Sampled), "as was seen to when it was made"
        if made.strategy.temperature != temperature:
            made.strategy = replace(made.strategy, temperature=temperature)
            made.reader = replace(made.reader, temperature=temperature)

    def _begin_anew(self) -> None:
        if self.trainer.optimizer is not None:
            self.trainer.optimizer.state.clear()  # made anew by its next step, as in its first
        for name, kept in self.trainer.objective.moving.items():
            kept.load(self.first[name])
        self.begun.steps.append(self.done)
