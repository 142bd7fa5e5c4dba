"""Lesson 06 on the gpt rung: imitation, returns and rollouts in a model, on the stitching maze."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from toykit._checks import one_of
from toykit.control import backward_induction
from toykit.lessons.base import Results
from toykit.lessons.l06_mbrcsl.maze import (
    GOAL,
    QUICKEST,
    Episodes,
    Policy,
    World,
    asked_for,
    by_history,
    conditioned,
    data,
    imitating,
    learned_world,
    markov,
    maze,
    planned,
    roll,
    table_of,
    true_world,
)
from toykit.lessons.l06_mbrcsl.roles import Plan
from toykit.lessons.rungs import SEEDS

ROLLOUTS, EVALUATIONS = 4_000, 2_000  # episodes in the learned model, and in the maze
TOP = 0.1  # the share of the episodes, by return, that %BC imitates
MORE = tuple(range(5, 20))  # seeds on which the two that use the learned world are compared too
STEPS = (400, 600)  # of models of one step, and of models of whole episodes


@dataclass(frozen=True, eq=False)
class Study:
    """What is learned from the data of one seed; each model is trained when it is first asked for."""

    seed: int
    one_step: Plan
    whole: Plan

    @cached_property
    def logged(self) -> Episodes:
        return data(self.seed)

    @property
    def threshold(self) -> float:
        """The largest return of the data, under the true rewards."""
        return self.logged.returns.max().item()

    @cached_property
    def pairs(self) -> Tensor:
        """bool [S, A]: the moves that were logged in each cell."""
        found = torch.zeros_like(true_world().after, dtype=torch.bool)
        found[self.logged.cells, self.logged.moves] = True
        return found

    @cached_property
    def world(self) -> World:
        return learned_world(self.logged, self.one_step, self.seed)

    @cached_property
    def behaviour(self) -> Tensor:
        """[S, A] from the cell alone."""
        return table_of(imitating(self.logged, self.one_step, self.seed))

    @cached_property
    def best_logged(self) -> Policy:
        """%BC: the imitation of the episodes with the largest returns."""
        top = self.logged.returns.topk(round(TOP * len(self.logged.returns))).indices
        return markov(table_of(imitating(self.logged[top], self.one_step, self.seed)))

    @cached_property
    def transformer(self) -> nn.Module:
        return conditioned(self.logged, self.whole, self.seed, whole=True)

    @cached_property
    def imagined(self) -> Episodes:
        """Rollouts of the behaviour in the learned world."""
        return self._imagine(markov(self.behaviour))

    @cached_property
    def copied(self) -> Episodes:
        """Rollouts of a behaviour model that sees the whole history."""
        return self._imagine(by_history(imitating(self.logged, self.whole, self.seed, whole=True)))

    def _imagine(self, policy: Policy) -> Episodes:
        return roll(policy, self.world, ROLLOUTS, torch.Generator().manual_seed(self.seed))

    def better(self, imagined: Episodes) -> Tensor:
        """bool [N]: rollouts whose predicted return is larger than every return of the data; a tie is not."""
        return imagined.returns > self.threshold + 1e-9

    @cached_property
    def kept(self) -> Episodes:
        """What MBRCSL learns from: the better rollouts alone; the data where there is none."""
        better = self.better(self.imagined)
        return self.imagined[better] if bool(better.any()) else self.logged

    @property
    def target(self) -> float:
        """What MBRCSL asks for: the largest predicted return that was kept."""
        return self.kept.returns.max().item()

    def returns(self, episodes: Episodes) -> Policy:
        """RCSL from the cell and the return-to-go, asked for the largest return of its episodes."""
        return asked_for(conditioned(episodes, self.one_step, self.seed), episodes.returns.max().item())


ARMS: Mapping[str, Callable[[Study], Policy]] = {
    "BC": lambda study: markov(study.behaviour),
    "%BC": lambda study: study.best_logged,
    "DT": lambda study: asked_for(study.transformer, study.threshold, whole=True),
    "DT, V* asked": lambda study: asked_for(study.transformer, best(), whole=True),
    "RCSL": lambda study: study.returns(study.logged),
    "Q-iteration": lambda study: planned(study.world),
    "MBRCSL": lambda study: study.returns(study.kept),
}

MODELLED = ("Q-iteration", "MBRCSL")


def best() -> float:
    """V* of the start."""
    return float(maze().start @ backward_induction(maze()).v[0])


def measured(episodes: Episodes, logged: Tensor) -> dict[str, float]:
    """The mean return as a share of V*; how often the goal is reached in the least number of steps, and how often at
    all (a detour reaches it late); the share of the moves that were never `logged` bool [S, A] in their cell."""
    there = episodes.after == GOAL
    return {
        "return": float(episodes.returns.mean()) / best(),
        "quick": float(there[:, QUICKEST - 1].double().mean()),
        "goal": float(there.any(1).double().mean()),
        "strays": float((~logged[episodes.cells, episodes.moves]).double().mean()),
    }


def wrong(study: Study) -> dict[str, float]:
    """In how many of the pairs of cell and move the learned world is wrong, of those that were logged and of others."""
    true, logged = true_world(), study.pairs
    off = (study.world.after != true.after) | ((study.world.rewards - true.rewards).abs() > 1e-9)
    return {"logged": int((off & logged).sum()), "not logged": int((off & ~logged).sum()), "pairs": int(logged.sum())}


def evaluated(study: Study, arm: str) -> dict[str, float]:
    """An arm in the true maze."""
    episodes = roll(ARMS[arm](study), true_world(), EVALUATIONS, torch.Generator().manual_seed(study.seed))
    return measured(episodes, study.pairs)


def imagination(study: Study) -> dict[str, float]:
    """The share of rollouts that beat the data, by what the behaviour model sees; the largest return that is kept; and
    where the learned world is wrong."""
    rollouts = {"cell": study.imagined, "history": study.copied}
    beats = {name: float(study.better(made).double().mean()) for name, made in rollouts.items()}
    return beats | {"target": study.target} | wrong(study)


def gpt(
    seeds: tuple[int, ...] = SEEDS,
    more: tuple[int, ...] = MORE,
    only: tuple[str, ...] = (),
    steps: tuple[int, int] = STEPS,
    folder: Path | None = None,
    progress: bool = False,
) -> Results:
    """The gpt rung: {"runs": {arm: {figure: [a number for each seed]}}}, of all arms or of `only` some.

    Without `only` it says too what was imagined (see `imagination`), and of the two that use the learned world the
    returns on the seeds and on `more` of them, with what MBRCSL asked for. It takes minutes and keeps nothing in
    `folder`.
    """
    from tqdm.auto import tqdm

    def study(seed: int) -> Study:
        return Study(seed, Plan(steps[0]), Plan(steps[1], batch=64))

    arms = [one_of("only", name, ARMS) for name in only] or list(ARMS)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in arms}
    imagined: list[dict[str, float]] = []
    for made in map(study, tqdm(seeds, unit="seed", disable=not progress)):
        for name in arms:
            runs[name].append(evaluated(made, name))
        if not only:
            imagined.append(imagination(made))
    found: Results = {"best": best(), "runs": {name: turned(rows) for name, rows in runs.items()}}
    if only:
        return found
    further = [
        {name: evaluated(made, name)["return"] for name in MODELLED} | {"target": made.target}
        for made in map(study, more)
    ]
    known = {name: found["runs"][name]["return"] for name in MODELLED} | {"target": [row["target"] for row in imagined]}
    both = {name: values + [row[name] for row in further] for name, values in known.items()}
    return found | {"imagined": turned(imagined), "modelled": both}


def turned(rows: list[dict[str, float]]) -> dict[str, list[float]]:
    """{figure: [a number for each row]}."""
    return {name: [row[name] for row in rows] for name in rows[0]}
