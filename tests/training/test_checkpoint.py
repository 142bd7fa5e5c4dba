from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from toykit.policies import GPT, GPTConfig
from toykit.training import checkpoint, load_policy, save_policy, store
from toykit.training.store import data_folder

TENSORS = {
    "a/b": torch.arange(6.0).view(2, 3).T,
    "c": torch.tensor([1, 2]),
    "d": torch.tensor(0.1, dtype=torch.float64),
}


def test_what_was_saved_comes_back_with_its_bytes(tmp_path):
    path = tmp_path / "deep" / "x.safetensors"
    checkpoint.save(path, TENSORS, {"kind": "test", "step": 7, "nested": {"x": [1.5, None]}})
    tensors, meta = checkpoint.load(path, "test")
    assert meta == {"format": 1, "kind": "test", "step": 7, "nested": {"x": [1.5, None]}}
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[k], v) and tensors[k].dtype == v.dtype for k, v in TENSORS.items())
    assert os.listdir(path.parent) == ["x.safetensors"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, call):
    path = tmp_path / "x.safetensors"
    checkpoint.save(path, TENSORS, {"kind": "old"})

    def full(*arguments: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(path, TENSORS, {"kind": "new"})
    assert checkpoint.load(path)[1]["kind"] == "old"
    assert os.listdir(tmp_path) == ["x.safetensors"]


def test_files_that_are_no_checkpoint_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(FileNotFoundError, match=f"checkpoint '{path}' does not exist"):
        checkpoint.load(path)
    checkpoint.save(path, TENSORS, {"kind": "train"})
    whole = path.read_bytes()
    for size in (0, 4, 40, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=f"checkpoint '{path}' is truncated or not a safetensors file"):
            checkpoint.load(path)
    path.write_bytes(b"PK\x03\x04 something else altogether")
    with pytest.raises(ValueError, match="is truncated or not a safetensors file"):
        checkpoint.load(path)
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=f"checkpoint '{path}' was not written by toykit"):
        checkpoint.load(path)
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="must be of kind 'policy' and format 1, got kind 'train' and format 1"):
        load_policy(path)


def test_a_policy_comes_back_with_its_sizes(tmp_path):
    config = GPTConfig(9, context=12, layers=1, width=16, heads=2, hidden=8, rope_base=500.0, eps=1e-5)
    policy = GPT(config, seed=4)
    save_policy(tmp_path / "x.safetensors", policy, task="mine")
    again = load_policy(tmp_path / "x.safetensors")
    assert again.config == config and not again.training
    tokens = torch.tensor([[1, 2, 3]])
    assert torch.equal(again(tokens).logits, policy(tokens).logits)
    assert checkpoint.load(tmp_path / "x.safetensors")[1]["task"] == "mine"


def test_a_bare_name_is_a_policy_of_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TOYKIT_DATA", str(tmp_path))
    save_policy(tmp_path / "checkpoints" / "base.safetensors", GPT(GPTConfig(5, width=16, heads=2)))
    assert load_policy("base").vocab_size == 5
    with pytest.raises(FileNotFoundError, match=r"checkpoints/other.safetensors' does not exist"):
        load_policy("other")


def test_data_is_the_projects_or_where_there_is_no_project_that_of_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.delenv("TOYKIT_DATA", raising=False)
    assert data_folder() == Path(__file__).parents[2] / "data"
    monkeypatch.setattr(store, "__file__", str(tmp_path / "site-packages" / "toykit" / "training" / "store.py"))
    assert data_folder() == Path("data")
