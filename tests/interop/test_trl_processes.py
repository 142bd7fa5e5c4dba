"""Two processes under torchrun, with a group that is spread over both, train as one does."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("trl")
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")

HERE = Path(__file__).parent
OBJECTIVES = ("lite_ppo", "dpg")  # statistics of the batch and its tokens; a reference and a moving Z


def test_two_processes_end_at_the_table_of_one(tmp_path, monkeypatch):
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")  # completions of our own making are an experiment of TRL's
    paths = os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*launch, str(HERE / "spread.py"), str(tmp_path), *OBJECTIVES],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    spec = importlib.util.spec_from_file_location("spread", HERE / "spread.py")
    spread = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(spread)
    for name in OBJECTIVES:
        spread.main(name, str(tmp_path))
        (processes, ours), (one, alone) = (torch.load(tmp_path / f"{name}-{n}.pt") for n in (2, 1))
        assert (processes, one) == (2, 1)
        assert (ours - alone).abs().max() < 1e-9 < alone.abs().max()
