from __future__ import annotations

import pytest
import torch

from toykit.tasks import NAMES, TokenizerVocab, Vocab, make
from toykit.tasks.tokenizer import tokenizer_of


class Words:
    """The few methods of a tokenizer that a task uses; a begin token before the text and an end token after it."""

    words = ("<s>", "</s>", "<turn>", "one", "two")
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


def test_a_model_may_have_more_stop_tokens_than_its_tokenizer_names() -> None:
    tokenizer = Words()
    assert TokenizerVocab(tokenizer).stop == (1,)
    tokenizer.stop_tokens = (1, 2)
    assert TokenizerVocab(tokenizer).stop == (1, 2)


def test_a_prompt_loses_the_stop_token_that_the_tokenizer_adds_and_keeps_those_of_its_text() -> None:
    tokenizer = Words()
    tokenizer.stop_tokens = (1, 2)
    vocab = TokenizerVocab(tokenizer)
    assert vocab.encode_prompt("one two") == [0, 3, 4]
    assert vocab.encode_prompt("one <turn>") == [0, 3, 2]
    assert vocab.encode_prompt("one </s>") == [0, 3, 1]


@pytest.mark.parametrize("name", ["arithmetic", "chain_sum", "letters", "operator", "programs"])
def test_a_tasks_vocabulary_becomes_a_tokenizer_with_its_ids(name, tmp_path):
    from transformers import AutoTokenizer

    task = make(name)
    tokenizer_of(task.vocab).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    draw = torch.Generator().manual_seed(0)
    rows = [list(range(task.vocab.size)), *torch.randint(task.vocab.size, (20, 9), generator=draw).tolist()]
    for ids in rows:
        text = task.vocab.decode(ids)
        assert tokenizer.encode(text) == ids and tokenizer.decode(ids) == text
    back = TokenizerVocab(tokenizer)
    assert (back.tokens, back.stop) == (task.vocab.tokens, task.vocab.stop)
    assert back.encode_prompt(task.vocab.decode(rows[1])) == rows[1]


def test_signs_are_special_and_words_are_not():
    tokenizer = tokenizer_of(Vocab(("<pad>", "one", "<", "<eos>", "<go>"), pad=0, stop=(3,)))
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 3)
    assert tokenizer.decode([4, 1, 2, 3, 0], skip_special_tokens=True) == "one <"
    batch = tokenizer(["one", "< one one"], padding=True)
    assert batch["input_ids"] == [[0, 0, 1], [2, 1, 1]] and batch["attention_mask"] == [[0, 0, 1], [1, 1, 1]]
    digits = tokenizer_of(Vocab(("0", "1"), pad=0))  # the padding is a digit, which a text may hold
    assert (digits.pad_token, digits.eos_token) == (None, None)
    assert digits.decode([1, 0, 0], skip_special_tokens=True) == "1 0 0"


def test_what_has_no_place_in_a_vocabulary_is_an_error():
    vocab = TokenizerVocab(tokenizer_of(Vocab(("one", "two"))))
    for read in (vocab.encode, vocab.encode_prompt):
        with pytest.raises(ValueError, match="tokenizer cannot read 'one three': WordLevel error"):
            read("one three")
    with pytest.raises(ValueError, match="vocab must separate its words by a space or nothing to be a tokenizer, got"):
        tokenizer_of(Vocab(("one", "two"), sep="-"))


@pytest.mark.parametrize("name", NAMES)
def test_a_complete_tokenizer_has_an_end_and_padding_too(name) -> None:
    task = make(name)
    prompts, tokenizer = task.prompts()[:20], tokenizer_of(task.vocab, complete=True)
    rows = [row[mask].tolist() for row, mask in zip(prompts.tokens, prompts.mask, strict=True)]
    texts = [task.vocab.decode(row) for row in rows]
    assert tokenizer(texts)["input_ids"] == rows
    assert [tokenizer.decode(row) for row in rows] == texts
    assert (tokenizer.pad_token_id, tokenizer.padding_side) == (task.vocab.pad, "left")
    assert tokenizer.eos_token_id == (task.vocab.stop[0] if task.vocab.stop else task.vocab.size)


def test_a_word_that_is_a_padding_token_is_not_found_inside_another() -> None:
    vocab = Vocab(tuple(str(i) for i in range(12)), pad=1)
    assert tokenizer_of(vocab, complete=True)("10 1 11")["input_ids"] == [10, 1, 11]


def test_a_tokenizer_stays_itself() -> None:
    tokenizer = Words()
    assert tokenizer_of(TokenizerVocab(tokenizer)) is tokenizer
