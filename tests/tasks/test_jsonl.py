from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from toykit.tasks import JsonlTask, TokenizerVocab, Vocab, make

VOCAB = Vocab((*"0123456789+-= ", "<eos>", "<pad>"), pad=15, stop=(14,), sep="")
ROWS = [{"prompt": f"{a}+{b}=", "answer": a + b} for a in range(10) for b in range(10)]


def written(folder: Path, rows: list[object]) -> Path:
    path = folder / "sums.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def completions(texts: list[list[str]], horizon: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens [B, G, T] and mask, each text followed by the stop token."""
    rows = [[[*VOCAB.encode(text), 14] for text in group] for group in texts]
    tokens = torch.tensor([[row + [15] * (horizon - len(row)) for row in group] for group in rows])
    lengths = torch.tensor([[len(row) for row in group] for group in rows])
    return tokens, torch.arange(horizon) < lengths[..., None]


def test_a_file_becomes_prompts_of_both_splits_and_a_scorer(tmp_path: Path) -> None:
    task = JsonlTask.load(written(tmp_path, ROWS), VOCAB, horizon=8)
    assert task.name == "sums"
    train, test = task.prompts("train"), task.prompts("test")
    assert sorted(train.ids.tolist() + test.ids.tolist()) == list(range(100))
    assert 0 < len(test) < 25
    ids = torch.tensor([12, 99])  # 1+2 and 9+9
    assert VOCAB.decode(task.prompts("train").tokens[0].tolist()) == ROWS[int(train.ids[0])]["prompt"]
    assert task.score(ids, *completions([["3", "= 3", "4"], ["18", "", "1 8"]])).tolist() == [[1, 1, 0], [1, 0, 0]]


def test_the_split_of_a_prompt_does_not_depend_on_the_rest_of_the_file(tmp_path: Path) -> None:
    def held_out(rows: list[object]) -> set[str]:
        task = JsonlTask.load(written(tmp_path, rows), VOCAB, test_fraction=0.3)
        return {task.problems[i].prompt for i in task.prompts("test").ids.tolist()}

    assert held_out(ROWS[::2]) == held_out(ROWS) & {row["prompt"] for row in ROWS[::2]}


def test_where_nothing_is_held_out_both_splits_are_all_prompts(tmp_path: Path) -> None:
    task = JsonlTask.load(written(tmp_path, ROWS[:3]), VOCAB, test_fraction=0.0)
    assert task.prompts("train").ids.tolist() == task.prompts("test").ids.tolist() == [0, 1, 2]


def test_the_corpus_is_answers_and_the_stop_token_on_train_prompts(tmp_path: Path) -> None:
    task = JsonlTask.load(written(tmp_path, ROWS), VOCAB, horizon=8)
    prompts, tokens, mask = task.corpus(200, torch.Generator().manual_seed(0))
    assert set(prompts.ids.tolist()) <= set(task.prompts("train").ids.tolist())
    assert tokens.shape == mask.shape == (200, 8)
    assert task.score(prompts.ids, tokens[:, None], mask[:, None]).tolist() == [[1.0]] * 200
    assert VOCAB.decode(tokens[0][mask[0]].tolist()) == task.problems[int(prompts.ids[0])].answer + "<eos>"


def test_a_horizon_too_short_for_an_answer_is_named_when_the_corpus_is_asked_for(tmp_path: Path) -> None:
    task = JsonlTask.load(written(tmp_path, ROWS), VOCAB, horizon=2)
    with pytest.raises(ValueError, match="horizon must be >= 3 for the answer of problem 20, got 2"):
        task.corpus(1, torch.Generator())


def test_a_callable_is_the_verifier_and_must_return_a_finite_number(tmp_path: Path) -> None:
    path = written(tmp_path, ROWS)
    task = JsonlTask.load(path, VOCAB, verifier=lambda completion, answer: len(completion) / len(answer), horizon=8)
    assert task.score(torch.tensor([0]), *completions([["1", "12"]])).tolist() == [[1.0, 2.0]]
    bad = JsonlTask.load(path, VOCAB, verifier=lambda completion, answer: float("nan"), horizon=8)
    with pytest.raises(ValueError, match="verifier must return a finite number, got nan for prompt 7"):
        bad.score(torch.tensor([7]), *completions([["1"]]))


