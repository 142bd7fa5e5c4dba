"""A transformers tokenizer in the place of a task's vocabulary."""

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
