from __future__ import annotations

import math

import pytest
import torch

from toykit.policies import GPT, GPTConfig, TabularLM
from toykit.tasks.bandit import random_bandit
from toykit.tasks.chain_sum import ChainSum
from toykit.training import PretrainConfig, Pretrainer, evaluate
from toykit.training.evaluate import greedy_reward

TASK = ChainSum(n_digits=2, n_train=64, n_test=16, horizon=8)
CONFIG = PretrainConfig(steps=40, batch=32, lr=1e-2)


def pretrainer(config: PretrainConfig = CONFIG) -> Pretrainer:
    return Pretrainer(GPT(GPTConfig(16, context=16, layers=1, width=32, heads=2, hidden=32)), TASK, config)


def losses(made: Pretrainer, steps: int) -> list[float]:
    return [made.step()["loss"] for _ in range(steps)]


def test_the_loss_is_in_nats_a_token_and_falls():
    found = losses(pretrainer(), 40)
    assert found[0] == pytest.approx(math.log(16), abs=0.1)
    assert sum(found[-5:]) / 5 < 1.7


def test_the_same_seed_gives_the_same_policy_and_a_resumed_run_too(tmp_path):
    straight = pretrainer()
    expected = losses(straight, 20)
    first = pretrainer()
    assert losses(first, 8) == expected[:8]
    first.save(tmp_path / "x.safetensors")
    resumed = pretrainer().load(tmp_path / "x.safetensors")
    assert losses(resumed, 12) == expected[8:]
    for a, b in zip(straight.policy.parameters(), resumed.policy.parameters(), strict=True):
        assert torch.equal(a, b)
    assert losses(pretrainer(PretrainConfig(steps=40, batch=32, lr=1e-2, seed=1)), 1) != expected[:1]


def test_the_learning_rate_goes_to_0(tmp_path):
    made = pretrainer(PretrainConfig(steps=4, batch=4))
    rates = []
    for _ in range(4):
        made.step()
        rates.append(made.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([3e-3, 2.25e-3, 1.5e-3, 0.75e-3])


def test_run_stops_at_the_last_step_and_leaves_a_checkpoint(tmp_path):
    made = pretrainer(PretrainConfig(steps=6, batch=4))
    assert [f["step"] for f in made.run(tmp_path, save_every=4, progress=False)] == [1, 2, 3, 4, 5, 6]
    again = pretrainer(PretrainConfig(steps=6, batch=4)).load(tmp_path / "checkpoint.safetensors")
    assert again.run(tmp_path, progress=False) == []
    with pytest.raises(ValueError, match="was made with another config"):
        pretrainer().load(tmp_path / "checkpoint.safetensors")


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="task must have a corpus to pretrain on, 'bandit' has none"):
        Pretrainer(GPT(GPTConfig(16)), random_bandit())
    with pytest.raises(ValueError, match="policy must know the task's vocabulary of 16 tokens, its own has 5"):
        Pretrainer(GPT(GPTConfig(5)), TASK)
    for options in ({"steps": 0}, {"batch": 0}, {"lr": -1}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} must be >"):
            PretrainConfig(**options)


def test_evaluation_is_a_function_of_its_seed_and_leaves_the_generators_alone():
    policy = pretrainer().policy
    state = torch.get_rng_state()
    first = evaluate(policy, TASK, group_size=4, seed=3)
    assert first == evaluate(policy, TASK, group_size=4, seed=3)
    table = TabularLM.of(random_bandit(n_prompts=5))
    assert evaluate(table, random_bandit(n_prompts=5), seed=3) != evaluate(table, random_bandit(n_prompts=5), seed=4)
    assert first.keys() == {"reward", "best_of_4", "greedy"}
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in policy.parameters())


def test_nine_of_ten_right_is_an_accuracy_of_0_9():
    """In float32 it would be a little less, and a run that asks for 0.9 would not stop."""
    task = random_bandit(n_prompts=10, n_arms=2)
    task.rewards[:] = (torch.arange(10) < 9).double()[:, None]
    assert greedy_reward(TabularLM.of(task, dtype=torch.float32), task) == 0.9


def test_evaluation_asks_the_first_prompts_in_batches_of_any_size():
    task = random_bandit(n_prompts=5, n_arms=3)
    task.rewards[:] = torch.arange(5.0)[:, None]
    policy = TabularLM.of(task)
    expected = {"reward": 2.0, "best_of_8": 2.0, "greedy": 2.0}
    for batch in (1, 2, 256):
        assert evaluate(policy, task, batch=batch) == expected
    assert evaluate(policy, task, max_prompts=3) == {"reward": 1.0, "best_of_8": 1.0, "greedy": 1.0}
    for option in ("batch", "max_prompts", "group_size"):
        with pytest.raises(ValueError, match=f"{option} must be >= 1, got 0"):
            evaluate(policy, task, **{option: 0})
    with pytest.raises(ValueError, match="split must be one of test, train, got 'validation'"):
        evaluate(policy, task, "validation")


