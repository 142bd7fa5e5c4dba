"""Comparisons: every method and seed is measured at every stop, and a second call goes on where the first stopped."""

from __future__ import annotations

import json
import math

import pytest

from toykit.lessons.compare import compare, follow, last, reaching, remembered
from toykit.policies import TabularLM
from toykit.rollouts import Sampled
from toykit.tasks.bandit import random_bandit
from toykit.training import Curriculum, Phase, TrainConfig, Trainer

TASK = random_bandit(n_prompts=3, n_arms=4)
STOPS = (0, 2, 5)


def make(seed: int, name: str = "rloo") -> Trainer:
    return Trainer(TabularLM.of(TASK), TASK, name, Sampled(4), TrainConfig(lr=0.1, seed=seed))


def measure(trainer: Trainer, seed: int) -> dict[str, float]:
    return {"done": trainer.done, "first": trainer.policy.table[0, 0].item(), "seed": seed}


METHODS = {"a": make, "b": lambda seed: make(seed, "grpo")}


def test_figures_are_by_method_then_seed_then_stop():
    found = compare(METHODS, (3, 4), STOPS, measure)
    assert found["stops"] == [0, 2, 5]
    assert set(found["runs"]) == {"a", "b"}
    assert found["runs"]["b"]["done"] == [[0, 2, 5], [0, 2, 5]]
    assert found["runs"]["a"]["seed"] == [[3, 3, 3], [4, 4, 4]]
    firsts = found["runs"]["a"]["first"]
    assert firsts[0][0] == 0 and firsts[0][2] != firsts[1][2]
    assert json.loads(json.dumps(found)) == found


def test_a_trainer_that_is_led_through_phases_is_compared_like_any_other(tmp_path):
    """It is measured as its trainer stands, goes on from its folder, and stops with its last phase."""

    def led(seed: int) -> Curriculum:
        return Curriculum(make(seed), [Phase(None, 2, 4), Phase(1, 3, 8)])

    straight = compare({"led": led}, (0,), STOPS, measure)
    assert straight["runs"]["led"]["done"] == [[0, 2, 5]]
    compare({"led": led}, (0,), (0, 2), measure, tmp_path)
    assert compare({"led": led}, (0,), STOPS, measure, tmp_path) == straight


def test_an_interrupted_comparison_goes_on_to_the_same_figures(tmp_path):
    straight = compare(METHODS, (0, 1), STOPS, measure)
    calls = []

    def tired(trainer: Trainer, seed: int) -> dict[str, float]:
        calls.append(trainer.done)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return measure(trainer, seed)

    with pytest.raises(KeyboardInterrupt):
        compare(METHODS, (0, 1), STOPS, tired, tmp_path)
    calls.clear()
    measured = []
    again = compare(METHODS, (0, 1), STOPS, lambda t, s: (measured.append(t.done), measure(t, s))[1], tmp_path)
    assert again == straight
    assert measured == [2, 5, 0, 2, 5, 0, 2, 5]  # what was measured before the interruption is not measured again


def test_a_finished_run_is_read_and_not_made_again(tmp_path):
    first = follow(make(0), 0, STOPS, measure, tmp_path)
    steps = []
    trainer = make(0)
    assert follow(trainer, 0, STOPS, measure, tmp_path, steps.append) == first
    assert trainer.done == 5 and sum(steps) == 5


def test_what_is_remembered_is_made_once(tmp_path):
    made = []

    def make() -> dict[str, list[float]]:
        made.append(1)
        return {"values": [1.5, 2.0]}

    path = tmp_path / "deeper" / "found.json"
    assert remembered(path, make) == remembered(path, make) == {"values": [1.5, 2.0]} and len(made) == 1
    assert remembered(None, make) == remembered(None, make) and len(made) == 3


def test_progress_counts_the_steps_of_all_runs(capsys):
    compare(METHODS, (0,), STOPS, measure, progress=True)
    assert "10/10" in capsys.readouterr().err


def test_the_last_figure_is_that_of_the_last_stop_by_seed():
    runs = {"a": {"first": [[1.0, 2.0], [3.0, 4.0]]}}
    assert last({"stops": [0, 5], "runs": runs}, "a", "first") == [2.0, 4.0]


def test_a_value_at_a_level_is_on_the_line_between_the_stops_around_it():
    assert reaching([0.1, 0.3, 0.5], 0.4, [4.0, 2.0, 1.0]) == pytest.approx(1.5)
    assert reaching([0.1, 0.3, 0.2, 0.5], 0.3, [0, 10, 20, 30]) == 10  # where it is there first
    assert reaching([0.1, 0.3], 0.1, [4, 2]) == 4.0
    assert math.isnan(reaching([0.1, 0.3], 0.31, [4.0, 2.0])) and reaching([0.1, 0.3], 0.31, [0, 10], never=10) == 10
