"""The Python of docs/interop.md runs, and its table is what the code says."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from toykit.interop import verl_methods
from toykit.interop.trl import objective_trainer
from toykit.objectives import CATALOGUE

TEXT = (Path(__file__).parents[2] / "docs" / "interop.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def runs_in_trl(name: str) -> bool:
    try:
        objective_trainer(name)
    except ValueError:
        return False
    return True


def test_the_table_says_who_runs_what():
    rows = [re.split(r" \| ", row.strip("| ")) for row in TEXT.splitlines() if row.startswith("| `")]
    said = {name: cells for names, *cells in rows for name in re.findall(r"`(\w+)`", names)}
    assert said.keys() == CATALOGUE.keys()
    for name, (trl, verl) in said.items():
        assert runs_in_trl(name) == (trl == "yes"), name
        assert (name in verl_methods.expressible()) == (verl == "yes"), name


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
def test_the_blocks_on_trl_run(tmp_path, monkeypatch):
    pytest.importorskip("trl")
    monkeypatch.chdir(tmp_path)
    made: dict = {}
    for block in BLOCKS[:2]:
        exec(block, made)
    assert made["trainer"].state.global_step == 2 and made["trainer"].reference is not None


def test_the_block_on_verl_prints_what_stands_below_it(core_algos, capsys):
    exec(BLOCKS[2], {})
    assert capsys.readouterr().out == re.search(r"```text\n(.*?)```", TEXT, re.DOTALL)[1]
    assert len(BLOCKS) == 3 and "toykit.interop.verl" in sys.modules
