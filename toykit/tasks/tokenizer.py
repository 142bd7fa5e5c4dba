"""A transformers tokenizer in the place of a task's vocabulary, and a vocabulary as a tokenizer."""

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
        """Token ids of `text`, without special tokens."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def encode_prompt(self, text: str) -> list[int]:
        """Token ids of `text` with the special tokens that the tokenizer puts before it, but not the stop token that it
        may put after it."""
        ids, own = list(self.tokenizer.encode(text)), self.encode(text)
        while ids and ids[-1] in self.stop and ids[-len(own) :] != own:
            ids.pop()
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens included."""
        return str(self.tokenizer.decode(list(ids)))


def tokenizer_of(vocab: Vocab) -> Any:
    """A transformers tokenizer that turns text into a vocabulary's ids and back; a TokenizerVocab gives its own.

    It pads on the left with the vocabulary's padding token and ends at its first stop token. A vocabulary without one
    gets `<eos>` as one more word, beyond the ids of any model of the task, because trainers of other libraries ask for
    an end. Raises ValueError for a vocabulary whose `sep` is neither a space nor empty.
    """
    if isinstance(vocab, TokenizerVocab):
        return vocab.tokenizer
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    if vocab.sep not in ("", " "):
        raise ValueError(f"sep of the vocabulary must be ' ' or '' for a tokenizer, got {vocab.sep!r}")
    words = {word: i for i, word in enumerate(vocab.tokens)}
    end = vocab.tokens[vocab.stop[0]] if vocab.stop else "<eos>"
    if not vocab.stop:
        words[end] = vocab.size
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    if vocab.sep:
        made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    else:
        made.pre_tokenizer, made.decoder = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated"), decoders.Fuse()
    # A special token is looked for anywhere in the text: "1" must not be found in "10".
    names = {"pad": vocab.tokens[vocab.pad], "eos": end, **{k: f"<{k}>" for k in ("bos", "unk") if f"<{k}>" in words}}
    special = {
        f"{name}_token": AddedToken(word, single_word=bool(vocab.sep), normalized=False, special=True)
        for name, word in names.items()
    }
    return PreTrainedTokenizerFast(tokenizer_object=made, padding_side="left", **special)
