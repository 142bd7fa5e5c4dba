"""Comparisons on the gpt and llm rungs, in every lesson that is one: short runs and the recipe on a tiny model."""

from __future__ import annotations

from functools import partial

import pytest
from matplotlib.figure import Figure

from toykit.lessons import judge, load, run
from toykit.lessons.registry import modules
from toykit.lessons.rungs import Comparison, Setup, start
from toykit.objectives import method
from toykit.policies import TabularLM
from toykit.tasks.bandit import random_bandit
from toykit.training import TrainConfig, Trainer


def comparison(lesson) -> Comparison | None:
    made = getattr(lesson.experiments["gpt"].run, "__self__", None)
    return made if isinstance(made, Comparison) else None


LESSONS = {number: load(number) for number in modules() if comparison(load(number)) is not None}
OF_THE_BASE = {("35", "G7")}  # effects over prompts, which any number of seeds decides
SHORT = {"seeds": (1,), "stops": (0, 1)}


def measured(found):
    """All numbers of a run, in one order."""
    return [x for figures in found.values() for paths in figures.values() for path in paths for x in path]


@pytest.mark.parametrize("by_function", [False, True])
def test_what_a_method_keeps_from_batch_to_batch_does_not_go_from_seed_to_seed(by_function):
    """One arm that holds a state, seeds 0 and 1 together and seed 1 alone: the same figures."""
    kept = method("ob_rl")
    arm = partial(start, method=kept) if by_function else kept
    task = random_bandit(n_prompts=3, n_arms=4)
    setup = Setup(task, TrainConfig(lr=0.1), stops=(2,), group_size=4)
    made = Comparison(lambda: {"a": arm}, lambda base, setup: _first, setup, {})
    both, alone = (made.run(TabularLM.of(task), setup, seeds)["runs"]["a"]["first"] for seeds in ((0, 1), (1,)))
    assert both[1] == alone[0]


def _first(trainer: Trainer, seed: int) -> dict[str, float]:
    return {"first": trainer.policy.table[0, 0].item()}


@pytest.mark.parametrize("number", LESSONS)
def test_a_short_run_measures_every_arm_and_is_the_same_again(number):
    lesson = LESSONS[number]
    arms = list(comparison(lesson).arms())
    found = run(lesson, "gpt", **SHORT)
    assert list(found["runs"]) == arms and found["stops"] == [0, 1]
    for figures in found["runs"].values():
        assert all(len(path) == 2 for paths in figures.values() for path in paths)
    assert run(lesson, "gpt", only=(arms[-1],), **SHORT)["runs"] == {arms[-1]: found["runs"][arms[-1]]}
    effects = [row for row in judge(lesson, "gpt", found, from_record=False) if row["kind"] == "effect"]
    decided = {(number, row["claim"]) for row in effects if row["holds"] is not None}
    assert effects and decided <= OF_THE_BASE  # one seed decides nothing


@pytest.mark.parametrize("number", LESSONS)
def test_the_llm_recipe_runs_on_a_tiny_model_and_resumes(number, tmp_path):
    lesson = LESSONS[number]
    found = run(lesson, "llm", seeds=(0,), size="tiny", folder=tmp_path)
    assert found["parameters"] < 100_000
    assert list(found["runs"]) == list(comparison(lesson).arms())
    ends = [measured({arm: figures}) for arm, figures in found["runs"].items()]
    assert all(a != b for i, a in enumerate(ends) for b in ends[:i])  # no two arms have taken the same steps
    assert run(lesson, "llm", seeds=(0,), size="tiny", folder=tmp_path)["runs"] == found["runs"]
    for made in lesson.figures["llm"].values():
        assert isinstance(made(found), Figure)


@pytest.mark.parametrize("number", LESSONS)
def test_options_that_there_are_not_are_refused(number):
    lesson = LESSONS[number]
    arm = next(iter(comparison(lesson).arms()))
    with pytest.raises(ValueError, match="only must be one of .*, got '.*x'; did you mean"):
        run(lesson, "gpt", only=(f"{arm}x",))
    with pytest.raises(ValueError, match="size must be one of .*, got 'small'"):
        run(lesson, "llm", size="small")
