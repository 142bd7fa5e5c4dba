"""`toykit doctor`: what there is, what works, and why the rest does not."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from toykit import __version__
from toykit.cli import doctor

ROOT = Path(__file__).parents[2]


def part(found, name):
    (row,) = [row for row in found["works"] if row["part"] == name]
    return row


def test_the_report_for_programs_holds_everything(toykit):
    found = toykit("doctor", "--json").json
    assert list(found) == ["versions", "system", "device", "memory", "threads", "extras", "works"]
    assert found["versions"]["toykit"] == __version__ and found["versions"]["torch"] == torch.__version__
    assert found["threads"]["torch"] == torch.get_num_threads() and found["threads"]["processors"] >= 1
    assert part(found, "exact and gpt rungs") == {"part": "exact and gpt rungs", "works": True, "why": ""}
    assert all(row["works"] == (row["why"] == "") for row in found["works"])


def test_the_extras_are_those_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {
        extra: {re.split(r"[<>=~! ]", wanted)[0] for wanted in packages}
        for extra, packages in project["optional-dependencies"].items()
    }
    assert {extra: set(packages) for extra, packages in doctor.EXTRAS.items()} == names
    assert set(doctor.CORE) <= {re.split(r"[<>=~! ]", wanted)[0] for wanted in project["dependencies"]}


def test_an_extra_that_is_not_whole_names_what_is_missing(toykit, monkeypatch):
    monkeypatch.setitem(doctor.EXTRAS, "lab", ("no-such-one", "typer"))
    found = toykit("doctor", "--json").json
    assert found["extras"]["lab"] == {"installed": False, "missing": ["no-such-one"]}
    assert "extra lab   without no-such-one" in toykit("doctor").out
    assert doctor._there("lab", "no-such-one", "typer")() == "not installed: no-such-one; pip install 'toykit[lab]'"


def test_a_package_that_is_there_but_broken_does_not_work(toykit, monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)  # importing it raises ImportError
    row = part(toykit("doctor", "--json").json, "gymnasium environments")
    assert row["works"] is False
    assert row["why"].startswith("gymnasium cannot be imported: ") and row["why"].endswith("; pip install gymnasium")


@pytest.mark.parametrize(("built", "why"), [(None, "built without CUDA"), ("13.0", "finds no CUDA device")])
def test_without_cuda_it_says_whether_torch_or_the_machine_is_the_reason(toykit, monkeypatch, built, why):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built)
    row = part(toykit("doctor", "--json").json, "llm rung at full size")
    assert row["works"] is False and why in row["why"]


def test_a_machine_with_cuda_is_described(toykit, monkeypatch):
    card = {"name": "a card", "memory": 80 * 2**30, "bf16": True}
    monkeypatch.setattr(doctor, "_device", lambda: {"cuda": [card], "cuda_built": "13.0"})
    assert part(toykit("doctor", "--json").json, "llm rung at full size")["works"] is True
    assert "a card (80.0 GiB)" in toykit("doctor").out


def test_without_a_compiler_there_is_no_torch_compile(toykit, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert "no C++ compiler" in part(toykit("doctor", "--json").json, "torch.compile")["why"]
    monkeypatch.setenv("CXX", "one")
    assert part(toykit("doctor", "--json").json, "torch.compile")["works"] is True


def test_base_policies_that_are_not_there_are_missed(toykit, tmp_path):
    name = "base policies and recorded results"
    why = part(toykit("doctor", "--json").json, name)["why"]
    assert "no base policy in" in why and "TOYKIT_DATA" in why
    (tmp_path / "data" / "checkpoints").mkdir(parents=True)
    (tmp_path / "data" / "checkpoints" / "x.safetensors").write_bytes(b"")
    assert part(toykit("doctor", "--json").json, name)["works"] is True


def test_results_are_not_recorded_where_the_data_folder_cannot_be_made(toykit, tmp_path):
    assert part(toykit("doctor", "--json").json, "recording results")["works"] is True
    (tmp_path / "data").write_text("a file in its place")
    assert "cannot be written to" in part(toykit("doctor", "--json").json, "recording results")["why"]


def test_more_threads_than_processors_are_remarked_on(toykit, monkeypatch):
    monkeypatch.setattr(doctor, "_threads", lambda: {"processors": 4, "OMP_NUM_THREADS": "4", "torch": 4})
    assert "more threads than processors" not in toykit("doctor").out
    monkeypatch.setattr(doctor, "_threads", lambda: {"processors": 1, "OMP_NUM_THREADS": "4", "torch": 4})
    found = toykit("doctor").out
    assert "4 of torch on 1 processors, OMP_NUM_THREADS 4" in found and "more threads than processors" in found
