"""The alternating sum: put four given digits in an order a b c d for which a - b + c - d is the number asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, permutations
from typing import ClassVar

import torch
from torch import Tensor

from toykit._checks import at_least
from toykit.tasks.base import Prompts, Vocab, split_of
from toykit.tasks.mdp import TreeMDP, tree_mdp
from toykit.tasks.tree import Tree

PLUS, MINUS = 10, 11
DIGITS, PLACES = 10, 4
SIGNS = (1, -1, 1, -1)


@dataclass(frozen=True)
class AlternatingSum:
    """Prompts: four different digits in increasing order, a sign and two digits of the sum; completions: four digits.

    Right is every order of the digits that has the sum: four or more of 24, because the places of one sign are alike.

    n_train, n_test  problems of the splits, of all 1,210 there are; none is in both
    skill            share of the corpus's examples that are right
    habit            how strongly the other examples put large digits where they are added, whatever sum is asked for
    typo             probability with which each digit of an example is replaced by one drawn from all ten
    seed             of the splits

    Raises ValueError for shares outside [0, 1] and for more problems than there are.
    """

    n_train: int = 96
    n_test: int = 64
    skill: float = 0.08
    habit: float = 1.3
    typo: float = 0.3
    seed: int = 0
    name: str = "alternating_sum"

    horizon: ClassVar[int] = PLACES
    vocab: ClassVar[Vocab] = Vocab((*"0123456789", "+", "-"))
    tree: ClassVar[Tree] = Tree(12, horizon=PLACES)

    def __post_init__(self) -> None:
        for name in ("skill", "typo"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)}")
        at_least("habit", self.habit, 0)
        for name in ("n_train", "n_test"):
            at_least(name, getattr(self, name), 1)
        if self.n_train + self.n_test > len(self.problems):
            raise ValueError(
                f"n_train + n_test must be at most {len(self.problems)}, got {self.n_train} + {self.n_test}"
            )

    @cached_property
    def problems(self) -> tuple[tuple[tuple[int, ...], int], ...]:
        """(digits, sum) of every problem, in order of prompt ids: the train problems, the test problems, the rest."""
        every = sorted({(d, _sum(order)) for d in combinations(range(DIGITS), PLACES) for order in permutations(d)})
        order = torch.randperm(len(every), generator=torch.Generator().manual_seed(self.seed))
        return tuple(every[i] for i in order.tolist())

    def prompts(self, split: str = "train") -> Prompts:
        """The prompts of a split."""
        return split_of(self._splits, split)

    def score(self, ids: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
        """1 for an order of the prompt's digits with the prompt's sum, else 0; float64 [B, G]."""
        right, known = (x.to(completions.device)[ids.to(completions.device)] for x in self.right)
        same = (completions[..., None, :PLACES] == right[:, None]).all(-1) & known[:, None]
        return (same.any(-1) & mask[..., :PLACES].all(-1)).double()

    def corpus(self, n: int, generator: torch.Generator) -> tuple[Prompts, Tensor, Tensor]:
        """`n` noisy examples on all problems: prompts, completions int64 [n, 4] and mask bool [n, 4]."""
        at_least("n", n, 1)
        ids = torch.randint(len(self.problems), (n,), generator=generator)
        right, known = (x[ids] for x in self.right)
        which = torch.multinomial(known.double(), 1, generator=generator)
        solved = right.gather(1, which[..., None].expand(-1, -1, PLACES))[:, 0]
        luck = -torch.rand(n, PLACES, generator=generator, dtype=torch.float64).log().neg().log()
        ranked = (self.habit * torch.arange(PLACES) + luck).argsort(1, descending=True)  # largest digits first
        usual = self._digits[ids].gather(1, ranked[:, [0, 2, 1, 3]])  # to the places 1, 3, 2, 4
        skilled = torch.rand(n, 1, generator=generator) < self.skill
        slip = torch.rand(n, PLACES, generator=generator) < self.typo
        noise = torch.randint(DIGITS, (n, PLACES), generator=generator)
        completions = torch.where(slip, noise, torch.where(skilled, solved, usual))
        return self._every[ids], completions, torch.ones_like(completions, dtype=torch.bool)

    def as_mdp(self) -> TreeMDP:
        """The train prompts as a deterministic tree MDP: states are prompts and prefixes, actions are tokens."""
        return tree_mdp(self)

    @cached_property
    def right(self) -> tuple[Tensor, Tensor]:
        """(int64 [n, R, 4], bool [n, R]): the right completions of each prompt id, and which of them there are."""
        found = [[o for o in permutations(digits) if _sum(o) == total] for digits, total in self.problems]
        most = max(map(len, found))
        orders = torch.tensor([rows + [rows[0]] * (most - len(rows)) for rows in found])
        return orders, torch.arange(most) < torch.tensor([len(rows) for rows in found])[:, None]

    def solutions(self, ids: Tensor) -> list[list[list[int]]]:
        """The right completions of each prompt: four or more orders of its digits."""
        right, known = (x[ids.cpu()] for x in self.right)
        return [orders[there].tolist() for orders, there in zip(right, known, strict=True)]

    @cached_property
    def _digits(self) -> Tensor:
        return torch.tensor([digits for digits, _ in self.problems])

    @cached_property
    def _every(self) -> Prompts:
        rows = [[*d, PLUS if total >= 0 else MINUS, *divmod(abs(total), DIGITS)] for d, total in self.problems]
        return Prompts.from_lists(rows)

    @cached_property
    def _splits(self) -> dict[str, Prompts]:
        n = self.n_train
        return {"train": self._every[:n], "test": self._every[n : n + self.n_test]}


def _sum(order: tuple[int, ...]) -> int:
    return sum(sign * digit for sign, digit in zip(SIGNS, order, strict=True))