def test_the_learning_rate_rises_over_the_warm_up():
    config = PretrainConfig(steps=10, lr=1.0, warmup=4)
    assert [config.rate(done) for done in range(10)] == pytest.approx(
        [0.25, 0.5 * 0.9, 0.75 * 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    )
    made = pretrainer(PretrainConfig(steps=10, batch=4, lr=1.0, warmup=4))
    made.step()
    assert made.optimizer.param_groups[0]["lr"] == 0.25


def accurate(monkeypatch, *values: float) -> list[int]:
    """Gives these accuracies in turn; the list that is returned grows by one at each measurement."""
    measured, left = [], iter(values)

    def measure(policy, task, processes):
        measured.append(1)
        return next(left)

    monkeypatch.setattr("toykit.training.pretrain.greedy_reward", measure)
    return measured


def test_a_run_stops_where_its_accuracy_is_reached_and_stays_so(tmp_path, monkeypatch):
    config = PretrainConfig(steps=20, batch=4, accuracy=0.5, evaluate_every=3)
    measured = accurate(monkeypatch, 0.2, 0.5)
    made = pretrainer(config)
    figures = made.run(tmp_path, progress=False)
    assert [f.get("accuracy") for f in figures] == [None, None, 0.2, None, None, 0.5]
    assert made.finished and len(measured) == 2
    again = pretrainer(config).load(tmp_path / "checkpoint.safetensors")
    assert again.finished and again.accuracy == 0.5 and again.run(tmp_path, progress=False) == []


def test_an_accuracy_is_that_of_the_policy_as_it_is(tmp_path, monkeypatch):
    accurate(monkeypatch, 0.4, 0.3)
    made = pretrainer(PretrainConfig(steps=5, batch=4, accuracy=0.9, evaluate_every=3))
    for _ in range(3):
        made.step()
    assert made.accuracy == 0.4
    made.step()
    assert made.accuracy is None and not made.finished
    assert made.step()["accuracy"] == 0.3  # after the last step there is a measurement too


def test_a_run_that_fell_short_goes_on_with_more_steps_and_says_so(tmp_path, monkeypatch):
    accurate(monkeypatch, 0.1, 0.2, 0.8)
    short = PretrainConfig(steps=2, batch=4, accuracy=0.8)
    made = pretrainer(short)
    made.run(tmp_path, progress=False)
    assert not made.finished
    lower = pretrainer(PretrainConfig(steps=2, batch=4, accuracy=0.1)).load(tmp_path / "checkpoint.safetensors")
    assert lower.finished and lower.earlier == []
    more = pretrainer(PretrainConfig(steps=6, batch=4, accuracy=0.8, evaluate_every=100))
    more.load(tmp_path / "checkpoint.safetensors")
    more.step()
    assert more.optimizer.param_groups[0]["lr"] == pytest.approx(3e-3 * 4 / 6)
    more.save(tmp_path / "more.safetensors")
    again = pretrainer(PretrainConfig(steps=6, batch=4, accuracy=0.8, evaluate_every=100))
    again.load(tmp_path / "more.safetensors")
    assert again.earlier == [{"step": 2, "steps": 2}] == more.earlier
    for name in ("lr", "warmup", "batch", "evaluate_every", "autocast", "seed"):
        other = PretrainConfig(**{"steps": 2, "batch": 4, "accuracy": 0.8, name: 7})
        with pytest.raises(ValueError, match="was made with another config"):
            pretrainer(other).load(tmp_path / "checkpoint.safetensors")


def test_autocast_computes_in_bf16_and_keeps_the_weights():
    plain, cast = (pretrainer(PretrainConfig(steps=4, batch=8, autocast=autocast)) for autocast in (False, True))
    one, other = losses(plain, 1)[0], losses(cast, 1)[0]
    assert other != one and other == pytest.approx(one, abs=0.05)
    assert {p.dtype for p in cast.policy.parameters()} == {torch.float32}


def test_a_loss_that_is_not_finite_changes_nothing():
    made = pretrainer()
    with torch.no_grad():
        made.policy.norm[0] = math.nan
    before = [p.clone() for p in made.policy.parameters()]
    with pytest.raises(ValueError, match="loss must be finite, got nan in step 1; a smaller lr may help"):
        made.step()
    assert made.done == 0
    for a, b in zip(before, made.policy.parameters(), strict=True):
        assert torch.equal(a, b) or not a.isfinite().all()


def test_settings_of_the_accuracy_are_checked():
    for accuracy in (0.0, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"accuracy must be in \(0, 1\], got"):
            PretrainConfig(accuracy=accuracy)
    for name, least in {"evaluate_every": 1, "warmup": 0}.items():
        with pytest.raises(ValueError, match=f"{name} must be >= {least}, got {least - 1}"):
            PretrainConfig(**{name: least - 1})
