"""A trainer that begins anew: what it drops, when it is hot, and that it goes on from a checkpoint as it was."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from toykit.control.online import Watch
from toykit.objectives import PolicyGradient
from toykit.objectives.baselines import RunningMean
from toykit.policies import GPT, GPTConfig
from toykit.rollouts import Enumerated, Sampled
from toykit.tasks import Letters, Sorting
from toykit.training import AtSteps, Restarting, TrainConfig, Trainer

TASK = Sorting(places=2, n_train=20, n_test=10)
OTHER = replace(TASK, decreasing=True)


def made(due=None, **named):
    policy = GPT(GPTConfig(TASK.vocab.size, context=8, width=16, hidden=16), 0)
    trainer = Trainer(policy, TASK, PolicyGradient(RunningMean()), Sampled(4), TrainConfig(lr=1e-2, prompts=4))
    return Restarting(trainer, due, **named)


def test_it_drops_moments_and_baseline_is_hot_for_a_while_and_asks_what_is_due():
    led = made(AtSteps((2,)), hot=3, temperature=2.0, tasks={1: OTHER})
    temperatures, tasks = [], []
    for done in range(1, 7):
        figures = led.step()
        temperatures.append(led.trainer.strategy.temperature)
        tasks.append(led.trainer.task)
        assert figures["restarted"] == (done == 2)
        if done == 2:
            assert not led.trainer.optimizer.state and led.trainer.objective.advantage.mean is None
    assert temperatures == [1, 1, 2, 2, 2, 1] and led.begun.steps == [2]
    assert tasks == [TASK] + [OTHER] * 5


def test_hot_steps_are_not_shown():
    class Seen(AtSteps):
        def __call__(self, done, figures):
            seen.append(done)
            return super().__call__(done, figures)

    seen = []
    led = made(Seen((2, 4)), hot=3)
    for _ in range(7):
        led.step()
    assert seen == [1, 2, 6, 7] and led.begun.steps == [2]


def test_a_run_that_was_stopped_goes_on_as_it_was(tmp_path):
    def fresh():
        return made(Watch(prior=1.0), hot=2, temperature=1.5, tasks={3: OTHER})

    whole = fresh()
    whole.run(9, progress=False)
    part = fresh()
    part.run(5, progress=False)
    part.save(tmp_path / "a.safetensors")
    again = fresh().load(tmp_path / "a.safetensors")
    assert again.trainer.task == OTHER and again.due.seen == part.due.seen
    again.run(9, progress=False)
    for a, b in zip(whole.policy.parameters(), again.policy.parameters(), strict=True):
        assert torch.equal(a, b)
    assert again.begun.steps == whole.begun.steps


def test_without_anything_due_it_is_the_trainer():
    led, plain = made(), made().trainer
    led.run(3, progress=False)
    plain.run(3, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(led.policy.parameters(), plain.policy.parameters(), strict=True))


def test_a_watch_sees_a_fall_and_may_pass_over_a_rise():
    def alarms(watch, values):
        return [i for i, v in enumerate(values) if watch(i, {"reward": v})]

    up, down = [0.1] * 20 + [0.9] * 20, [0.9] * 20 + [0.1] * 20
    assert len(alarms(Watch(), up)) == len(alarms(Watch(), down)) == 1
    assert alarms(Watch(falls=True), up) == [] and alarms(Watch(falls=True), down) == alarms(Watch(), down)
    assert [Watch().symbol(v) for v in (-1.0, 0.0, 0.26, 0.5, 1.0, 7.0)] == [0, 0, 1, 2, 3, 3]


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: made(hot=-1), "hot must be >= 0, got -1"),
        (lambda: made(temperature=0.0), "temperature must be > 0"),
        (lambda: made(tasks={3: Sorting()}), "tasks must have the vocabulary and the horizon of the first"),
        (lambda: Watch(bins=1), "bins must be >= 2, got 1"),
        (lambda: Watch(low=1.0), "high must be > low, got 1.0 and 1.0"),
        (lambda: Watch(prior=0.0), "prior must be > 0 and at most 1"),
        (lambda: Watch("rewards")(1, {"reward": 1.0}), "figure must be one of the step's, reward, got 'rewards'"),
    ],
)
def test_bad_input_is_named(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_a_strategy_without_temperature_is_refused():
    task = Letters(horizon=2)
    policy = GPT(GPTConfig(task.vocab.size, context=8, width=16, hidden=16), 0)
    trainer = Trainer(policy, task, PolicyGradient(RunningMean()), Enumerated())
    with pytest.raises(ValueError, match="strategy must be Sampled for a temperature, got Enumerated"):
        Restarting(trainer)