def test_answers_that_are_numbers_are_written_out(tmp_path: Path) -> None:
    path = written(tmp_path, [{"prompt": "1", "answer": a} for a in (3, -2.5, 0.00001, 1e20)])
    assert [p.answer for p in JsonlTask.load(path, VOCAB).problems] == ["3", "-2.5", "0.00001", "100000000000000000000"]


def test_ids_of_the_file_are_kept_and_default_to_line_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, [{"prompt": "1+1=", "answer": "2", "id": "easy"}, "", {"prompt": "1+2=", "answer": 3.5}])
    problems = JsonlTask.load(path, VOCAB).problems
    assert [(p.id, p.answer) for p in problems] == [("easy", "2"), (3, "3.5")]


GOOD = {"prompt": "1+1=", "answer": "2"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"prompt": "1+1=", ', "line 2: malformed JSON, .* at column"),
        ("[" * 100_000, "line 2: JSON that cannot be read, maximum recursion depth exceeded"),
        ('{"prompt": "1", "answer": ' + "9" * 5000 + "}", "line 2: JSON that cannot be read, Exceeds the limit"),
        ("[1, 2]", 'line 2: must be an object with "prompt" and "answer", got list'),
        ({"prompt": "1+1="}, 'line 2: "answer" is missing, the line has prompt'),
        ({}, 'line 2: "prompt" is missing, the line has no key'),
        ({"prompt": 3, "answer": "2"}, 'line 2: "prompt" must be a text that is not empty, got 3'),
        ({"prompt": " ", "answer": "2"}, 'line 2: "prompt" must be a text that is not empty'),
        ({"prompt": "1", "answer": None}, 'line 2: "answer" must be a text or a number, got None'),
        ({"prompt": "1", "answer": True}, 'line 2: "answer" must be a text or a number, got True'),
        ({"prompt": "1", "answer": "two"}, "line 2: \"answer\" must hold a number, got 'two'"),
        ({"prompt": "1", "answer": "2", "id": [1]}, r'line 2: "id" must be a text or a whole number, got \[1\]'),
        ({"prompt": "1", "answer": "2", "id": 1}, 'line 2: "id" must be unique, got 1 again'),
    ],
)
def test_a_malformed_line_is_named_with_its_file_and_number(tmp_path: Path, row: object, message: str) -> None:
    path = written(tmp_path, [GOOD, row])
    with pytest.raises(ValueError, match=f"sums.jsonl, {message}"):
        JsonlTask.load(path, VOCAB)


def test_a_line_that_is_not_utf_8_is_named_with_its_file_and_number(tmp_path: Path) -> None:
    path = tmp_path / "sums.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b'\n{"prompt": "caf\xe9", "answer": "1"}\n')
    with pytest.raises(ValueError, match="sums.jsonl, line 2: must be UTF-8 text, got the byte 0xe9 at column 16"):
        JsonlTask.load(path, VOCAB)


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_problems(tmp_path: Path) -> None:
    path = tmp_path / "sums.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r\n\r\n" + json.dumps(GOOD).encode())
    assert [(p.prompt, p.id) for p in JsonlTask.load(path, VOCAB).problems] == [("1+1=", 1), ("1+1=", 3)]


