"""A transformers tokenizer in the place of a task's vocabulary, and the other way about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toykit.tasks.base import Vocab


class TokenizerVocab(Vocab):
    """A vocabulary around a transformers tokenizer: its size, pad and stop tokens, encode and decode.

    `stop` is the tokenizer's end-of-sequence token, or its attribute `stop_tokens` where `toykit.policies.hub.load`
    has given it one; `pad` is its padding token, or the first stop token where it has none, or else 0 (padding is
    always masked).
    """

    tokenizer: Any

    def __init__(self, tokenizer: Any) -> None:
        size, pad = len(tokenizer), tokenizer.pad_token_id
        eos = getattr(tokenizer, "stop_tokens", None) or tokenizer.eos_token_id
        stop = () if eos is None else tuple(eos) if isinstance(eos, list | tuple) else (eos,)
        pad = pad if pad is not None else stop[0] if stop else 0
        super().__init__(tuple(tokenizer.convert_ids_to_tokens(list(range(size)))), pad=pad, stop=stop, sep="")
        object.__setattr__(self, "tokenizer", tokenizer)  # the base class is frozen

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, without special tokens; raises ValueError for a text that the tokenizer cannot read."""
        return self._ids(text, add_special_tokens=False)

    def encode_prompt(self, text: str) -> list[int]:
        """Token ids of `text` with the special tokens that the tokenizer puts before it, but not the stop token that it
        may put after it."""
        ids, own = self._ids(text), self.encode(text)
        while ids and ids[-1] in self.stop and ids[-len(own) :] != own:
            ids.pop()
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens included."""
        return str(self.tokenizer.decode(list(ids)))

    def _ids(self, text: str, **options: bool) -> list[int]:
        try:
            return list(self.tokenizer.encode(text, **options))
        except Exception as error:  # what tokenizers raise for a word that they lack has no type of its own
            raise ValueError(f"tokenizer cannot read {text!r}: {error}") from error


def tokenizer_of(vocab: Vocab, complete: bool = False) -> Any:
    """The transformers tokenizer of a vocabulary: the same ids for the same text, both ways; a TokenizerVocab's own.

    The first stop token is its end-of-sequence token. The padding token is declared where it is a sign of its own,
    written <...>, and not a word that a text may hold; all such signs are special tokens, which `decode` can skip.
    Trainers of other libraries ask for both: `complete` declares padding whatever it is, and an end that the vocabulary
    lacks as one more word, <eos>, beyond the ids of any model of the task. A word that is not in the vocabulary is an
    error. Raises ValueError for a separator other than a space or nothing.
    """
    if isinstance(vocab, TokenizerVocab):
        return vocab.tokenizer
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    if vocab.sep not in ("", " "):
        raise ValueError(f"vocab must separate its words by a space or nothing to be a tokenizer, got {vocab.sep!r}")
    words = {token: i for i, token in enumerate(vocab.tokens)}
    end = vocab.tokens[vocab.stop[0]] if vocab.stop else "<eos>" if complete else None
    if end is not None:
        words.setdefault(end, vocab.size)
    inner = Tokenizer(models.WordLevel(words))
    if vocab.sep:  # without a decoder words are joined by a space
        inner.pre_tokenizer = pre_tokenizers.Split(vocab.sep, "removed")
    else:
        inner.pre_tokenizer, inner.decoder = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated"), decoders.Fuse()
    pad = vocab.tokens[vocab.pad] if complete or is_sign(vocab.tokens[vocab.pad]) else None
    signs = [token for token in vocab.tokens if is_sign(token)]
    special = [token for token in dict.fromkeys([*signs, end, pad]) if token is not None]
    # A special token is looked for anywhere in the text: "1" must not be found in "10".
    inner.add_special_tokens([AddedToken(token, single_word=bool(vocab.sep), normalized=False) for token in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token=end,
        pad_token=pad,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def is_sign(token: str) -> bool:
    """Whether a token is a sign of its own, such as <eos>, and no part of a text."""
    return len(token) > 2 and token[0] == "<" and token[-1] == ">"
