"""The examples of CONTRIBUTING.md are whole: a method and a lesson made from them work as any other."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

from toykit.lessons import claims, load, registry
from toykit.objectives import CATALOGUE, catalogue, method
from toykit.policies import TabularLM
from toykit.rollouts import Enumerated
from toykit.tasks.bandit import tricks_tree
from toykit.training import TrainConfig, Trainer

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
FILES = dict(re.findall(r"`toykit/(\w+/\w+)\.py`:\n\n```python\n(.*?)```", TEXT, re.DOTALL))
LINE = re.search(r"```python\n(\"squashed\": .*?)```", TEXT, re.DOTALL)[1]


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes a file of the text and imports it under its name in toykit."""

    def write(name: str):
        path = tmp_path / f"{name.split('/')[-1]}.py"
        path.write_text(FILES[name])
        full = f"toykit.{name.replace('/', '.')}"
        spec = importlib.util.spec_from_file_location(full, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, full, module)
        spec.loader.exec_module(module)
        return full, module

    return write


def test_a_method_is_one_file_and_one_line(written, monkeypatch):
    _, module = written("objectives/squashed")
    names = {**vars(catalogue), "Squashed": module.Squashed}
    for name, made in eval(f"{{{LINE}}}", names).items():
        monkeypatch.setitem(CATALOGUE, name, made)
    task, logits = tricks_tree()
    policy = TabularLM.of(task, logits=logits)
    trainer = Trainer(policy, task, method("squashed"), Enumerated(), TrainConfig(lr=0.3))
    rewards = [next(iter(trainer))["reward"] for _ in range(40)]
    assert rewards[-1] > rewards[0] + 0.1
    with pytest.raises(ValueError, match="beta must be > 0"):
        module.Squashed(0.0)


def test_a_lesson_is_one_module(written, monkeypatch):
    full, module = written("lessons/l99_baseline")
    found = registry.modules()
    monkeypatch.setattr(registry, "modules", lambda: {**found, "99": full})
    assert load("baseline") is load("99") is module.LESSON
    (row,) = claims(load("99"))
    assert row["holds"] is True and row["claim"] == "C1"
    assert json.loads(json.dumps(registry.row(module.LESSON)))["rungs"] == ["exact"]
