"""Random arithmetic expressions of chosen difficulty, read and answered one character at a time."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from toykit._checks import at_least, one_of
from toykit.tasks.base import Prompts, Vocab, split_of
from toykit.tasks.expressions import ATOMS, Expression, decimal_text, random_expression, rounded
from toykit.tasks.mdp import TreeMDP, tree_mdp
from toykit.tasks.split import check_test_fraction, in_test
from toykit.tasks.tree import Tree

CHARACTERS = "0123456789.-+*/^()="
POINT, MINUS, EOS, PAD = 10, 11, 19, 20

MAX_HORIZON = 16  # so that every answer has at most 15 digits and is exact in float64
REWARDS = ("exact", "continuous")
PATIENCE = 2_000  # draws in a row without a new problem


@dataclass(frozen=True)
class Arithmetic:
    """Prompt: an expression and "="; completion: its value as a decimal, character by character, and `<eos>`.

    levels         how many operations an expression has, each as likely as the others while it has new problems
    atoms          of "integer", "fraction", "square", "cube"
    operators      of + - * /
    max_integer    numbers in the expressions go from 0 to this one
    decimals       places to which the value is rounded
    n_problems     different problems in both splits together
    test_fraction  share held out, by a stable hash of the expression: one is in the same split for every seed
    reward         "exact": 1 for the rounded value, else 0; "continuous": falls with the distance, see
                   `continuous_reward`; both are 0 where the completion is not a number and then `<eos>`
    horizon        the most tokens of a completion; expressions with longer answers are drawn again

    RandomCalculation (arXiv 2507.10532) has levels 1..20, all atoms, numbers up to 100 and the continuous reward.
    Raises ValueError for settings out of range and where there are fewer problems than asked for.
    """

    levels: tuple[int, ...] = (1, 2)
    atoms: tuple[str, ...] = ("integer",)
    operators: str = "+-*/"
    max_integer: int = 9
    decimals: int = 2
    n_problems: int = 4096
    test_fraction: float = 0.1
    reward: str = "exact"
    horizon: int = 10
    seed: int = 0
    name: str = "arithmetic"

    vocab: ClassVar[Vocab] = Vocab((*CHARACTERS, "<eos>", "<pad>"), pad=PAD, stop=(EOS,), sep="")

    def __post_init__(self) -> None:
        if not self.levels or not all(1 <= n <= 20 for n in self.levels):
            raise ValueError(f"levels must be one or more numbers from 1 to 20, got {self.levels}")
        if not self.atoms or not self.operators:
            raise ValueError(f"atoms and operators must not be empty, got {self.atoms} and {self.operators!r}")
        for atom in self.atoms:
            one_of("atoms", atom, ATOMS)
        for operator in self.operators:
            one_of("operators", operator, "+-*/")
        one_of("reward", self.reward, REWARDS)
        at_least("max_integer", self.max_integer, 1)
        at_least("decimals", self.decimals, 0)
        at_least("n_problems", self.n_problems, 1)
        check_test_fraction(self.test_fraction)
        if not 2 <= self.horizon <= MAX_HORIZON:
            raise ValueError(f"horizon must be from 2 to {MAX_HORIZON}, got {self.horizon}")

    @cached_property
    def problems(self) -> tuple[Expression, ...]:
        """The expressions in order of prompt ids: the train problems, then the test problems."""
        rng = random.Random(self.seed)
        found: dict[str, Expression] = {}
        misses = 0
        while len(found) < self.n_problems:
            level = rng.choice(self.levels)
            problem = random_expression(rng, level, self.atoms, self.operators, self.max_integer)
            new = problem.text not in found and len(decimal_text(problem.value, self.decimals)) < self.horizon
            misses = 0 if new else misses + 1
            if misses == PATIENCE:
                raise ValueError(
                    f"n_problems must be at most the number of different problems; found {len(found)} "
                    f"of {self.n_problems} with levels {self.levels}, answers of at most {self.horizon - 1} characters"
                )
            if new:
                found[problem.text] = problem
        return tuple(sorted(found.values(), key=lambda p: in_test(p.text, self.test_fraction)))

    @cached_property
    def tree(self) -> Tree:
        """Every completion over the vocabulary; few enough to enumerate where the horizon is short."""
        return Tree(self.vocab.size, self.horizon, self.vocab.stop)

    def as_mdp(self) -> TreeMDP:
        """The train prompts as a deterministic tree MDP: states are prompts and prefixes, actions are tokens."""
        return tree_mdp(self)

    def prompts(self, split: str = "train") -> Prompts:
        """The prompts of a split, left-padded; no problem is in both."""
        return split_of(self._splits, split)

    def answer(self, prompt_id: int) -> str:
        """The right completion of a prompt, without the stop token."""
        return decimal_text(self.problems[prompt_id].value, self.decimals)

    def solutions(self, ids: Tensor) -> list[list[list[int]]]:
        """The right completions of each prompt: its value and the stop token."""
        return [[[*self.vocab.encode(self.answer(i)), EOS]] for i in ids.tolist()]

    def score(self, ids: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
        """The reward named by `reward`, float64 [B, G]."""
        value, valid = numbers(completions, mask)
        truth = self._values.to(value.device)[ids.to(value.device)].unsqueeze(-1)
        right = (value - truth).abs() < 0.5 * 10.0**-self.decimals
        if self.reward == "continuous":
            return continuous_reward(torch.where(right, truth, value), truth).masked_fill(~valid, 0.0)
        return (right & valid).double()

    def corpus(self, n: int, generator: torch.Generator) -> tuple[Prompts, Tensor, Tensor]:
        """`n` train problems with their answers: prompts, completions int64 [n, T] and mask bool [n, T]."""
        at_least("n", n, 1)
        ids = torch.randint(len(self.prompts("train")), (n,), generator=generator)
        completions, mask = self._answers
        return self.prompts("train")[ids], completions[ids], mask[ids]

    @cached_property
    def _splits(self) -> dict[str, Prompts]:
        n_train = sum(not in_test(p.text, self.test_fraction) for p in self.problems)
        if n_train == 0:
            raise ValueError(f"test_fraction must leave a train problem, {self.test_fraction} holds out all of them")
        every = Prompts.from_lists([self.vocab.encode(p.text + "=") for p in self.problems], pad=PAD)
        held_out = every[n_train:]
        return {"train": every[:n_train], "test": held_out if len(held_out) else every}

    @cached_property
    def _answers(self) -> tuple[Tensor, Tensor]:
        """Right completions int64 [n, T] and masks bool [n, T]."""
        rows = [[*self.vocab.encode(self.answer(i)), EOS] for i in range(len(self.problems))]
        lengths = torch.tensor([len(row) for row in rows])
        tokens = torch.tensor([row + [PAD] * (self.horizon - len(row)) for row in rows])
        return tokens, torch.arange(self.horizon) < lengths[:, None]

    @cached_property
    def _values(self) -> Tensor:
        """float64 [n]: the rounded value of each problem."""
        return torch.tensor([float(rounded(p.value, self.decimals)) for p in self.problems], dtype=torch.float64)


def numbers(completions: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The numbers float64 [..., G] that completions [..., G, T] of character tokens spell, and whether they do.

    A number is "-" or nothing, digits, and perhaps "." and digits; then `<eos>` must come. The value is the float64
    nearest to the decimal, for up to 15 digits; it is 0 where there is no number.
    """
    place = torch.arange(mask.shape[-1], device=mask.device)
    length = mask.sum(-1, keepdim=True)
    digit, point = mask & (completions < 10), mask & (completions == POINT)
    signed = (completions[..., :1] == MINUS) & mask[..., :1]
    end = mask & (completions == EOS) & (place == length - 1)
    known = digit | point | end | (signed & (place == 0))
    after_digit = torch.nn.functional.pad(digit[..., :-1], (1, 0))
    valid = ((known | ~mask) & (after_digit | ~(point | end))).all(-1) & (point.sum(-1) <= 1) & end.any(-1)

    powers = torch.tensor([float(10**k) for k in range(mask.shape[-1] + 1)], dtype=torch.float64, device=mask.device)
    later = digit.long().flip(-1).cumsum(-1).flip(-1) - digit.long()  # digits to the right of each place
    mantissa = (completions * digit * powers[later]).sum(-1)
    decimals = (digit & (point.cumsum(-1) > 0)).sum(-1)
    value = mantissa / powers[decimals] * torch.where(signed[..., 0], -1.0, 1.0)
    return torch.where(valid, value, 0.0), valid


def continuous_reward(answer: Tensor, truth: Tensor) -> Tensor:
    """1 - min(|a - b|, 1) / 2 - min(|a - b| / (|b| + 1e-6), 1) / 2 for answers a and true values b of one shape.

    In [0, 1], and 1 only for a = b. RandomCalculation, arXiv 2507.10532.
    """
    distance = (answer - truth).abs()
    return 1 - 0.5 * distance.clamp(max=1) - 0.5 * (distance / (truth.abs() + 1e-6)).clamp(max=1)
