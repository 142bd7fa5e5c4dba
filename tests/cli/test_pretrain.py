from __future__ import annotations

import inspect
import shlex
from dataclasses import fields

import pytest
import torch

from toykit.cli.pretrain import PretrainSettings
from toykit.policies import GPT, GPTConfig
from toykit.training import PretrainConfig, checkpoint, load_policy, save_policy

SMALL = shlex.split(
    "--layers 1 --width 16 --heads 2 --hidden 16 --steps 12 --batch 8 -o n_digits=2 -o n_train=40 -o n_test=10"
)


def test_the_defaults_are_the_librarys():
    ours = {f.name: f.default for f in fields(PretrainSettings)}
    for config in (PretrainConfig, GPTConfig):
        for name, theirs in inspect.signature(config).parameters.items():
            if ours.get(name) is not None:
                assert ours[name] == theirs.default


def test_a_policy_is_written_with_what_made_it(toykit, tmp_path):
    found = toykit("pretrain", "chain_sum", *SMALL, "--seed", "3")
    assert found.status == 0
    path = tmp_path / "data" / "checkpoints" / "chain_sum.safetensors"
    assert f"wrote {path}" in found.out and "12 steps on chain_sum: loss 2.7" in found.out and "greedy" in found.out
    policy, meta = load_policy("chain_sum"), checkpoint.load(path, "policy")[1]
    assert (policy.vocab_size, policy.config.width, policy.context) == (16, 16, 64)
    assert meta["task"] == "chain_sum" and meta["options"] == {"n_digits": 2, "n_train": 40, "n_test": 10}
    assert meta["config"]["steps"] == 12 and meta["versions"]["torch"] == torch.__version__
    words = shlex.split(meta["command"])
    assert words[:3] == ["toykit", "pretrain", "chain_sum"] and "--out" not in words
    assert toykit(*words[1:], "--out", tmp_path / "again.safetensors").status == 0
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_another_seed_gives_another_policy_and_the_context_is_long_enough(toykit, tmp_path):
    for seed in (0, 1):
        toykit("pretrain", "chain_sum", *SMALL, "-o", "horizon=80", "--seed", seed, "--out", f"{seed}.safetensors")
    first, second = (load_policy(tmp_path / f"{seed}.safetensors") for seed in (0, 1))
    assert first.context == 84  # four tokens of prompt
    assert not torch.equal(first.embedding.weight, second.embedding.weight)
    assert toykit("pretrain", "chain_sum", *SMALL, "--context", "10", "--out", "x.safetensors").refused(
        "need 24, the context is 10"
    )


def test_a_stopped_run_goes_on_to_the_same_bytes(toykit, pressed, tmp_path):
    words = ["pretrain", "chain_sum", *SMALL, "--out", "stopped.safetensors"]
    found = toykit(*words)
    assert found.status == 130 and not (tmp_path / "stopped.safetensors").exists()
    assert "stopped with a checkpoint of step 4; to go on:" in found.err
    again = shlex.split(found.err.splitlines()[-1])
    assert again == ["toykit", "pretrain", "chain_sum", *again[3:-3], "--out", "stopped.safetensors", "--resume"]
    assert toykit(*words).refused("holds checkpoint.safetensors; add --resume")
    assert toykit(*words, "--lr", "1", "--resume").refused("got other ones: lr 1.0 (was None)")
    assert toykit(*again[1:]).status == 0
    assert toykit("pretrain", "chain_sum", *SMALL, "--out", "straight.safetensors").status == 0
    stopped, straight = ((tmp_path / f"{name}.safetensors").read_bytes() for name in ("stopped", "straight"))
    assert stopped == straight


def test_the_same_command_makes_its_file_again_and_another_is_refused(toykit, tmp_path):
    words = ["pretrain", "chain_sum", *SMALL, "--out", "x.safetensors"]
    toykit(*words)
    kept = (tmp_path / "x.safetensors").read_bytes()
    assert toykit(*words).status == 0
    assert toykit(*words, "--seed", "1").refused("out must not be another policy: 'x.safetensors' was made by `toykit")
    assert (tmp_path / "x.safetensors").read_bytes() == kept
    save_policy(tmp_path / "mine.safetensors", GPT(GPTConfig(16)))
    assert toykit("pretrain", "chain_sum", "--out", "mine.safetensors").refused("'mine.safetensors' was made by `None`")
    (tmp_path / "x.safetensors").write_bytes(kept[:-1])
    assert toykit(*words).refused("checkpoint 'x.safetensors' is truncated or not a safetensors file")


