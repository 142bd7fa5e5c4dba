"""A curriculum: phases of a trainer, each on the prompts that are hardest when it begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from toykit._checks import at_least
from toykit.rollouts import Enumerated, Sampled
from toykit.tasks.base import Prompts
from toykit.tasks.window import windowed
from toykit.training import loop
from toykit.training.processes import Processes
from toykit.training.spread import together
from toykit.training.trainer import Trainer

CHUNK = 256  # prompts whose pass rates are sampled at once
EXACT_PLACES = 2_000_000  # prompts times completions times tokens up to which pass rates are exact by themselves


@dataclass(frozen=True)
class Phase:
    """`steps` on the `prompts` of the lowest pass rate (None: on all), by groups of `group_size`.

    `window` is the most tokens of a completion (None: the task's horizon); one that has not stopped within it has
    reward 0.
    """

    prompts: int | None
    steps: int
    group_size: int
    window: int | None = None

    def __post_init__(self) -> None:
        for name in ("prompts", "steps", "group_size"):
            if getattr(self, name) is not None:
                at_least(name, getattr(self, name), 1)


def hardest(pass_rates: Tensor, n: int | None) -> Tensor:
    """int64: the rows of the n lowest pass rates [B] (None or more than there are: all), in their order in the batch.

    Of equal rates (to 12 decimals) those of the lowest index are kept.
    """
    return pass_rates.double().round(decimals=12).argsort(stable=True)[:n].sort().values


@dataclass
class _Standing:
    """Where a run stands: the phase that was begun last (-1 before the first) and the ids of its prompts."""

    phase: int
    ids: Tensor

    def state(self) -> dict[str, Tensor]:
        return {"phase": torch.tensor(self.phase), "ids": self.ids}

    def load(self, state: dict[str, Tensor]) -> None:
        self.phase, self.ids = int(state["phase"]), state["ids"]


class Curriculum:
    """A trainer led through phases; a stepper like the trainer itself (`done`, `step`, `run`, `save`, `load`).

    When a phase begins, the pass rate of each prompt of the pool is found, the hardest are kept, and the trainer goes
    on with these, with its parameters, moments and random numbers. `nested` ranks the prompts that the phase before has
    kept, else the whole pool is ranked again. Evaluations stay those of the whole task. Source: DRIVE
    (arXiv 2511.06307), stage 2; its text is read as nested.

    exact  pass rates by enumeration, or by the phase's own G samples (which cannot tell rates well below 1 / G apart);
           None enumerates where the completions are few enough
    """

    def __init__(
        self, trainer: Trainer, phases: Sequence[Phase], nested: bool = True, exact: bool | None = None
    ) -> None:
        """Leads a fresh trainer.

        Raises ValueError for no phase, phases that keep more prompts than there are (nested: than the one before), and
        windows that the task cannot have.
        """
        if not phases:
            raise ValueError("phases must hold at least one phase, got none")
        self.trainer, self.phases, self.nested, self.exact = trainer, tuple(phases), nested, exact
        self.pool, self.task = trainer.prompts, trainer.task
        most = len(self.pool)
        for phase in self.phases:
            windowed(self.task, phase.window)
            if phase.prompts is not None and phase.prompts > most:
                raise ValueError(f"prompts must be at most {most}, got a phase of {phase.prompts}")
            most = phase.prompts if nested and phase.prompts is not None else most
        self.standing = _Standing(-1, self.pool.ids[:0])
        trainer.others["curriculum"] = self.standing

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
    def steps(self) -> int:
        """Of all phases."""
        return sum(phase.steps for phase in self.phases)

    @property
    def finished(self) -> bool:
        return self.done >= self.steps

    def __iter__(self) -> Iterator[dict[str, float]]:
        while not self.finished:
            yield self.step()

    def step(self) -> dict[str, float]:
        """The trainer's step, and the number of its phase as "phase" (from 1).

        The first of a phase also gives the mean pass rates of what was ranked, "pool_pass_rate", and of what was kept,
        "kept_pass_rate". Raises ValueError after the last phase.
        """
        if self.finished:
            raise ValueError(f"steps must be at most {self.steps}, the phases are over")
        phase = self.phase_of(self.done)
        begun = self._begin(phase) if phase != self.standing.phase else {}
        return self.trainer.step() | {"phase": phase + 1} | begun

    def run(
        self, steps: int | None = None, out: str | Path | None = None, save_every: int = 50, progress: bool = True
    ) -> list[dict[str, float]]:
        """Goes on until `steps` steps are done in all, or the phases are over; see `toykit.training.loop.run`."""
        wanted = self.steps if steps is None else steps
        return loop.run(self, wanted, out, save_every, progress, "train", processes=self.processes)

    def save(self, path: str | Path) -> None:
        """Writes the trainer's whole state, the phase and its prompts."""
        self.trainer.save(path)

    def load(self, path: str | Path) -> Curriculum:
        """Restores what `save` wrote into a curriculum that was built with the same arguments, and returns it."""
        self.trainer.load(path)
        if self.standing.phase >= 0:
            self._set(self.standing.phase)
            self._keep(self.pool[torch.isin(self.pool.ids, self.standing.ids.to(self.pool.ids))])
        return self

    def plain_policy(self) -> nn.Module:
        """See `Trainer.plain_policy`."""
        return self.trainer.plain_policy()

    def phase_of(self, done: int) -> int:
        """The number of the phase, from 0, that the step after `done` steps belongs to."""
        ends = torch.tensor([phase.steps for phase in self.phases]).cumsum(0)
        return int(torch.searchsorted(ends, done, right=True))

    def pass_rates(self, prompts: Prompts) -> Tensor:
        """float64 [B]: how likely the policy as it is solves each prompt, within the window of the phase as it is."""
        return self.trainer.models.whole(partial(self._pass_rates, prompts))

    def _pass_rates(self, prompts: Prompts) -> Tensor:
        made, task, tree = self.trainer, self.trainer.task, self.trainer.task.tree
        exact = self.exact
        if exact is None:
            few = tree is not None and len(prompts) * tree.n_leaves * tree.horizon <= EXACT_PLACES
            exact = few or isinstance(made.strategy, Enumerated)
        how, found = Enumerated() if exact else made.strategy, []
        for rows in torch.arange(len(prompts), device=prompts.ids.device).split(CHUNK):
            draw = partial(how, made.policy, task, prompts[rows], made.generator)
            rollouts = together(made.processes, draw, len(rows))
            found.append(rollouts.mean(rollouts.correct.to(rollouts.weights)).double())
        return torch.cat(found)

    def _begin(self, number: int) -> dict[str, float]:
        """Ranks what there is and sets the trainer on the phase."""
        nested = self.nested and self.standing.phase >= 0
        ranked = self.trainer.prompts if nested else self.pool
        self._set(number)
        rates = self.pass_rates(ranked)
        rows = hardest(rates, self.phases[number].prompts)
        self._keep(ranked[rows])
        self.standing.phase = number
        return {"pool_pass_rate": float(rates.mean()), "kept_pass_rate": float(rates[rows].mean())}

    def _set(self, number: int) -> None:
        phase, made = self.phases[number], self.trainer
        made.task = windowed(self.task, phase.window)
        if isinstance(made.strategy, Sampled):
            made.strategy = replace(made.strategy, group_size=phase.group_size)

    def _keep(self, prompts: Prompts) -> None:
        self.trainer.prompts, self.standing.ids = prompts, prompts.ids
