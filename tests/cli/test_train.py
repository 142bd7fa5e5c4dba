"""`toykit train` to the end, on real input too. What writes or loads a transformers model is in this one file."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import toykit as package
import toykit.policies.transformers_model  # (registers exported tables)
from toykit.policies import GPT, GPTConfig, TabularLM
from toykit.tasks import make
from toykit.training import checkpoint, save_policy
from toykit.training.checkpoint import load_modules

ROOT = Path(package.__file__).parents[1]
PROBLEMS = ROOT / "data" / "problems" / "word_problems.jsonl"
SPECIAL = ("<pad>", "<eos>", "<unk>")

VERIFIER = '''
"""The share of digits in eight characters. With HOLD=FOLDER:N it waits in the step after N lines of the log."""

import os
import time
from pathlib import Path


def digits(completion, answer):
    if "HOLD" in os.environ:
        folder, lines = os.environ["HOLD"].rsplit(":", 1)
        log = Path(folder, "log.jsonl")
        if log.exists() and log.read_text().count("\\n") == int(lines):
            Path(folder, "reached").touch()
            while not Path(folder, "go").exists():
                time.sleep(0.005)
    return sum(character.isdigit() for character in completion) / 8


def words(completion, answer):
    return completion.index("the answer")
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny Llama with a tokenizer of single characters, as a folder that transformers wrote."""
    made = tmp_path_factory.mktemp("models") / "llama"
    letters = sorted({c for line in PROBLEMS.read_text().splitlines() for c in json.loads(line)["prompt"]} - {" "})
    words = {word: i for i, word in enumerate((*SPECIAL, " ", *letters))}
    inner = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    inner.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left"
    )
    tokenizer.save_pretrained(made)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=320,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(made)
    return made


@pytest.fixture
def own(toykit, folder, tmp_path):
    """The words of a command line that trains that model on the word problems."""
    (tmp_path / "mine.py").write_text(VERIFIER)

    def words(**changes):
        given = {
            "policy": folder,
            "task": PROBLEMS,
            "objective": "grpo",
            "verifier": "mine.py:digits",
            "horizon": 8,
            "prompts": 4,
            "group_size": 4,
            "lr": 0.01,
            "steps": 10,
            "save_every": 5,
            "out": "run",
            **changes,
        }
        named = ((f"--{name.replace('_', '-')}", str(v)) for name, v in given.items() if v is not None)
        return ["train", *(word for pair in named for word in pair)]

    return words


def parameters(model):
    return torch.cat([p.detach().flatten().double() for p in model.parameters()])


def log(run):
    lines = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def test_a_model_of_yours_learns_problems_of_yours_and_is_a_transformers_model_again(toykit, own, folder, tmp_path):
    found = toykit(*own(steps=30))
    assert found.status == 0
    run = tmp_path / "run"
    assert found.out.splitlines()[0] == f"30 steps of grpo on {PROBLEMS}"
    assert "(means of the first and last 3 steps)" in found.out and "wrote run/model: AutoModelFor" in found.out
    assert [line["step"] for line in log(run)] == list(range(1, 31))
    measured = json.loads((run / "evaluation.json").read_text())
    assert measured["after"]["reward"] > measured["before"]["reward"] + 0.1
    before, after = (AutoModelForCausalLM.from_pretrained(f) for f in (folder, run / "model"))
    assert (parameters(after) - parameters(before)).abs().max() > 0.01
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    tensors, _ = checkpoint.load(run / "checkpoint.safetensors", "train")
    load_modules({"policy": before}, tensors)
    asked = tokenizer("What is 12 of 34?", return_tensors="pt")
    assert torch.equal(after(**asked).logits, before(**asked).logits)
    assert tokenizer.decode(asked["input_ids"][0]) == "What is 12 of 34?"
    assert {p.suffix for p in (run / "model").iterdir()} == {".json", ".safetensors"}


class Life:
    """A process of its own that trains, and waits in the step after some lines of its log."""

    def __init__(self, words, run, lines):
        for name in ("reached", "go"):
            (run / name).unlink(missing_ok=True)
        self.run = run
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        threads = str(torch.get_num_threads())
        env = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": threads, "HOLD": f"{run}:{lines}"}
        command = [sys.executable, "-m", "toykit", *words]
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while not (run / "reached").exists():
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.01)

    def end(self, number):
        """Sends a signal in the middle of the step, and lets the step go on; what the process said and its status."""
        self.process.send_signal(number)
        (self.run / "go").touch()
        out, err = self.process.communicate()
        return self.process.returncode, out, err


def test_a_run_that_was_interrupted_and_killed_ends_with_the_bytes_of_one_that_was_not(toykit, own, tmp_path):
    run, straight = tmp_path / "run", tmp_path / "straight"
    status, out, err = Life(own(), run, lines=3).end(signal.SIGINT)
    assert (status, out) == (130, "")
    assert err.splitlines()[-2] == "stopped with a checkpoint of step 4; to go on:"
    again = shlex.split(err.splitlines()[-1])
    assert again[:2] == ["toykit", "train"] and again[-1] == "--resume"
    assert sorted(again[2:-1]) == sorted(own()[1:])
    status, _, _ = Life(again[1:], run, lines=7).end(signal.SIGKILL)
    assert status == -signal.SIGKILL
    assert checkpoint.load(run / "checkpoint.safetensors", "train")[1]["step"] == 5
    assert len(log(run)) == 7 and not (run / "model").exists()
    assert toykit(*again[1:]).status == 0
    assert toykit(*own(out="straight")).status == 0
    assert log(run) == log(straight) and len(log(run)) == 10
    files = sorted(p.relative_to(straight) for p in straight.rglob("*") if p.is_file())
    assert len(files) > 7
    for file in files:
        if file.name not in ("log.jsonl", "settings.json"):
            assert (run / file).read_bytes() == (straight / file).read_bytes(), file


