"""What is shipped under data/: small, and each thing says how it was made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toykit.lessons import load
from toykit.policies import check_fits
from toykit.tasks import make
from toykit.training import checkpoint, load_policy

DATA = Path(__file__).parents[1] / "data"
BASES = sorted((DATA / "checkpoints").glob("*.safetensors"))
RECORDS = sorted((DATA / "results").glob("[0-9][0-9]/*.json"))


@pytest.mark.parametrize("path", BASES, ids=lambda p: p.stem)
def test_a_base_policy_fits_its_task_and_names_the_command_that_makes_it(path):
    meta = checkpoint.load(path, "policy")[1]
    assert meta["command"].startswith(f"toykit pretrain {meta['task']}")
    task = make(meta["task"], **{k: tuple(v) if isinstance(v, list) else v for k, v in meta["options"].items()})
    check_fits(load_policy(path.stem), task.vocab, task.prompts().tokens.shape[1], task.horizon)


def test_all_base_policies_together_are_a_few_megabytes():
    assert BASES
    assert sum(path.stat().st_size for path in BASES) < 8_000_000


@pytest.mark.parametrize("path", RECORDS, ids=lambda p: f"{p.parent.name}_{p.stem}")
def test_a_recorded_result_names_its_lesson_command_versions_device_and_seeds(path):
    made = json.loads(path.read_text())["made"]
    lesson = load(path.parent.name)
    assert made["command"].startswith(f"toykit run {lesson.number} --rung {path.stem}")
    assert made["seeds"] == list(lesson.experiments[path.stem].seeds)
    assert {"python", "toykit", "torch"} <= set(made["versions"])
    assert made["device"] and made["seconds"] > 0
