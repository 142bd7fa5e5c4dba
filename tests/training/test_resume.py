"""A resumed run is the same run, bit for bit."""

from __future__ import annotations

import json
import multiprocessing
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from toykit.objectives import method
from toykit.policies import GPT, GPTConfig, TabularLM
from toykit.rewards import Shaping, length
from toykit.rollouts import Enumerated, Sampled
from toykit.tasks.bandit import random_bandit
from toykit.tasks.chain_sum import ChainSum
from toykit.training import Reference, TrainConfig, Trainer, checkpoint

SAMPLED = Sampled(4)
CASES = {
    "adam, minibatches, pieces": ("grpo", SAMPLED, {"prompts": 4, "epochs": 2, "minibatch": 2, "micro_size": 3}),
    "sgd, a reference that is reset": (
        "kl_rl",
        SAMPLED,
        {"optimizer": "sgd", "reference": Reference("reset", every=3)},
    ),
    "natural, a moving reference": (
        "kl_rl",
        Enumerated(),
        {"optimizer": "natural", "reference": Reference("average", decay=0.9)},
    ),
    "a critic": ("ppo", SAMPLED, {"epochs": 2}),
    "a moving log Z": ("gdc", SAMPLED, {"prompts": 3}),
    "a running mean": ("ob_rl", SAMPLED, {"prompts": 3}),
    "an entropy bonus": ("a2c", SAMPLED, {"micro_size": 3}),
    "draws again, with shaping": ("dapo", SAMPLED, {"prompts": 2}),
    "a value of each prompt, one completion": ("mssr", Sampled(1), {"prompts": 4, "epochs": 2}),
    "a buffer of what is left": ("rorecomp", SAMPLED, {"prompts": 4, "epochs": 2}),
    "evaluates, clips gradients": ("rloo", SAMPLED, {"evaluate_every": 2, "max_grad_norm": 0.1}),
}


def trainer(case: str) -> Trainer:
    name, strategy, options = CASES[case]
    task = random_bandit(n_prompts=6, n_arms=5)
    return Trainer(TabularLM.of(task), task, name, strategy, TrainConfig(lr=0.05, **options))


def on_gpt() -> Trainer:
    task = ChainSum(n_digits=(2, 3), n_train=16, n_test=4, horizon=8)
    policy = GPT(GPTConfig(16, context=16, layers=2, width=16, heads=2, hidden=16))
    shorter = Shaping({"length": (-1.0, length)})  # which an untrained policy can learn
    return Trainer(policy, task, "grpo", SAMPLED, TrainConfig(prompts=4, epochs=2), shaping=shorter)


def state(made: Trainer, path: Path) -> dict[str, bytes]:
    """Everything that a checkpoint holds, by name."""
    made.save(path)
    tensors, meta = checkpoint.load(path)
    return {name: value.numpy().tobytes() for name, value in tensors.items()} | {"meta": json.dumps(meta).encode()}


def figures(made: Trainer, steps: int) -> list[dict[str, float]]:
    return [{k: v for k, v in made.step().items() if k != "seconds"} for _ in range(steps)]


@pytest.mark.parametrize("case", [*CASES, "gpt"])
def test_ten_steps_are_five_and_five_after_a_checkpoint(case, tmp_path):
    def fresh() -> Trainer:
        return on_gpt() if case == "gpt" else trainer(case)

    straight = fresh()
    expected = figures(straight, 10)
    first = fresh()
    figures(first, 5)
    first.save(tmp_path / "half.safetensors")
    resumed = fresh().load(tmp_path / "half.safetensors")
    assert resumed.done == 5
    assert figures(resumed, 5) == expected[5:]
    assert state(resumed, tmp_path / "a") == state(straight, tmp_path / "b")
    moved = parameters(straight) - parameters(fresh())
    assert moved.abs().max() > 1e-3


def parameters(made: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in made.parameters])


def test_a_run_goes_on_from_its_checkpoint_and_its_log_with_it(tmp_path):
    """Lines that a killed run wrote after its last checkpoint, and a line cut short, are dropped."""
    case = "adam, minibatches, pieces"
    trainer(case).run(4, tmp_path, save_every=2, progress=False)
    log = tmp_path / "log.jsonl"
    lines = log.read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]
    log.write_text("\n".join([*lines, '{"step": 5, "reward": 0.1}', '{"step": 6, "rew']))
    history = trainer(case).load(tmp_path / "checkpoint.safetensors").run(7, tmp_path, save_every=2, progress=False)
    assert [f["step"] for f in history] == [5, 6, 7]
    kept = [json.loads(line) for line in log.read_text().splitlines()]
    assert [f["step"] for f in kept] == [1, 2, 3, 4, 5, 6, 7] and kept[4:] == history
    straight = trainer(case)
    straight.run(7, progress=False)
    assert state(straight, tmp_path / "a") == state(
        trainer(case).load(tmp_path / "checkpoint.safetensors"), tmp_path / "b"
    )


class Interrupted(Trainer):
    """Presses Ctrl-C in its third step, `times` times."""

    times = 1

    def step(self) -> dict[str, float]:
        made = super().step()
        if self.done == 3:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)
        return made


