"""Two processes train as one does, with DDP and with FSDP2: the same figures, parameters and checkpoints.

One test for each, so that each is launched once.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import toykit
from toykit.training import checkpoint

SCRIPT = Path(__file__).with_name("several.py")
spec = importlib.util.spec_from_file_location("several", SCRIPT)
several = importlib.util.module_from_spec(spec)
spec.loader.exec_module(several)

Said = dict[str, Any]
Read = Callable[[str, str, str], dict[str, torch.Tensor]]


@pytest.mark.parametrize("sharding", several.SHARDING)
def test_two_processes_are_as_one(sharding, tmp_path):
    expected = {name: several.follow(name, tmp_path / "one", None) for name in several.CASES}
    first, second = launched(tmp_path, sharding)

    def read(who: str, case: str, name: str) -> dict[str, torch.Tensor]:
        return checkpoint.load(tmp_path / who / case / f"{name}.safetensors")[0]

    assert first["line"] == second["line"] == f"2 processes (gloo, cpu), {sharding}"
    assert first["cases"] == second["cases"]
    refused_alike(first["refused"], second["refused"])
    for case, alone in expected.items():
        print(case)  # shown where it fails
        has_moved(read("one", case, "half"), read("one", case, "end"), alone["straight"])
        the_same(alone["straight"], first["cases"][case]["straight"])
        near(read("one", case, "end"), read(sharding, case, "end"))
        near(read("one", case, "plain"), read(sharding, case, "plain"))
        goes_on_in_another_number(case, tmp_path / sharding, alone["straight"], first["cases"][case]["resumed"])
        near(read("one", case, "end"), read(sharding, case, "resumed"))
        near(read("one", case, "end"), read(sharding, case, "back"))


def launched(folder: Path, sharding: str) -> tuple[Said, Said]:
    """What the two processes say. The second fails in the end while the first waits for it, which must not last."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    here = {"PYTHONPATH": str(Path(toykit.__file__).parents[1]), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    ran = subprocess.run(
        [*launcher, SCRIPT, folder, sharding], env={**os.environ, **here}, capture_output=True, text=True, timeout=300
    )
    ended, left = time.time(), [folder / sharding / f"{rank}.json" for rank in (0, 1)]
    assert all(path.exists() for path in left), ran.stderr[-5000:]
    assert ran.returncode != 0 and "only the second process fails" in ran.stderr
    assert ended - left[0].stat().st_mtime < 60
    first, second = (json.loads(path.read_text()) for path in left)
    return first, second


def refused_alike(first: dict[str, str], second: dict[str, str]) -> None:
    assert first == second
    assert first.pop("policy").startswith("policy must be the same in all processes, its parameters sum to [")
    assert first == {
        "batch of rows": "batch must be a multiple of the 2 processes, got 3",
        "prompts": "prompts must be a multiple of the 2 processes, got 3",
        "batch": "batch must be a multiple of the 2 processes, got 5",
        "compile": "compile must be False for sharding 'fsdp', whose layers gather their weights as they run",
        "sharding": "sharding must be 'ddp' where FSDP2 cannot shard weights of several types in one layer, "
        "got torch.float32, torch.float64",
        "optimizer": "optimizer must not be 'natural' in several processes, got it in 2",
    }


def has_moved(begun: dict[str, torch.Tensor], ended: dict[str, torch.Tensor], steps: list[dict[str, float]]) -> None:
    """There was something to compare."""
    assert max(float((ended[k] - v).abs().max()) for k, v in begun.items() if k.startswith("policy/")) > 1e-4
    assert steps[-1]["loss"] != 0


def the_same(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert list(a) == list(b)
        assert b == pytest.approx(a, rel=1e-6, abs=1e-6)


def near(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    """The same names, shapes and types, and the same numbers to 1e-6."""
    assert list(a) == list(b)
    for k, v in a.items():
        assert v.dtype == b[k].dtype and torch.allclose(v.double(), b[k].double(), rtol=0, atol=1e-6), k


def goes_on_in_another_number(
    case: str, folder: Path, straight: list[dict[str, float]], resumed: list[dict[str, float]]
) -> None:
    """Two processes went on from a checkpoint of one (`resumed`), and one goes on from a checkpoint of two."""
    expected = straight[several.HALF :]
    the_same(expected, resumed)
    made = several.CASES[case](None).load(folder / case / "half.safetensors")
    the_same(expected, several.figures(made, several.STEPS - several.HALF))
    made.save(folder / case / "back.safetensors")
