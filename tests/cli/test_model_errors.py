"""`toykit train` with models that lack something: what works without it works, the rest is named and loses nothing."""

from __future__ import annotations

import json
import socket

import pytest
from huggingface_hub import constants
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import enable_progress_bar

from toykit.policies import export
from toykit.policies.qwen3 import qwen3
from toykit.tasks import Vocab, make
from toykit.tasks.tokenizer import tokenizer_of

TINY = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
CHARACTERS = (*"0123456789+=AR ", "<end>", "<pad>")
PROBLEMS = ["1+1=", "2+3=", "4+4=", "2+2=", "1+5=", "3+3="]
CHAIN = ["--task", "chain_sum", "-o", "n_digits=2", "-o", "n_train=20", "-o", "n_test=5", "-o", "horizon=5"]


@pytest.fixture
def model(tmp_path):
    """Makes a folder with a model that reads and writes characters; its vocabulary is built with the options."""

    def make_folder(tokens: tuple[str, ...] = CHARACTERS, context: int = 64, **options) -> str:
        vocab = Vocab(tokens, sep="", **options)
        export(qwen3(vocab, TINY | {"max_position_embeddings": context}), tmp_path / "model", vocab)
        tokenizer_of(vocab).save_pretrained(tmp_path / "model")
        return "model"

    return make_folder


@pytest.fixture
def problems(tmp_path):
    rows = [{"prompt": text, "answer": sum(map(int, text[:-1].split("+")))} for text in PROBLEMS]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ["--task", "mine.jsonl", "--horizon", "4"]


def words(*more: str) -> list[str]:
    run = ["--prompts", "4", "--steps", "2", "--out", "run"]
    return ["train", "--policy", "model", "--objective", "rloo", *run, *more]


def left(tmp_path) -> set[str]:
    return {p.name for p in tmp_path.iterdir()}


def test_a_tokenizer_without_end_and_padding_trains_completions_of_full_length(toykit, model, problems, tmp_path):
    model(CHARACTERS[:-2])
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer.eos_token is None and tokenizer.pad_token is None
    assert toykit(*words(*problems)).status == 0
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["length"] for line in lines] == [4, 4]
    assert AutoTokenizer.from_pretrained(tmp_path / "run" / "model").get_vocab() == tokenizer.get_vocab()


def test_a_tokenizer_without_padding_alone_trains_too(toykit, model, problems, tmp_path):
    model(CHARACTERS[:-1], stop=(15,))
    assert toykit(*words(*problems)).status == 0
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model").config.eos_token_id == [15]


def test_a_named_task_is_asked_in_the_words_of_another_tokenizer(toykit, model, tmp_path):
    model(stop=(15,), pad=16)
    assert toykit(*words(*CHAIN)).status == 0
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert all(json.loads(line)["length"] > 5 for line in lines)  # five words, of a space and a character each


def test_a_task_that_ends_with_a_stop_token_needs_one(toykit, model, tmp_path):
    model(CHARACTERS[:-2])
    before = left(tmp_path)
    assert toykit(*words(*CHAIN)).refused(
        "tokenizer must have an end-of-sequence token for the task chain_sum, whose completions end with one"
    )
    assert left(tmp_path) == before


def test_a_prompt_longer_than_the_context_is_refused_with_its_length(toykit, model, problems, tmp_path):
    model(context=7, stop=(15,), pad=16)
    before = left(tmp_path)
    assert toykit(*words(*problems)).refused(
        "prompts must fit the policy's context: 4 prompt tokens and a horizon of 4 need 8, the context is 7"
    )
    assert toykit(*words(*CHAIN)).refused("need 15, the context is 7")  # "1 2 =", five words of two characters
    assert left(tmp_path) == before


def test_a_text_that_the_tokenizer_cannot_read_is_refused_with_the_text(toykit, model, problems, tmp_path):
    model((*"0123456789+A", "<end>"), stop=(12,))
    before = left(tmp_path)
    assert toykit(*words(*problems)).refused("tokenizer cannot read '1+1='")
    assert left(tmp_path) == before


@pytest.mark.parametrize("content", [b"", b"{}", b"garbage", b'{"model": {'])
def test_a_damaged_tokenizer_is_refused(toykit, model, problems, tmp_path, content):
    model()
    enable_progress_bar()  # as in a new process, where nothing has switched them off
    (tmp_path / "model" / "tokenizer.json").write_bytes(content)
    before = left(tmp_path)
    assert toykit(*words(*problems)).refused("policy could not be loaded from 'model'")
    assert left(tmp_path) == before


def test_a_hub_id_without_network_is_refused_in_one_line(toykit, monkeypatch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"  # closed in a moment
    path = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    given = words(*CHAIN)
    given[given.index("model")] = "owner/name"
    assert toykit(*given).refused(
        f"policy could not be loaded from 'owner/name': {address} cannot be reached", "name a folder, or make a model"
    )
    assert left(tmp_path) == set()


def test_the_tokenizer_of_a_task_leaves_the_task_as_it_is(toykit, tmp_path):
    task = make("chain_sum")
    export(qwen3(task.vocab, TINY), tmp_path / "model", task.vocab)
    tokenizer_of(task.vocab).save_pretrained(tmp_path / "model")
    assert toykit(*words(*CHAIN)).status == 0
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert all(json.loads(line)["length"] <= 5 for line in lines)