def interrupted(times: int) -> Interrupted:
    task = random_bandit(n_prompts=6, n_arms=5)
    made = Interrupted(TabularLM.of(task), task, "grpo", SAMPLED, TrainConfig(lr=0.05))
    made.times = times
    return made


def test_ctrl_c_leaves_a_checkpoint_of_the_last_step(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupted(1).run(10, tmp_path, progress=False)
    assert signal.getsignal(signal.SIGINT) is before
    resumed = interrupted(0).load(tmp_path / "checkpoint.safetensors")
    assert resumed.done == 3
    resumed.run(6, progress=False)
    straight = interrupted(0)
    straight.run(6, progress=False)
    assert state(resumed, tmp_path / "a") == state(straight, tmp_path / "b")


def test_a_second_ctrl_c_interrupts_at_once(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        interrupted(2).run(10, tmp_path, save_every=2, progress=False)
    assert interrupted(0).load(tmp_path / "checkpoint.safetensors").done == 2


# Run in processes of its own, which know nothing of this file.
LIFE = """
import torch
from pathlib import Path
from toykit.policies import TabularLM
from toykit.rewards import Shaping, length
from toykit.rollouts import Sampled
from toykit.tasks.bandit import random_bandit
from toykit.training import TrainConfig, Trainer

torch.set_num_threads(1)
task = random_bandit(n_prompts=6, n_arms=5)
trainer = Trainer(TabularLM.of(task), task, "grpo", Sampled(4), TrainConfig(lr=0.01, prompts=4, epochs=2))
last = Path(out) / "checkpoint.safetensors"
if last.exists():
    trainer.load(last)
trainer.run(steps, out, save_every=3, progress=False)
"""


def test_a_run_that_is_killed_at_20_random_moments_ends_as_if_nothing_had_been(tmp_path):
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["toykit.training", "torch._dynamo"])  # what every life would import
    moments = random.Random(0)
    out, reached = tmp_path / "run", []
    last = out / "checkpoint.safetensors"

    def life(steps: int):
        process = processes.Process(target=exec, args=(LIFE, {"out": str(out), "steps": steps}))
        process.start()
        return process

    def stamp() -> int:
        return last.stat().st_mtime_ns if last.exists() else 0

    for kill in range(20):
        process, before = life(10**9), stamp()
        while kill % 2 == 0 and stamp() == before and process.is_alive():  # every other one writes a checkpoint first
            time.sleep(0.002)
        time.sleep(moments.uniform(0.0, 0.15))  # while it starts, reads its checkpoint, steps or writes
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        reached.append(checkpoint.load(last, "train")[1]["step"])
    assert reached == sorted(reached) and len(set(reached)) >= 10
    steps = reached[-1] + 5
    process = life(steps)
    process.join()
    assert process.exitcode == 0
    task = random_bandit(n_prompts=6, n_arms=5)
    config = TrainConfig(lr=0.01, prompts=4, epochs=2)
    straight = Trainer(TabularLM.of(task), task, "grpo", SAMPLED, config)
    straight.run(steps, progress=False)
    resumed = Trainer(TabularLM.of(task), task, "grpo", SAMPLED, config).load(last)
    assert state(resumed, tmp_path / "a") == state(straight, tmp_path / "b")
    lines = [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert lines == list(range(1, steps + 1))
    assert {file.name for file in out.iterdir()} == {"checkpoint.safetensors", "log.jsonl"}  # no half-written ones


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    made = trainer("a moving log Z")
    made.save(path)
    task = random_bandit(n_prompts=6, n_arms=5)
    with pytest.raises(ValueError, match="was made with another config; lr, prompts differ"):
        Trainer(TabularLM.of(task), task, "gdc", SAMPLED, TrainConfig(lr=0.1)).load(path)
    other = random_bandit(n_prompts=6, n_arms=4)
    with pytest.raises(ValueError, match=r"checkpoint must hold policy/table of shape \[6, 4\], got shape \[6, 5\]"):
        Trainer(TabularLM.of(other), other, "gdc", SAMPLED, made.config).load(path)
    with pytest.raises(ValueError, match="checkpoint must hold critic/table of shape .*, got nothing"):
        Trainer(TabularLM.of(task), task, "ppo", SAMPLED, made.config).load(path)
    Trainer(TabularLM.of(task), task, "rloo", SAMPLED, made.config).save(path)
    for name in ("gdc", "kl_rl"):
        with pytest.raises(ValueError, match="checkpoint must hold"):
            Trainer(TabularLM.of(task), task, method(name), SAMPLED, made.config).load(path)


def test_a_checkpoint_that_is_refused_leaves_the_trainer_as_it_was(tmp_path):
    path, task = tmp_path / "checkpoint.safetensors", random_bandit(n_prompts=6, n_arms=5)

    def made(name: str) -> Trainer:
        return Trainer(TabularLM.of(task), task, name, SAMPLED, TrainConfig(lr=0.05))

    trained = made("kl_rl")  # with a reference, without log Z or a critic
    figures(trained, 3)
    trained.save(path)
    for name, missing in {"gdc": "log_z/ids", "ppo": "critic/table"}.items():
        other = made(name)
        before = parameters(other)
        with pytest.raises(ValueError, match=f"checkpoint must hold {missing}"):
            other.load(path)
        assert torch.equal(parameters(other), before) and other.done == 0
