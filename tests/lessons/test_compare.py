"""Comparisons: every method and seed is measured at every stop, and a second call goes on where the first stopped."""

from __future__ import annotations

import json
import math
import os
import signal
from functools import partial

import pytest

from toykit.lessons.compare import Measure, compare, follow, last, reaching
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


def tiring(call: int) -> Measure:
    """Measures, and interrupts in the given call."""
    calls = []

    def tired(trainer: Trainer, seed: int) -> dict[str, float]:
        calls.append(trainer.done)
        if len(calls) == call:
            raise KeyboardInterrupt
        return measure(trainer, seed)

    return tired


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
    with pytest.raises(KeyboardInterrupt):
        compare({"led": led}, (0,), STOPS, tiring(3), tmp_path)
    assert compare({"led": led}, (0,), STOPS, measure, tmp_path) == straight


def test_an_interrupted_comparison_goes_on_to_the_same_figures(tmp_path):
    straight = compare(METHODS, (0, 1), STOPS, measure)
    with pytest.raises(KeyboardInterrupt):
        compare(METHODS, (0, 1), STOPS, tiring(5), tmp_path)
    measured = []
    again = compare(METHODS, (0, 1), STOPS, lambda t, s: (measured.append(t.done), measure(t, s))[1], tmp_path)
    assert again == straight
    assert measured == [2, 5, 0, 2, 5, 0, 2, 5]  # what was measured before the interruption is not measured again


@pytest.mark.parametrize("pause", [0.0, 60.0])
def test_a_run_that_was_killed_goes_on_from_its_last_checkpoint_where_there_is_one(tmp_path, monkeypatch, pause):
    """A checkpoint after every step, and none in the first minute: the same figures, after fewer steps or more."""
    monkeypatch.setattr("toykit.training.loop.MINUTE", pause)
    straight, steps = follow(partial(make, 0), 0, STOPS, measure), []

    def killed(trainer: Trainer, seed: int) -> dict[str, float]:
        if trainer.done == 5:
            raise SystemExit
        return measure(trainer, seed)

    with pytest.raises(SystemExit):
        follow(partial(make, 0), 0, STOPS, killed, tmp_path)
    assert (tmp_path / "checkpoint.safetensors").exists() == (pause == 0)
    assert follow(partial(make, 0), 0, STOPS, measure, tmp_path, steps.append) == straight
    assert steps == ([4, 1] if pause == 0 else [1] * 5)


def test_ctrl_c_leaves_a_checkpoint_at_once(tmp_path):
    def interrupted(trainer: Trainer, seed: int) -> dict[str, float]:
        if trainer.done == 2:
            os.kill(os.getpid(), signal.SIGINT)  # noted: the step, its measurement and its checkpoint come first
        return measure(trainer, seed)

    with pytest.raises(KeyboardInterrupt):
        follow(partial(make, 0), 0, STOPS, interrupted, tmp_path)
    steps = []
    found = follow(partial(make, 0), 0, STOPS, measure, tmp_path, steps.append)
    assert found[-1]["done"] == 5 and steps == [2, 1, 1, 1]


def test_a_finished_run_is_read_and_not_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr("toykit.training.loop.MINUTE", 0.0)
    first = follow(partial(make, 0), 0, STOPS, measure, tmp_path)
    steps = []
    assert not (tmp_path / "checkpoint.safetensors").exists()
    assert follow(_never, 0, STOPS, measure, tmp_path, steps.append) == first
    assert sum(steps) == 5


def _never() -> Trainer:
    raise AssertionError("made again")


def test_a_finished_run_that_is_kept_is_made_again_and_stands_at_its_end(tmp_path):
    made, steps = [], []

    def kept() -> Trainer:
        made.append(make(0))
        return made[-1]

    found = [follow(kept, 0, STOPS, measure, tmp_path, steps.append, keep=True) for _ in range(2)]
    assert found[0] == found[1] and [trainer.done for trainer in made] == [5, 5]
    assert made[0].policy.table.equal(made[1].policy.table)
    assert steps == [1] * 5 + [5]  # made, and then found


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
