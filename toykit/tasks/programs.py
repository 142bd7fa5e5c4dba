"""Programs: write a program of a small stack language that has the outputs which the prompt shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from toykit._checks import at_least, one_of
from toykit.tasks.base import Prompts, Vocab, split_of
from toykit.tasks.program_search import Functions, by_function, every_program, n_words, program_tree, random_programs
from toykit.tasks.stack_machine import CAP, END, EXTRA, WORDS, run
from toykit.tasks.tree import Tree

REWARDS = ("all", "fraction")
TEST_EVERY = 4  # the last of so many prompts that follow each other is held out
LONGEST, LONGEST_EXTRA = 7, 6  # tokens of programs that can all be run: about a million


@dataclass(frozen=True)
class Programs:
    """Prompts: a function's outputs at the test inputs; completions: programs of `toykit.tasks.stack_machine`.

    There is a prompt for every function, except constants, that a program with its `end` within `length` tokens
    computes. Prompt ids follow the number of these programs, most first, ties by the outputs, ascending: difficulty
    rises with the id. Every fourth prompt is held out.

    length       T: the most tokens of a program, its `end` included
    inputs       the tests: a program passes one where it has the function's output there
    held_out     more inputs, which no reward sees, for `generalises`
    reward       "all": 1 where every test is passed, else 0; "fraction": the share of tests that are passed, which also
                 pays a constant that happens to meet a few outputs: look at `passed` beside it
    extra        whether the language has swap, max and mod too
    drawn        functions are those of so many random programs; None: of all programs, where the length is at most 7,
                 or 6 with `extra`
    window       the most tokens of a completion, where it is less than `length`; the prompts stay the same
    needs_end    whether a program that reaches the window without an `end` has no output; else it is judged as it is
    clip         prompts show outputs clipped to -clip..clip; of functions that look alike only the first is asked for
    skill        share of the corpus's examples with a program for the prompt that they show
    typo         probability with which each word of an example but `end` is replaced by one drawn from all but `end`
    hard_factor  how often a program of a hard function counts in the corpus, those of others being counted once
    seed         of the random programs

    Raises ValueError for fewer than three different inputs, held-out inputs that are inputs too, inputs beyond the cap,
    an unknown reward, and sizes and shares out of range.
    """

    length: int = 6
    inputs: tuple[int, ...] = (-2, -1, 0, 1, 2, 3)
    held_out: tuple[int, ...] = (-4, -3, 4, 5)
    reward: str = "all"
    extra: bool = False
    drawn: int | None = None
    window: int | None = None
    needs_end: bool = False
    clip: int = 9
    skill: float = 0.03
    typo: float = 0.1
    hard_factor: float = 2.0
    seed: int = 0
    name: str = "programs"

    def __post_init__(self) -> None:
        one_of("reward", self.reward, REWARDS)
        at_least("length", self.length, 4)
        at_least("clip", self.clip, 1)
        at_least("hard_factor", self.hard_factor, 1)
        longest = LONGEST_EXTRA if self.extra else LONGEST
        if self.drawn is None and self.length > longest:
            raise ValueError(
                f"length must be at most {longest} where all programs are run, got {self.length}; set drawn to run "
                "random ones"
            )
        if self.drawn is not None:
            at_least("drawn", self.drawn, 1)
        if not 1 <= self.horizon <= self.length:
            raise ValueError(f"window must be from 1 to the length {self.length}, got {self.window}")
        for name in ("skill", "typo"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)}")
        if len(self.inputs) < 3 or not self.held_out or len({*self.inputs, *self.held_out}) < self._n_inputs:
            raise ValueError(
                "inputs must be three or more and held_out one or more, all different, "
                f"got {self.inputs} and {self.held_out}"
            )
        if max(map(abs, (*self.inputs, *self.held_out))) > CAP:
            raise ValueError(f"inputs must be from -{CAP} to {CAP}, got {self.inputs} and {self.held_out}")

    @property
    def horizon(self) -> int:
        return self.length if self.window is None else self.window

    @cached_property
    def vocab(self) -> Vocab:
        """The language's words, then the outputs -clip..clip (but 1 and 2, which are words), then the padding."""
        words = WORDS + EXTRA if self.extra else WORDS
        numbers = [text for text in map(str, range(-self.clip, self.clip + 1)) if text not in words]
        return Vocab((*words, *numbers, "<pad>"), pad=len(words) + len(numbers), stop=(END,))

    @cached_property
    def tree(self) -> Tree:
        """Every program that a completion can be."""
        return program_tree(self.horizon, self.extra)

    @cached_property
    def functions(self) -> Functions:
        """The function of each prompt id, and the programs that the prompts were made from."""
        if self.drawn is None:
            programs = every_program(self.length, self.extra)
        else:
            generator = torch.Generator().manual_seed(self.seed)
            programs = random_programs(self.drawn, self.length, self.extra, generator)
        return by_function(programs, self.inputs, self.held_out, self.clip, self.extra)

    @property
    def hard(self) -> Tensor:
        """bool [n]: the third of the prompt ids with the fewest programs, and those with as many."""
        counts = self.functions.counts
        return counts <= counts[2 * len(counts) // 3]

    def prompts(self, split: str = "train") -> Prompts:
        """The prompts of a split; no function is in both."""
        return split_of(self._splits, split)

    def score(self, ids: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
        """The reward named by `reward`, float64 [B, G]; 0 for a program without an output."""
        passed = self.passed(ids, completions, mask)
        return passed.all(-1).double() if self.reward == "all" else passed.double().mean(-1)

    def passed(self, ids: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
        """bool [B, G, n]: the tests that are passed."""
        return self._meets(self.inputs, self.functions.outputs, ids, completions, mask)

    def generalises(self, ids: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
        """bool [B, G]: whether all tests are passed, and the outputs at the held-out inputs are right too."""
        there = self._meets(self.held_out, self.functions.held_out, ids, completions, mask)
        return self.passed(ids, completions, mask).all(-1) & there.all(-1)

    def corpus(self, n: int, generator: torch.Generator) -> tuple[Prompts, Tensor, Tensor]:
        """`n` examples on all prompts: prompts, completions int64 [n, T] and mask bool [n, T].

        Pairs of a function and one of its programs are drawn from all there are, those of `hard` functions
        `hard_factor` times as often. A share `skill` of the examples is such a pair; the others show the function of
        one pair and the program of another. Then slips replace tokens, but no `end`, and a window cuts what is longer.
        """
        at_least("n", n, 1)
        found = self.functions
        chances = torch.where(self.hard[found.of], self.hard_factor, 1.0)
        asked, answered = (torch.multinomial(chances, n, replacement=True, generator=generator) for _ in range(2))
        skilled = torch.rand(n, generator=generator) < self.skill
        programs = found.programs[torch.where(skilled, asked, answered)]
        slip = (torch.rand(programs.shape, generator=generator) < self.typo) & (programs != END)
        noise = torch.randint(n_words(self.extra) - 1, programs.shape, generator=generator)
        noise += noise >= END  # every word but `end`
        tokens, mask = self._padded(torch.where(slip, noise, programs))
        return self._every[found.of[asked]], tokens[:, : self.horizon], mask[:, : self.horizon]

    @cached_property
    def right(self) -> tuple[Tensor, Tensor, Tensor]:
        """(int64 [n, R, T], bool [n, R, T], bool [n, R]): the right completions of each prompt id, their masks, and
        which of them there are.

        They are all completions in the window whose reward "all" is 1, so that the mass of them is a policy's exact
        probability of success. Raises ValueError where there are too many completions to write out.
        """
        found, tree = self.functions, self.tree
        tree.check_size()
        outputs, ok = run(tree.tokens, self.inputs, tree.mask, self.extra, self.needs_end)
        n = len(found.outputs)
        _, group = torch.cat([found.outputs, outputs[ok]]).unique(dim=0, return_inverse=True)
        prompt_of = torch.full((len(group),), -1).scatter(0, group[:n], torch.arange(n))[group[n:]]
        solves = prompt_of >= 0
        order = prompt_of[solves].argsort(stable=True)
        rows, owner = ok.nonzero()[solves, 0][order], prompt_of[solves][order]
        counts = owner.bincount(minlength=n)
        known = torch.arange(int(counts.max())) < counts[:, None]
        mask = torch.zeros(*known.shape, self.horizon, dtype=torch.bool)
        mask[known] = tree.mask[rows]
        tokens = torch.full(mask.shape, self.vocab.pad)
        tokens[known] = tree.tokens[rows].masked_fill(~tree.mask[rows], self.vocab.pad)
        return tokens, mask, known

    def _meets(self, inputs: tuple[int, ...], wanted: Tensor, ids: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
        """bool [B, G, n]: where programs have the outputs `wanted` [F, n] of their prompts."""
        programs, seen = completions[..., : self.horizon], mask[..., : self.horizon]
        outputs, ok = run(programs, inputs, seen, self.extra, self.needs_end)
        right = wanted.to(outputs.device)[ids.to(outputs.device)][:, None]
        return (outputs == right) & ok[..., None]

    def _padded(self, programs: Tensor) -> tuple[Tensor, Tensor]:
        """Programs [..., T], filled with `end` after their first one, with padding in its place; and their mask."""
        mask = (programs == END).cumsum(-1) <= 1
        return programs.masked_fill(~mask, self.vocab.pad), mask

    @property
    def _n_inputs(self) -> int:
        return len(self.inputs) + len(self.held_out)

    @cached_property
    def _every(self) -> Prompts:
        numbers = range(-self.clip, self.clip + 1)
        token = torch.tensor([self.vocab.tokens.index(str(number)) for number in numbers])
        tokens = token[self.functions.outputs.clamp(-self.clip, self.clip) + self.clip]
        return Prompts(torch.arange(len(tokens)), tokens, torch.ones_like(tokens, dtype=torch.bool))

    @cached_property
    def _splits(self) -> dict[str, Prompts]:
        test = self._every.ids % TEST_EVERY == TEST_EVERY - 1
        return {"train": self._every[~test], "test": self._every[test]}
