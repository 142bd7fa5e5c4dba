"""`toykit pretrain --config qwen3-...`: a transformers model from scratch, and what becomes of it."""

from __future__ import annotations

import json
import shlex

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3ForCausalLM

from toykit.policies.hub import load
from toykit.rollouts import greedy
from toykit.tasks import make

OPTIONS = {"n_digits": 2, "n_train": 40, "n_test": 10, "horizon": 5}
TASK = ["--task", "chain_sum", *(word for name, value in OPTIONS.items() for word in ("-o", f"{name}={value}"))]
TINY = shlex.split("--config qwen3-1m --layers 1 --width 16 --heads 2 --hidden 16 --steps 8 --batch 8")


def files(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_a_model_is_written_with_its_tokenizer_and_is_a_policy_for_the_task(toykit, tmp_path):
    learning = shlex.split("--accuracy 0.1 --evaluate-every 10 --lr 0.02 --steps 300 --batch 64")
    found = toykit("pretrain", *TASK, *TINY, *learning)
    made = tmp_path / "data" / "checkpoints" / "qwen3-1m-chain_sum"
    assert found.status == 0 and f"wrote {made}" in found.out
    model, tokenizer = AutoModelForCausalLM.from_pretrained(made), AutoTokenizer.from_pretrained(made)
    assert isinstance(model, Qwen3ForCausalLM)
    assert (model.config.vocab_size, model.config.hidden_size, model.config.num_hidden_layers) == (16, 16, 1)
    task = make("chain_sum", **OPTIONS)
    about = json.loads((made / "about.json").read_text())
    assert about["options"] == OPTIONS and about["command"].startswith("toykit pretrain chain_sum ")
    held_out = task.prompts("test")
    assert about["accuracy"] == float(greedy(model, task, held_out).rewards.double().mean())

    text = task.vocab.decode(held_out.tokens[0].tolist())
    ids = tokenizer(text, return_tensors="pt").input_ids
    assert torch.equal(ids, held_out.tokens[:1])
    written = model.generate(ids, max_new_tokens=5, do_sample=False)[0, ids.shape[1] :].tolist()
    ours = greedy(model, task, held_out[slice(0, 1)]).completions[0, 0].tolist()
    assert written == ours and tokenizer.decode(written) == task.vocab.decode(ours)

    words = ["--objective", "rloo", "--prompts", "4", "--steps", "2"]
    for policy, out in (("qwen3-1m-chain_sum", "by_name"), (made, "by_folder")):
        assert toykit("train", "--policy", policy, *TASK, *words, "--out", out).status == 0
    again = tmp_path / "by_folder" / "model"
    assert load(again)[1].get_vocab() == tokenizer.get_vocab()
    assert toykit("train", "--policy", again, *TASK, *words, "--out", "third").status == 0


def test_a_stopped_run_goes_on_to_the_same_bytes(toykit, pressed, tmp_path):
    found = toykit("pretrain", *TASK, *TINY, "--out", "stopped")
    assert found.status == 130 and not (tmp_path / "stopped").exists()
    again = shlex.split(found.err.splitlines()[-1])
    assert again[-1] == "--resume" and toykit(*again[1:], "--seed", "1").refused("seed 1 (was 0)")
    assert toykit(*again[1:]).status == 0
    assert toykit("pretrain", *TASK, *TINY, "--out", "straight").status == 0
    assert files(tmp_path / "stopped") == files(tmp_path / "straight")
    assert not (tmp_path / "runs" / "pretrain" / "stopped").exists()


def test_the_same_command_makes_its_folder_again_and_another_is_refused(toykit, tmp_path):
    words = ["pretrain", *TASK, *TINY, "--out", "made"]
    toykit(*words)
    kept = files(tmp_path / "made")
    assert toykit(*words, "--seed", "1").refused("out must not be another policy: 'made' was made by `toykit pretrain")
    assert toykit(*words).status == 0 and files(tmp_path / "made") == kept
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not lose")
    assert toykit(*words[:-1], "mine").refused("out must not be another policy: 'mine' was made by `None`")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", "qwen3-61m"], "config must be one of gpt, qwen3-150m, qwen3-1m, qwen3-60m, got 'qwen3-61m'"),
        (["--out", "x.safetensors"], "out must be a folder, got 'x.safetensors'"),
        (["--width", "15"], "width must be a multiple of twice heads, got width 15 and heads 2"),
        (["--layers", "0"], "layers must be >= 1, got 0"),
        (["--context", "8"], "need 9, the context is 8"),
        (["--warmup", "-1"], "warmup must be >= 0, got -1"),
        (["--accuracy", "90"], "accuracy must be in (0, 1], got 90.0"),
        (["--device", "cuda"], "got 'cuda' where CUDA is not available"),
    ],
)
def test_bad_settings_are_refused_and_leave_nothing(toykit, tmp_path, monkeypatch, words, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert toykit("pretrain", *TASK, *TINY, *words).refused(message)
    assert not list(tmp_path.iterdir())
