"""Commands that torchrun starts twice: one run, one set of files, and one process can go on with it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import toykit as package

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
PRETRAIN = ["chain_sum", "--steps", "4", "--batch", "8", "--layers", "1", "--width", "16", "--heads", "2"]
TRAIN = ["--policy", "tabular", "--task", "bandit", "--objective", "rloo"]
LESSON = ["13", "--rung", "llm", "--size", "tiny", "--seed", "0"]

# Several commands of one pair of processes, which import everything once; the lesson is made short.
SCRIPT = """
import dataclasses, json, sys
from toykit.cli import app
from toykit.lessons.l13_brorl import sampled
from toykit.training import PretrainConfig, joined

tiny = sampled.SIZES["tiny"]
short = dataclasses.replace(tiny.plan, before=1, stops=(0, 2))
sampled.SIZES["tiny"] = dataclasses.replace(tiny, pretrain=PretrainConfig(steps=2, batch=8), plan=short)
with joined():
    for words in json.loads(sys.argv[1]):
        app(words, prog_name="toykit", standalone_mode=False)
"""


def started(words: list[str], folder: Path) -> subprocess.Popen[str]:
    """A python in a folder."""
    here = {"PYTHONPATH": str(Path(package.__file__).parents[1]), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    env = {**os.environ, **here, "TOYKIT_DATA": str(folder / "data")}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *words], cwd=folder, env=env, stdout=pipe, stderr=pipe, text=True)


def files(folder: Path) -> list[str]:
    found = [p for p in folder.rglob("*") if p.is_file() and p.name != ".lock"]  # what trains together locks nothing
    return sorted(p.relative_to(folder).as_posix() for p in found)


def near(a: Path, b: Path) -> None:
    ours, theirs = load_file(a), load_file(b)
    assert list(ours) == list(theirs)
    for name, value in ours.items():
        assert torch.allclose(value, theirs[name], rtol=0, atol=1e-5), name


def test_commands_of_two_processes_print_and_write_once_what_one_does(toykit, tmp_path):
    both, alone = tmp_path / "both", tmp_path / "alone"
    commands = [
        ["pretrain", *PRETRAIN, "--sharding", "fsdp", "--out", "gpt.safetensors"],
        ["pretrain", *PRETRAIN, "--sharding", "fsdp", "--out", "qwen3", "--config", "qwen3-60m"],
        ["train", *TRAIN, "--steps", "2", "--sharding", "fsdp", "--out", "run"],
        ["run", *LESSON, "--out", "lesson"],
    ]
    for folder in (both, alone):
        folder.mkdir()
        (folder / "script.py").write_text(SCRIPT)
    single = started(["script.py", json.dumps(commands)], alone)
    pair = started([*TORCHRUN, "script.py", json.dumps(commands)], both)
    out, err = pair.communicate(timeout=300)
    assert pair.returncode == 0, err[-5000:]
    counts = [line for line in out.splitlines() if "process" in line]
    assert counts == [*["2 processes (gloo, cpu), fsdp"] * 3, "2 processes (gloo, cpu), ddp"]
    assert (out.count("4 steps on chain_sum"), out.count("2 steps of rloo on bandit"), out.count("wrote ")) == (2, 1, 4)

    assert "process" not in single.communicate(timeout=300)[0] and single.returncode == 0
    assert files(both) == files(alone)
    written = [name for name in files(both) if name.endswith(".safetensors")]
    assert {"gpt.safetensors", "qwen3/model.safetensors", "run/model/model.safetensors"} < {*written}
    for name in written:
        if not name.startswith("lesson"):  # whose draws, in float32, may differ by a rounding
            near(both / name, alone / name)
    ours, theirs = (json.loads((folder / "run" / "evaluation.json").read_text()) for folder in (both, alone))
    assert ours["after"] == pytest.approx(theirs["after"]) and ours["after"] != ours["before"]
    judged = json.loads((both / "lesson" / "claims.json").read_text())
    assert [claim["claim"] for claim in judged] == ["L1", "L2", "L3", "L4"]


def test_ctrl_c_stops_two_processes_after_one_step_and_one_process_goes_on(toykit, tmp_path):
    words = ["train", *TRAIN, "--out", "run"]
    pair = started([*TORCHRUN, "-m", "toykit", *words, "--steps", "100000", "--save-every", "100000"], tmp_path)
    log = tmp_path / "run" / "log.jsonl"
    while not (log.exists() and log.read_text().count("\n") >= 2):
        assert pair.poll() is None, pair.communicate()
        time.sleep(0.05)
    pair.send_signal(signal.SIGINT)
    out, err = pair.communicate(timeout=120)
    assert pair.returncode != 0 and out == "2 processes (gloo, cpu), ddp\n"
    done = len(log.read_text().splitlines())
    (said,) = [line for line in err.splitlines() if "stopped with" in line]
    assert said == f"stopped with a checkpoint of step {done}; to go on:"
    (again,) = [line for line in err.splitlines() if line.endswith(" --resume")]
    assert files(tmp_path / "run") == ["checkpoint.safetensors", "evaluation.json", "log.jsonl", "settings.json"]

    steps = ["--steps", str(done + 2)]
    assert toykit(*shlex.split(again)[1:], *steps).status == 0
    assert toykit(*words, *steps, "--out", "straight").status == 0
    assert files(tmp_path / "run") == files(tmp_path / "straight")
    near(tmp_path / "run" / "model" / "model.safetensors", tmp_path / "straight" / "model" / "model.safetensors")


def test_a_batch_that_cannot_be_divided_is_refused_at_once_and_nothing_is_written(tmp_path):
    words = ["-m", "toykit", "train", *TRAIN, "--prompts", "3", "--out", "run"]
    pair = started([*TORCHRUN, *words], tmp_path)
    out, err = pair.communicate(timeout=120)
    assert pair.returncode != 0 and out == ""
    assert "toykit: error: prompts must be a multiple of the 2 processes, got 3" in err
    assert files(tmp_path) == []


def test_a_launch_that_runs_one_process_is_told(toykit, monkeypatch):
    words = ["train", *TRAIN, "--steps", "1"]
    assert "process" not in toykit(*words, "--out", "a").out
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")  # `accelerate launch --cpu --num_processes 2` sets no more
    assert toykit(*words, "--out", "b").out.splitlines()[0] == "1 process (cpu)"


def test_a_launcher_that_says_too_little_is_refused(toykit, monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    words = ["train", *TRAIN, "--out", "run"]
    assert toykit(*words).refused("RANK must be set where WORLD_SIZE is 2")
    assert toykit(*words, "--device", "cuda:1").refused("device must be 'cuda' where several processes share")
    assert not list(tmp_path.iterdir())


def test_an_unknown_sharding_is_refused(toykit):
    words = ["train", *TRAIN, "--out", "run"]
    assert toykit(*words, "--sharding", "fsdq").refused("sharding must be one of ddp, fsdp, got 'fsdq'")