def test_a_finished_run_goes_on_when_more_steps_are_asked_for(toykit, own, tmp_path):
    assert toykit(*own(steps=2)).status == 0
    assert toykit(*own(steps=3), "--resume", "--save-every", "1").status == 0
    assert toykit(*own(steps=3, out="straight")).status == 0
    both = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("run", "straight")]
    assert both[0] == both[1] and len(log(tmp_path / "run")) == 3
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["settings"]["steps"] == 3


@pytest.mark.parametrize(
    ("text", "changes", "parts"),
    [
        (
            '{"prompt": "1 + 1?", "answer": "2"}\n{"prompt": ',
            {},
            ("bad.jsonl, line 2: malformed JSON, ", "at column 12"),
        ),
        ('{"prompt": "1 + 1?"}', {}, ('bad.jsonl, line 1: "answer" is missing',)),
        ('{"prompt": "  ", "answer": "2"}', {}, ('bad.jsonl, line 1: "prompt" must be a text that is not empty',)),
        ('{"prompt": "1?", "answer": "two"}', {"verifier": "number"}, ('line 1: "answer" must hold a number',)),
        ("\n\n", {}, ("bad.jsonl must hold at least one problem, got none",)),
        (None, {"horizon": 300}, ("prompts must fit the policy's context:", "the context is 320")),
        (None, {"horizon": 0}, ("horizon must be >= 1, got 0",)),
        (None, {"test_fraction": 1}, ("test_fraction must be < 1, got 1.0",)),
        (None, {"verifier": "mine.py:digit"}, ("verifier must be a function of mine.py, got 'digit'; did you mean",)),
        (
            None,
            {"verifier": "mine.py:words"},
            ("verifier mine.py:words must return a number, got ValueError: substring",),
        ),
        (None, {"group_size": 1}, ("group_size must be >= 2 for an objective with group statistics, got 1",)),
        (None, {"beta": 0}, ("beta must be > 0 and finite, got 0.0",)),
        (None, {"objective": "grop"}, ("objective must be one of", "did you mean 'grpo'?")),
        (None, {"dtype": "float8"}, ("dtype must be one of bfloat16, float32, float64, got 'float8'",)),
    ],
)
def test_bad_problems_and_settings_are_named_and_leave_nothing(toykit, own, tmp_path, text, changes, parts):
    if text is not None:
        (tmp_path / "bad.jsonl").write_text(text)
        changes = {"task": "bad.jsonl", **changes}
    assert toykit(*own(**changes)).refused(*parts)
    assert not (tmp_path / "run").exists()


def copied(folder, to):
    shutil.copytree(folder, to)
    return to


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(toykit, own, folder, tmp_path):
    larger = copied(folder, tmp_path / "larger")
    tokenizer = AutoTokenizer.from_pretrained(larger)
    size = len(tokenizer)
    tokenizer.add_tokens(["<a>", "<b>"])
    tokenizer.save_pretrained(larger)
    assert toykit(*own(policy=larger)).refused(
        f"policy must know the task's vocabulary of {size + 2} tokens, its own has {size}"
    )


def test_a_model_without_a_tokenizer_cannot_read_problems(toykit, own, folder, tmp_path):
    mute = copied(folder, tmp_path / "mute")
    for file in mute.glob("tokenizer*"):
        file.unlink()
    assert toykit(*own(policy=mute)).refused(f"policy must have a tokenizer for the task {PROBLEMS}, '{mute}' has none")


def test_a_truncated_model_is_refused(toykit, own, folder, tmp_path):
    broken = copied(folder, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-50])
    assert toykit(*own(policy=broken)).refused(f"policy could not be loaded from '{broken}'")
    assert not (tmp_path / "run").exists()


def test_a_table_is_trained_exactly_and_exported(toykit, tmp_path):
    words = ["--policy", "tabular", "--task", "tree", "--objective", "kl_rl", "--beta", "0.2", "--enumerate"]
    found = toykit("train", *words, "--steps", "40", "--out", "run", "--tensorboard", "--evaluate-every", "20")
    assert found.status == 0 and "after `import toykit.policies.transformers_model`" in found.out
    assert log(tmp_path / "run")[-1]["reward"] > log(tmp_path / "run")[0]["reward"] + 0.2
    assert [i for i, line in enumerate(log(tmp_path / "run"), 1) if "eval/reward" in line] == [20, 40]
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    task = make("tree")
    policy = TabularLM.of(task)
    load_modules({"policy": policy}, checkpoint.load(tmp_path / "run" / "checkpoint.safetensors")[0])
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model", dtype=torch.float64)
    tokens = torch.cat([task.prompts().tokens.expand(64, 1), task.tree.tokens], 1)
    assert torch.equal(loaded(tokens).logits, policy(tokens).logits)


def test_a_base_policy_is_trained_and_its_export_is_a_policy_to_go_on_with(toykit, tmp_path):
    policy = GPT(GPTConfig(16, context=16, layers=1, width=16, heads=2, hidden=16))
    save_policy(tmp_path / "data" / "checkpoints" / "base.safetensors", policy)
    task = ["--task", "chain_sum", "-o", "n_digits=2", "-o", "n_train=16", "-o", "n_test=4", "-o", "horizon=8"]
    words = [*task, "--objective", "rloo", "--prompts", "4", "--steps", "2"]
    assert toykit("train", "--policy", "base", *words, "--out", "first").status == 0
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "first" / "model")
    assert isinstance(loaded, LlamaForCausalLM) and loaded.config.eos_token_id == [11]
    assert toykit("train", "--policy", "first/model", *words, "--out", "second").status == 0
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "second" / "model").config.vocab_size == 16