def test_a_truncated_checkpoint_is_refused(toykit, pressed, tmp_path):
    words = ["pretrain", "chain_sum", *SMALL, "--out", "x.safetensors"]
    toykit(*words)
    path = tmp_path / "runs" / "pretrain" / "x" / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    assert toykit(*words, "--resume").refused("is truncated or not a safetensors file")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["chain_sun"], "task must be one of"),
        (["bandit"], "task must have a corpus to pretrain on, 'bandit' has none"),
        (["problems.jsonl"], "task must be a name: a new model has no tokenizer to read 'problems.jsonl' with"),
        (["chain_sum", "-o", "digits=3"], "option of task chain_sum must be one of"),
        (["chain_sum", "--steps", "0"], "steps must be >= 1, got 0"),
        (["chain_sum", "--lr", "-1"], "lr must be > 0 and finite, got -1.0"),
        (["chain_sum", "--width", "9"], "width must be a multiple of twice heads, got width 9 and heads 4"),
        (["chain_sum", "--out", "x"], "out must be a .safetensors file, got 'x'"),
    ],
)
def test_bad_settings_are_refused_and_leave_nothing(toykit, tmp_path, words, message):
    assert toykit("pretrain", *words).refused(message)
    assert not list(tmp_path.iterdir())


def test_a_finished_run_leaves_its_policy_alone(toykit, tmp_path):
    toykit("pretrain", "chain_sum", *SMALL)
    left = [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()]
    assert left == ["data/checkpoints/chain_sum.safetensors"]


def test_the_task_is_an_argument_or_an_option_and_the_command_is_the_same(toykit, tmp_path):
    for words in (["chain_sum"], ["--task", "chain_sum"]):
        assert toykit("pretrain", *words, *SMALL, "--out", f"{len(words)}.safetensors").status == 0
    first, second = (checkpoint.load(tmp_path / f"{n}.safetensors")[1] for n in (1, 2))
    assert first == second and first["command"].startswith("toykit pretrain chain_sum ")
    assert (tmp_path / "1.safetensors").read_bytes() == (tmp_path / "2.safetensors").read_bytes()
    assert toykit("pretrain", "chain_sum", "--task", "letters").refused(
        "task must be given once, got 'chain_sum' and --task 'letters'"
    )
    assert toykit("pretrain").refused("task must be given: the name of a task with a corpus")


def test_a_stated_accuracy_stops_the_run_and_is_written(toykit, tmp_path):
    words = [*SMALL, "-o", "horizon=5", "--lr", "0.02", "--batch", "64", "--evaluate-every", "5", "--steps", "300"]
    found = toykit("pretrain", "chain_sum", *words, "--accuracy", "0.2")
    assert found.status == 0
    meta = checkpoint.load(tmp_path / "data" / "checkpoints" / "chain_sum.safetensors")[1]
    assert meta["accuracy"] >= 0.2 and meta["steps"] % 5 == 0 and meta["steps"] < 300
    assert f"{meta['steps']} steps on chain_sum" in found.out
    assert f"accuracy: {meta['accuracy']:.3f} on 10 held-out prompts (0.2 was asked for)" in found.out
    assert f"greedy {meta['accuracy']:.3f}" in found.out


def test_an_accuracy_that_is_not_reached_fails_and_keeps_the_checkpoint(toykit, tmp_path):
    words = ["pretrain", "chain_sum", *SMALL, "--out", "x.safetensors", "--accuracy", "1.0"]
    found = toykit(*words)
    said = found.err.splitlines()[-1]  # after the progress bar
    assert found.status == 2 and found.out == "" and not (tmp_path / "x.safetensors").exists()
    assert said.startswith("toykit: error: accuracy of 1.0 was not reached, it is 0.") and "after 12 steps" in said
    again = shlex.split(said.partition("that is kept: ")[2])
    assert again[-1] == "--resume" and again[again.index("--steps") + 1] == "24"
    assert "after 24 steps; to go on from the checkpoint that is kept" in toykit(*again[1:]).err
    assert checkpoint.load(tmp_path / "runs" / "pretrain" / "x" / "checkpoint.safetensors")[1]["step"] == 24
