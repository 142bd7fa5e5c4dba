"""What every task is: a vocabulary, prompts with stable ids, and a scorer of token tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor

from toykit._checks import one_of

if TYPE_CHECKING:
    from toykit.tasks.tree import Tree


@dataclass(frozen=True)
class Vocab:
    """The words of a task; a token id is a position in `tokens`.

    `pad` fills unused places and is always masked; `stop` are the ids that end a completion (and belong to it).
    Text is the tokens joined by `sep`; with `sep` empty each character must be a token.
    """

    tokens: tuple[str, ...]
    pad: int = 0
    stop: tuple[int, ...] = ()
    sep: str = " "

    @property
    def size(self) -> int:
        return len(self.tokens)

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`; raises ValueError naming a word that is not in the vocabulary."""
        index = {token: i for i, token in enumerate(self.tokens)}
        words = text.split(self.sep) if self.sep and text else list(text)
        unknown = [word for word in words if word not in index]
        if unknown:
            raise ValueError(f"text holds {unknown[0]!r}, which is not one of the {self.size} tokens of the vocabulary")
        return [index[word] for word in words]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids."""
        return self.sep.join(self.tokens[i] for i in ids)


@dataclass(frozen=True)
class Prompts:
    """A batch of B prompts: stable `ids` int64 [B], left-padded `tokens` int64 [B, P], `mask` bool [B, P]."""

    ids: Tensor
    tokens: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return self.ids.shape[0]

    def __getitem__(self, rows: Tensor | slice) -> Prompts:
        return Prompts(self.ids[rows], self.tokens[rows], self.mask[rows])

    def to(self, device: torch.device | str) -> Prompts:
        return Prompts(self.ids.to(device), self.tokens.to(device), self.mask.to(device))

    @staticmethod
    def from_lists(token_lists: Sequence[Sequence[int]], pad: int = 0, first_id: int = 0) -> Prompts:
        """Left-pads lists of token ids; raises ValueError for an empty list of prompts or an empty prompt."""
        if not token_lists:
            raise ValueError("prompts must hold at least one prompt, got an empty list")
        for i, tokens in enumerate(token_lists):
            if not tokens:
                raise ValueError(f"prompts must not be empty, got no token in prompt {first_id + i}")
        longest = max(map(len, token_lists))
        rows = [[pad] * (longest - len(t)) + list(t) for t in token_lists]
        lengths = torch.tensor([len(t) for t in token_lists])
        mask = torch.arange(longest) >= longest - lengths[:, None]
        return Prompts(torch.arange(first_id, first_id + len(rows)), torch.tensor(rows), mask)


@runtime_checkable
class Task(Protocol):
    """A finite, seeded set of prompts and a scorer. Build one as a frozen dataclass or a small class.

    `horizon` is the most tokens a completion may have; `tree` is the set of completions a policy may make, which is
    built where it is enumerated (None where there is none to name).
    """

    @property
    def name(self) -> str: ...

    @property
    def vocab(self) -> Vocab: ...

    @property
    def horizon(self) -> int: ...

    @property
    def tree(self) -> Tree | None: ...

    def prompts(self, split: str = "train") -> Prompts:
        """All prompts of a split ("train" or "test"; a task without held-out prompts gives the same for both)."""
        ...

    def score(self, ids: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
        """Rewards float64 [B, G] of completions int64 [B, G, T] with mask bool [B, G, T] for prompts `ids` [B]."""
        ...


def distinct(n: int, limit: int, generator: torch.Generator) -> Tensor:
    """`n` different numbers from 0 to limit - 1, in random order."""
    if limit <= 1_000_000:
        return torch.randperm(limit, generator=generator)[:n]
    found = torch.empty(0, dtype=torch.int64)
    while len(found) < n:
        found = torch.cat([found, torch.randint(limit, (n,), generator=generator)]).unique()
    return found[torch.randperm(len(found), generator=generator)[:n]]


def split_of(splits: dict[str, Prompts], split: str) -> Prompts:
    """The prompts of a named split; raises ValueError with the names there are."""
    return splits[one_of("split", split, splits)]


def texts(vocab: Vocab, completions: Tensor, mask: Tensor, keep_stop: bool = False) -> list[list[str]]:
    """Completions [B, G, T] as text, B lists of G strings, without the stop token unless `keep_stop`."""
    drop = () if keep_stop else vocab.stop

    def text(ids: list[int], keep: list[bool]) -> str:
        return vocab.decode([i for i, k in zip(ids, keep, strict=True) if k and i not in drop])

    return [
        [text(ids, keep) for ids, keep in zip(group, keeps, strict=True)]
        for group, keeps in zip(completions.tolist(), mask.tolist(), strict=True)
    ]
