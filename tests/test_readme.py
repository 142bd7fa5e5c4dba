"""The README's Python and its training command run as they stand there."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from toykit.cli.commands import app

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMAND = re.search(r"^\$ toykit (train .*?)\ntrain:", TEXT, re.DOTALL | re.MULTILINE)[1].replace("\\\n", " ")


def block(start: str) -> str:
    (found,) = [b for b in BLOCKS if start in b]
    return found


def test_the_trainer_example_prints_an_expectation_and_an_estimate(capsys):
    exec(block("Enumerated, Sampled"), {})
    rows = [[float(x) for x in line.split()] for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 10 and all(0 < exact < 1 and 0 < sampled < 1 for exact, sampled in rows)
    assert [exact for exact, _ in rows] == sorted(exact for exact, _ in rows)


def test_the_preference_example_widens_the_margin(capsys):
    exec(block("OfflineTrainer"), {})
    rows = [[float(x) for x in line.split()] for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 10 and rows[0][1] == 0
    assert all(later[1] > earlier[1] and later[0] < earlier[0] for earlier, later in pairwise(rows))


def test_the_environment_example_runs():
    made: dict = {}
    exec(block("gymnasium.make"), made)
    assert made["state"] == 1 + 2 and made["reward"] == 0 and not made["terminated"]  # after the first of three tokens


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_your_own_problems_and_model_train_and_load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    exec(block("# model.py"), {})
    (tmp_path / "reward.py").write_text(block("# reward.py"))
    arguments = [*shlex.split(COMMAND), "--steps", "2"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    made: dict = {}
    exec(block("runs/mine/model"), made)
    ids = made["tokenizer"]("What is 6 times 7?", return_tensors="pt").input_ids
    assert made["tokenizer"].decode(ids[0]) == "What is 6 times 7?"
    assert made["model"](input_ids=ids).logits.shape[-1] == len(made["tokenizer"])
