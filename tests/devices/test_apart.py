"""Nothing relies on tensors in the CPU's memory: what is to run on CUDA runs on a device that is apart from the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from toykit.lessons.registry import modules

SCRIPT = Path(__file__).parent / "apart.py"
PROBE = """
import sys, torch
sys.path.insert(0, sys.argv[1])
import apart
apart.install()
x, here = torch.ones(2, device=apart.NAME), torch.ones(2)
assert (x + 1).tolist() == [2, 2] and x.sum().item() == 2 and x.to("cpu").add(here).tolist() == [2, 2]
for wrong in (
    lambda: x + here,
    lambda: x.numpy(),
    lambda: here[torch.zeros(1, dtype=torch.int64, device=apart.NAME)],
    lambda: torch.rand(2, device=apart.NAME, generator=torch.Generator()),
    lambda: torch.rand(2, generator=torch.Generator(apart.NAME)),
):
    try:
        wrong()
    except (RuntimeError, TypeError) as error:
        print(type(error).__name__)
"""
COMMON = ("02", "12", "29", "54")  # gradients a prompt, values and offline data, reward models, minibatches


def said(*words: str) -> dict[str, str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(SCRIPT), *words], env=env, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-5000:]
    return dict(json.loads(line) for line in done.stdout.splitlines())


def test_the_device_refuses_what_a_gpu_refuses():
    probe = subprocess.run([sys.executable, "-c", PROBE, str(SCRIPT.parent)], capture_output=True, text=True)
    assert probe.stdout.split() == ["RuntimeError", "TypeError", "RuntimeError", "RuntimeError", "RuntimeError"], probe


def test_every_method_of_the_catalogue_takes_a_step_there():
    found = said("methods")
    assert len(found) > 30 and set(found.values()) == {"well"}, found


def test_llm_recipes_find_there_what_they_find_on_the_cpu():
    assert said(*COMMON) == dict.fromkeys(COMMON, "well")


@pytest.mark.slow
def test_all_llm_recipes_do():
    rest = [number for number in modules() if number not in COMMON]
    assert said(*rest) == dict.fromkeys(rest, "well")
