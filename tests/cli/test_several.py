"""`toykit train` under a launcher."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import toykit


def launched(*arguments: str) -> subprocess.CompletedProcess:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    here = {"PYTHONPATH": str(Path(toykit.__file__).parents[1]), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.run(
        [*launcher, "-m", "toykit", *arguments],
        env={**os.environ, **here},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_two_processes_train_and_one_of_them_writes_and_prints(tmp_path):
    training = ("train", "--policy", "gpt", "--task", "chain_sum", "--objective", "grpo", "--steps", "2")
    ran = launched(*training, "--prompts", "4", "--out", str(tmp_path / "run"))
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.count("2 processes (gloo, cpu), ddp") == 1 and ran.stdout.count("wrote ") == 1
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"checkpoint.safetensors", "evaluation.json", "log.jsonl", "model", "settings.json"}
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]


def test_a_batch_that_cannot_be_divided_is_refused_and_nothing_is_written(tmp_path):
    training = ("train", "--policy", "gpt", "--task", "chain_sum", "--objective", "grpo", "--steps", "2")
    ran = launched(*training, "--prompts", "3", "--out", str(tmp_path / "run"))
    assert ran.returncode != 0
    assert "toykit: error: prompts must be a multiple of the 2 processes, got 3" in ran.stderr
    assert not (tmp_path / "run").exists()