@pytest.mark.parametrize("text", ["", "\n  \n"])
def test_an_empty_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match="empty.jsonl must hold at least one problem, got none"):
        JsonlTask.load(path, VOCAB)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"verifier": "numbr"}, "verifier must be one of exact, number, set, got 'numbr'; did you mean 'number'"),
        ({"horizon": 0}, "horizon must be >= 1, got 0"),
        ({"test_fraction": 1.5}, "test_fraction must be < 1, got 1.5"),
    ],
)
def test_bad_options_are_refused(tmp_path: Path, options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JsonlTask.load(written(tmp_path, ROWS), VOCAB, **options)


def test_a_fraction_that_holds_out_every_prompt_is_refused(tmp_path: Path) -> None:
    task = JsonlTask.load(written(tmp_path, ROWS[:2]), VOCAB, test_fraction=0.999)
    with pytest.raises(ValueError, match="test_fraction must leave a train prompt"):
        task.prompts()


def test_a_prompt_with_an_unknown_character_is_refused(tmp_path: Path) -> None:
    task = JsonlTask.load(written(tmp_path, [{"prompt": "1*1=", "answer": 1}]), VOCAB)
    with pytest.raises(ValueError, match=r"text holds '\*'"):
        task.prompts()


class WordTokenizer:
    """The few methods of a transformers tokenizer that a task uses; a begin token before and a stop token after."""

    words = ("<s>", "</s>", "one", "plus", "two", "is", "2", "3")
    eos_token_id = 1
    pad_token_id = None

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        ids = [self.words.index(word) for word in text.split()]
        return [0, *ids, 1] if add_special_tokens else ids

    def decode(self, ids: list[int]) -> str:
        return " ".join(self.words[i] for i in ids)

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [self.words[i] for i in ids]


def test_a_tokenizer_stands_in_for_a_vocabulary() -> None:
    vocab = TokenizerVocab(WordTokenizer())
    assert (vocab.size, vocab.pad, vocab.stop) == (8, 1, (1,))
    assert vocab.tokens[3] == "plus"
    assert vocab.encode("one plus two") == [2, 3, 4]
    assert vocab.encode_prompt("one plus two") == [0, 2, 3, 4]
    assert vocab.decode([2, 3, 1]) == "one plus </s>"


@pytest.mark.parametrize(
    ("eos", "pad", "expected"), [(None, None, (0, ())), ([1, 2], None, (1, (1, 2))), (1, 5, (5, (1,)))]
)
def test_pad_falls_back_to_the_stop_token_and_then_to_zero(eos, pad, expected) -> None:
    tokenizer = WordTokenizer()
    tokenizer.eos_token_id, tokenizer.pad_token_id = eos, pad
    vocab = TokenizerVocab(tokenizer)
    assert (vocab.pad, vocab.stop) == expected


def test_a_task_with_a_tokenizer_puts_the_begin_token_before_prompts_and_stops_answers(tmp_path: Path) -> None:
    path = written(tmp_path, [{"prompt": "one plus two is", "answer": 3}, {"prompt": "two is", "answer": 2}])
    task = make(str(path), tokenizer=WordTokenizer(), horizon=4, test_fraction=0.0)
    assert task.prompts().tokens.tolist() == [[0, 2, 3, 4, 5], [1, 1, 0, 4, 5]]
    assert task.prompts().mask.sum(1).tolist() == [5, 3]
    prompts, tokens, mask = task.corpus(10, torch.Generator().manual_seed(0))
    assert task.score(prompts.ids, tokens[:, None], mask[:, None]).tolist() == [[1.0]] * 10
    assert {tuple(row) for row in tokens.tolist()} == {(7, 1, 1, 1), (6, 1, 1, 1)}


def test_a_transformers_tokenizer_works_as_it_is(tmp_path: Path) -> None:
    import tokenizers
    import transformers

    words = {word: i for i, word in enumerate(("<pad>", "<bos>", "<eos>", "<unk>", "one", "plus", "is", "2"))}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>"
    )
    task = JsonlTask.load(
        written(tmp_path, [{"prompt": "one plus one is", "answer": "2"}]), tokenizer, horizon=3, test_fraction=0.0
    )
    assert (task.vocab.size, task.vocab.pad, task.vocab.stop) == (8, 0, (2,))
    assert task.prompts().tokens.tolist() == [[4, 5, 4, 6]]
    prompts, tokens, mask = task.corpus(1, torch.Generator())
    assert tokens.tolist() == [[7, 2, 0]]
    assert task.score(prompts.ids, tokens[:, None], mask[:, None]).tolist() == [[1.0]]
