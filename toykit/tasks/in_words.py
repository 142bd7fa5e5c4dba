"""A task of this package, asked and answered in the text of another tokenizer: for a model that was trained on text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from toykit.tasks.base import Prompts, Task, split_of, texts
from toykit.tasks.tokenizer import TokenizerVocab, is_sign


@dataclass(frozen=True, eq=False)
class InWords:
    """A task whose prompts and completions are texts, read and written with the ids of `vocab`.

    A prompt is the task's own as a text, without signs such as <bos>. A completion is read as words of the task; it
    ends in the task's stop token where it ended in one of `vocab`. What is no text of such words, and what is longer
    than the task's horizon, has the reward 0. The horizon leaves room for every word in the tokens that it takes.
    """

    task: Task
    vocab: TokenizerVocab
    tree: None = None

    def __post_init__(self) -> None:
        if self.task.vocab.stop and not self.vocab.stop:
            raise ValueError(
                f"tokenizer must have an end-of-sequence token for the task {self.task.name}, whose completions end "
                "with one"
            )

    @property
    def name(self) -> str:
        return self.task.name

    @cached_property
    def horizon(self) -> int:
        words = [word for word in self.task.vocab.tokens if not is_sign(word)]
        return self.task.horizon * max(len(self.vocab.encode(self.task.vocab.sep + word)) for word in words)

    def prompts(self, split: str = "train") -> Prompts:
        """The prompts of a split, left-padded, with the ids that the task gives them."""
        return split_of(self._splits, split)

    def score(self, ids: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
        """The task's rewards float64 [B, G]."""
        own, (b, g) = self.task.vocab, mask.shape[:2]
        last = completions.gather(-1, (mask.sum(-1, keepdim=True) - 1).clamp(min=0))[..., 0]
        ended = (torch.isin(last, torch.tensor(self.vocab.stop, device=last.device)) & mask.any(-1)).flatten().tolist()
        written = [text for group in texts(self.vocab, completions, mask) for text in group]
        rows = [self._read(text, end) for text, end in zip(written, ended, strict=True)]
        tokens = torch.full((b * g, self.task.horizon), own.pad)
        lengths = torch.tensor([len(row or ()) for row in rows])
        for place, row in zip(tokens, rows, strict=True):
            place[: len(row or ())] = torch.tensor(row or (), dtype=torch.int64)
        seen = (torch.arange(self.task.horizon) < lengths[:, None]).view(b, g, -1)
        rewards = self.task.score(ids.cpu(), tokens.view(b, g, -1), seen)
        readable = torch.tensor([row is not None for row in rows]).view(b, g)
        return rewards.masked_fill(~readable, 0.0).to(completions.device)

    def solutions(self, ids: Tensor) -> list[list[list[int]]]:
        """The task's right completions of each prompt, as texts of this tokenizer."""
        of_task: Callable[[Tensor], list[list[list[int]]]] | None = getattr(self.task, "solutions", None)
        return [[self._written(row) for row in rows] for rows in of_task(ids)] if of_task else [[] for _ in ids]

    def _written(self, row: list[int]) -> list[int]:
        """A completion of the task in the ids of `vocab`."""
        own = self.task.vocab
        text = own.sep + own.decode([i for i in row if i not in own.stop])
        return [*self.vocab.encode(text), *(self.vocab.stop[:1] if row[-1] in own.stop else ())]

    def _read(self, text: str, ended: bool) -> list[int] | None:
        """A completion in the task's ids; None for what is none of the task's."""
        own = self.task.vocab
        words = text.split() if own.sep else list(text.strip())
        if not set(words) <= {word for word in own.tokens if not is_sign(word)}:
            return None
        ids = [own.tokens.index(word) for word in words] + list(own.stop[:1] if ended else ())
        return ids if 0 < len(ids) <= self.task.horizon else None

    @cached_property
    def _splits(self) -> dict[str, Prompts]:
        return {split: self._asked(self.task.prompts(split)) for split in ("train", "test")}

    def _asked(self, prompts: Prompts) -> Prompts:
        own = self.task.vocab
        rows = [
            self.vocab.encode_prompt(own.decode([i for i in ids[mask].tolist() if not is_sign(own.tokens[i])]))
            for ids, mask in zip(prompts.tokens, prompts.mask, strict=True)
        ]
        made = Prompts.from_lists(rows, pad=self.vocab.pad)
        return Prompts(prompts.ids, made.tokens, made.mask)


def for_tokenizer(task: Task, vocab: TokenizerVocab) -> Task:
    """The task for a policy with this tokenizer: in its words, where the task is one of texts with other ids.

    Where the tokenizer's first ids are the task's, and for tasks without a corpus, whose tokens stand for nothing, it
    is the task as it is. Raises ValueError for a tokenizer without an end-of-sequence token where the task needs one.
    """
    same = vocab.tokens[: task.vocab.size] == task.vocab.tokens
    return task if same or not hasattr(task, "corpus") else InWords(task, vocab)
