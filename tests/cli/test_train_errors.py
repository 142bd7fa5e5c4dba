"""`toykit train` where something is wrong: one line, status 2, and nothing that was there is touched."""

from __future__ import annotations

import json
import signal

import pytest
import torch
from safetensors.torch import save_file

from toykit.policies import GPT, GPTConfig
from toykit.training import Trainer, checkpoint, save_policy

RUN = ["--policy", "tabular", "--task", "bandit", "--objective", "grpo", "--out", "run", "--save-every", "3"]


def words(**changes):
    """A command line that would train, with some of its options changed."""
    given = {"policy": "tabular", "task": "bandit", "objective": "grpo", "out": "run", "steps": "5", **changes}
    return ["train", *(w for name, value in given.items() for w in ("--" + name.replace("_", "-"), value))]


@pytest.fixture
def stopped(toykit, monkeypatch, tmp_path):
    """A run whose fifth step was interrupted."""
    step, times = Trainer.step, iter([1])

    def pressing(self):
        made = step(self)
        if self.done == 5 and next(times, 0):
            signal.raise_signal(signal.SIGINT)
        return made

    monkeypatch.setattr(Trainer, "step", pressing)
    found = toykit("train", *RUN)
    assert found.status == 130
    return found


def everything(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"objective": "grop"}, ("objective must be one of", "got 'grop'; did you mean 'grpo'?")),
        ({"task": "bandits"}, ("task must be one of", "got 'bandits'; did you mean 'bandit'?")),
        ({"policy": "tabula"}, ("policy must be tabular, gpt, base, a .safetensors file", "did you mean 'tabular'?")),
        ({"policy": "bse"}, ("policy must be tabular, gpt, base,", "did you mean 'base'?")),
        ({"policy": "./nowhere"}, ("policy must be", "got './nowhere'")),
        ({"policy": "data/nowhere"}, ("policy must be", "got 'data/nowhere'")),
        ({"policy": "nowhere.safetensors"}, ("policy 'nowhere.safetensors' does not exist",)),
        ({"policy": "data"}, ("policy must be a folder with a transformers model (config.json), got 'data'",)),
        ({"policy": "base"}, ("policy must know the task's vocabulary of 12 tokens, its own has 5",)),
        ({"policy": "gpt", "sharing": "position"}, ("sharing must be given only for policy 'tabular'",)),
        ({"sharing": "positions"}, ("sharing must be one of", "did you mean 'position'?")),
        ({"sharing": "features"}, ("features must be given",)),
        ({"task": "chain_sum"}, ("tree is too large to enumerate",)),
        ({"policy": "gpt", "task": "letters", "enumerate": None}, (f"{18**8} completions, the limit is",)),
        ({"task": "feature_tree", "option": "horizon=30"}, (f"{4**30} completions, the limit is",)),
        ({"option": "n_arms=x"}, ("option n_arms of task bandit must be of type int, got 'x'",)),
        ({"beta": "0"}, ("beta must be > 0 and finite, got 0.0",)),
        ({"beta": "-1"}, ("beta must be > 0 and finite, got -1.0",)),
        ({"beta": "nan"}, ("beta must be > 0 and finite, got nan",)),
        ({"objective": "rloo", "beta": "1"}, ("beta must be given only for an objective with a KL penalty",)),
        ({"objective": "rloo", "reference": "reset"}, ("reference must be 'frozen' for objective 'rloo'",)),
        ({"reference": "freeze"}, ("reference must be one of",)),
        ({"group_size": "1"}, ("group_size must be >= 2 for an objective with group statistics, got 1",)),
        ({"group_size": "0"}, ("group_size must be >= 1, got 0",)),
        ({"temperature": "0"}, ("temperature must be > 0 and finite, got 0.0",)),
        ({"prompts": "0"}, ("prompts must be >= 1, got 0",)),
        ({"lr": "0"}, ("lr must be > 0 and finite, got 0.0",)),
        ({"optimizer": "adm"}, ("optimizer must be one of", "did you mean 'adam'?")),
        ({"optimizer": "natural"}, ("strategy must be Enumerated() for optimizer='natural'",)),
        ({"steps": "0"}, ("steps must be >= 1, got 0",)),
        ({"save_every": "0"}, ("save_every must be >= 1, got 0",)),
        ({"dtype": "float16"}, ("dtype must be one of bfloat16, float32, float64, got 'float16'",)),
        ({"device": "cuda"}, ("device must be one that is there, got 'cuda' where CUDA is not available; use 'cpu'",)),
        ({"device": "gpu"}, ("device must be 'cpu', 'cuda' or", "got 'gpu'")),
        ({"verifier": "exact"}, ("verifier must be given only for a .jsonl task, got task 'bandit'",)),
        ({"horizon": "3"}, ("horizon must be given only for a .jsonl task",)),
        ({"test_fraction": "0.5"}, ("test_fraction must be given only for a .jsonl task",)),
        ({"task": "none.jsonl"}, ("task 'none.jsonl' does not exist",)),
        ({"task": "some.jsonl"}, ("policy must be a transformers model for the task some.jsonl, got 'tabular'",)),
        ({"task": "some.jsonl", "option": "horizon=3"}, ("option must not be given for a .jsonl task",)),
        ({"task": "some.jsonl", "verifier": "numbr"}, ("verifier must be one of", "did you mean 'number'?")),
        ({"out": "some.jsonl"}, ("out must be a folder, got the file 'some.jsonl'",)),
        ({"out": "some.jsonl/run"}, ("Not a directory: ",)),
    ],
)
def test_what_is_wrong_is_named_and_leaves_nothing_behind(toykit, tmp_path, monkeypatch, changes, parts):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    save_policy(tmp_path / "data" / "checkpoints" / "base.safetensors", GPT(GPTConfig(5)))
    (tmp_path / "some.jsonl").write_text('{"prompt": "1+1=", "answer": "2"}\n')
    before = everything(tmp_path)
    line = [w for w in words(**changes) if w is not None]
    assert toykit(*line).refused(*parts)
    assert everything(tmp_path) == before and not (tmp_path / "run").exists()


