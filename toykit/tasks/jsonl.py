"""Your own problems: prompts and answers from a JSONL file, with a verifier."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from toykit._checks import at_least
from toykit.tasks.base import Prompts, Vocab, split_of, texts
from toykit.tasks.mdp import TreeMDP, tree_mdp
from toykit.tasks.split import check_test_fraction, in_test
from toykit.tasks.tokenizer import TokenizerVocab
from toykit.tasks.tree import Tree
from toykit.tasks.verifiers import Verifier, last_number, number
from toykit.tasks.verifiers import verifier as named_verifier


@dataclass(frozen=True)
class Problem:
    """One line of the file: the prompt, the right answer, and the line's "id" (or its number, from 1)."""

    prompt: str
    answer: str
    id: str | int


@dataclass(frozen=True, eq=False)
class JsonlTask:
    """Prompts and answers of a file, tokenised; see `JsonlTask.load`. A prompt's id is its place in `problems`.

    Splits go by a stable hash of the prompt's text; where nothing is held out both splits are all prompts.
    """

    name: str
    problems: tuple[Problem, ...] = field(repr=False)
    vocab: Vocab = field(repr=False)
    verify: Verifier
    horizon: int
    test_fraction: float

    @staticmethod
    def load(
        path: str | Path,
        tokenizer: Any,
        verifier: str | Verifier = "number",
        horizon: int = 64,
        test_fraction: float = 0.1,
        name: str | None = None,
    ) -> JsonlTask:
        """The task of a JSONL file with one object a line: "prompt" and "answer" (texts or numbers), perhaps "id".

        tokenizer      a transformers tokenizer, or a `Vocab`
        verifier       "exact", "number", "set", or a callable (completion, answer) -> reward
        horizon        the most tokens of a completion, the stop token included
        test_fraction  share of the prompts held out
        name           default: the file's name

        Raises ValueError with the path and line number for text that is not UTF-8, malformed JSON, a missing key, a
        value of another type, an id that is there twice, or (verifier "number") an answer without a number; and for
        a file without problems.
        """
        verify = named_verifier(verifier)
        at_least("horizon", horizon, 1)
        check_test_fraction(test_fraction)
        problems = _read(Path(path), needs_number=verify is number)
        vocab = tokenizer if isinstance(tokenizer, Vocab) else TokenizerVocab(tokenizer)
        return JsonlTask(name or Path(path).stem, problems, vocab, verify, horizon, test_fraction)

    @cached_property
    def tree(self) -> Tree:
        """Every completion over the vocabulary; few enough to enumerate where the horizon is short."""
        stop = tuple(token for token in self.vocab.stop if token < self.vocab.size)
        return Tree(self.vocab.size, self.horizon, stop)

    def as_mdp(self) -> TreeMDP:
        """The train prompts as a deterministic tree MDP: states are prompts and prefixes, actions are tokens."""
        return tree_mdp(self)

    def prompts(self, split: str = "train") -> Prompts:
        """The prompts of a split, left-padded; a prompt is never in both, unless nothing is held out."""
        return split_of(self._splits, split)

    def score(self, ids: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
        """What the verifier says of each decoded completion, float64 [B, G].

        Raises ValueError naming the prompt for which the verifier returned no finite number.
        """
        rewards = [
            [self._judge(i, text) for text in group]
            for i, group in zip(ids.tolist(), texts(self.vocab, completions, mask), strict=True)
        ]
        return torch.tensor(rewards, dtype=torch.float64, device=completions.device)

    def corpus(self, n: int, generator: torch.Generator) -> tuple[Prompts, Tensor, Tensor]:
        """`n` train prompts with their answers and the stop token, for a supervised warm-up.

        Returns prompts, completions int64 [n, T] and mask bool [n, T]. Raises ValueError where the horizon cannot
        hold an answer.
        """
        at_least("n", n, 1)
        train = self.prompts("train")
        rows = train[torch.randint(len(train), (n,), generator=generator)]
        completions, mask = self._answers
        return rows, completions[rows.ids], mask[rows.ids]

    def solutions(self, ids: Tensor) -> list[list[list[int]]]:
        """The answer of each prompt with the stop token; none where the horizon cannot hold it."""
        answers = [self.problems[i].answer for i in ids.tolist()]
        rows = [[*self.vocab.encode(answer), *self.vocab.stop[:1]] for answer in answers]
        return [[row] if len(row) <= self.horizon else [] for row in rows]

    def _judge(self, prompt_id: int, completion: str) -> float:
        problem = self.problems[prompt_id]
        reward = float(self.verify(completion, problem.answer))
        if not math.isfinite(reward):
            raise ValueError(f"verifier must return a finite number, got {reward} for prompt {prompt_id}")
        return reward

    @cached_property
    def _splits(self) -> dict[str, Prompts]:
        encode = self.vocab.encode_prompt if isinstance(self.vocab, TokenizerVocab) else self.vocab.encode
        every = Prompts.from_lists([encode(p.prompt) for p in self.problems], pad=self.vocab.pad)
        held_out = torch.tensor([in_test(p.prompt, self.test_fraction) for p in self.problems])
        if bool(held_out.all()):
            raise ValueError(f"test_fraction must leave a train prompt, {self.test_fraction} holds out all of them")
        return {"train": every[~held_out], "test": every[held_out] if bool(held_out.any()) else every}

    @cached_property
    def _answers(self) -> tuple[Tensor, Tensor]:
        """Answers and the stop token int64 [n, T], and masks bool [n, T]."""
        rows = [[*self.vocab.encode(p.answer), *self.vocab.stop[:1]] for p in self.problems]
        for problem, row in zip(self.problems, rows, strict=True):
            if len(row) > self.horizon:
                raise ValueError(
                    f"horizon must be >= {len(row)} for the answer of problem {problem.id}, got {self.horizon}"
                )
        lengths = torch.tensor([len(row) for row in rows])
        tokens = torch.tensor([row + [self.vocab.pad] * (self.horizon - len(row)) for row in rows])
        return tokens, torch.arange(self.horizon) < lengths[:, None]


def _read(path: Path, needs_number: bool) -> tuple[Problem, ...]:
    problems: list[Problem] = []
    seen: set[str | int] = set()
    with path.open("rb") as lines:
        for i, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            problem = _problem(_text(line, f"{path}, line {i}"), f"{path}, line {i}", default_id=i)
            if needs_number and last_number(problem.answer) is None:
                raise ValueError(f'{path}, line {i}: "answer" must hold a number, got {problem.answer!r}')
            if problem.id in seen:
                raise ValueError(f'{path}, line {i}: "id" must be unique, got {problem.id!r} again')
            seen.add(problem.id)
            problems.append(problem)
    if not problems:
        raise ValueError(f"{path} must hold at least one problem, got none")
    return tuple(problems)


def _text(line: bytes, where: str) -> str:
    """A line as text, without a byte order mark; `where` begins its error message."""
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wrong = f"the byte {line[error.start]:#04x} at column {error.start + 1}"
        raise ValueError(f"{where}: must be UTF-8 text, got {wrong}") from None


def _problem(line: str, where: str, default_id: int) -> Problem:
    """One line as a problem; `where` begins its error messages."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: malformed JSON, {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        raise ValueError(f"{where}: JSON that cannot be read, {error}") from None
    if not isinstance(row, dict):
        raise ValueError(f'{where}: must be an object with "prompt" and "answer", got {type(row).__name__}')
    for key in ("prompt", "answer"):
        if key not in row:
            raise ValueError(f'{where}: "{key}" is missing, the line has {", ".join(row) or "no key"}')
    prompt, answer, name = row["prompt"], row["answer"], row.get("id", default_id)
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError(f'{where}: "prompt" must be a text that is not empty, got {prompt!r}')
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        raise ValueError(f'{where}: "answer" must be a text or a number, got {answer!r}')
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise ValueError(f'{where}: "id" must be a text or a whole number, got {name!r}')
    text = f"{Decimal(repr(answer)):f}" if isinstance(answer, float) else str(answer)  # never 1e-05
    return Problem(prompt, text, name)
