from __future__ import annotations

from toykit.tasks import TokenizerVocab


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