def test_tensorboard_that_is_not_installed_is_named_at_once(toykit, monkeypatch, tmp_path):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else find(name))
    assert toykit(*words(), "--tensorboard").refused("tensorboard must be installed for its logs: pip install")
    assert not (tmp_path / "run").exists()


def test_ctrl_c_finishes_the_step_and_says_how_to_go_on(stopped, tmp_path):
    assert stopped.out == ""
    assert stopped.err.splitlines()[-2:] == [
        "stopped with a checkpoint of step 5; to go on:",
        "toykit train --policy tabular --task bandit --objective grpo --out run --save-every 3 --resume",
    ]
    run = tmp_path / "run"
    assert checkpoint.load(run / "checkpoint.safetensors", "train")[1]["step"] == 5
    assert [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()] == [1, 2, 3, 4, 5]
    assert json.loads((run / "settings.json").read_text())["settings"]["task"] == "bandit"
    assert {p.name for p in run.iterdir()} == {
        "checkpoint.safetensors",
        "evaluation.json",
        "log.jsonl",
        "settings.json",
    }


def test_a_run_that_is_there_is_not_overwritten(toykit, stopped, tmp_path):
    before = everything(tmp_path)
    assert toykit("train", *RUN).refused("out must be a folder without a run, 'run' holds checkpoint.safetensors")
    assert toykit("train", *RUN, "--lr", "0.5", "--seed", "3", "--resume").refused(
        "settings must be those of the run in 'run', got other ones: lr 0.5 (was None), seed 3 (was 0)"
    )
    assert everything(tmp_path) == before


def test_a_truncated_or_foreign_checkpoint_is_refused(toykit, stopped, tmp_path):
    path = tmp_path / "run" / "checkpoint.safetensors"
    whole = path.read_bytes()
    damages = {
        "is truncated or not a safetensors file": lambda: path.write_bytes(whole[:-1]),
        "is truncated or not": lambda: path.write_bytes(b""),
        "was not written by toykit": lambda: save_file({"weight": torch.zeros(2)}, path),
        "must be of kind 'train' and format 1, got kind 'policy'": lambda: save_policy(path, GPT(GPTConfig(5))),
        "must hold policy/table of shape [4, 8], got nothing": lambda: checkpoint.save(
            path, {}, {**checkpoint.load(path)[1]}
        ),
    }
    for message, damage in damages.items():
        path.write_bytes(whole)
        damage()
        before = everything(tmp_path)
        assert toykit("train", *RUN, "--resume").refused(message)
        assert everything(tmp_path) == before


def test_ctrl_c_before_the_first_step_leaves_nothing(toykit, monkeypatch, tmp_path):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr("toykit.cli.build.Built.evaluate", interrupted)
    found = toykit("train", *RUN)
    assert found.status == 130 and "stopped before the first checkpoint" in found.err
    assert not (tmp_path / "run").exists()
    assert found.err.endswith(" --resume\n")


def test_a_checkpoint_without_its_settings_is_refused(toykit, stopped, tmp_path):
    (tmp_path / "run" / "settings.json").unlink()
    before = everything(tmp_path)
    assert toykit("train", *RUN, "--resume").refused("out must hold the settings.json of the run that is to go on")
    assert everything(tmp_path) == before
