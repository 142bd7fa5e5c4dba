"""chain_sum: the last digit of a sum of digits, answered directly or by a chain of running sums."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from toykit._checks import at_least
from toykit.tasks.base import Prompts, Vocab, distinct, split_of
from toykit.tasks.mdp import TreeMDP, tree_mdp
from toykit.tasks.tree import Tree

BOS, EOS, EQUALS, ANSWER, RECHECK, PAD = 10, 11, 12, 13, 14, 15

DIRECT = 0.3  # share of the corpus that answers at once
SLIP = 0.06  # probability that a running sum is wrong
AGAIN = 0.6  # probability of one more recheck


@dataclass(frozen=True)
class ChainSum:
    """Prompt `<bos> d1 .. dn =`; right is a completion that ends in `A s <eos>` with s the sum of the digits mod 10.

    n_digits         how many digits a prompt has, or several numbers, of which the prompts have equal shares as far as
                     there are enough different prompts
    n_train, n_test  prompts of each split, all different
    horizon          the most tokens of a completion, the stop token included
    seed             of the draw of the prompts

    Raises ValueError for sizes out of range, a horizon that cannot hold the chain, and more prompts than there are.
    """

    n_digits: int | tuple[int, ...] = 4
    n_train: int = 8192
    n_test: int = 512
    horizon: int = 20
    seed: int = 0
    name: str = "chain_sum"

    vocab: ClassVar[Vocab] = Vocab((*"0123456789", "<bos>", "<eos>", "=", "A", "R", "<pad>"), pad=PAD, stop=(EOS,))

    def __post_init__(self) -> None:
        at_least("n_train", self.n_train, 1)
        at_least("n_test", self.n_test, 1)
        if not self._sizes or not all(1 <= n <= 18 for n in self._sizes):
            raise ValueError(f"n_digits must be one or more numbers from 1 to 18, got {self.n_digits}")
        at_least("horizon", self.horizon, max(self._sizes) + 3)
        if (wanted := self.n_train + self.n_test) > (there := sum(10**n for n in self._sizes)):
            raise ValueError(f"n_train + n_test must be at most the {there} different prompts, got {wanted}")

    @cached_property
    def tree(self) -> Tree:
        """Every completion over the vocabulary; few enough to enumerate where the horizon is short."""
        return Tree(self.vocab.size, self.horizon, self.vocab.stop)

    def as_mdp(self) -> TreeMDP:
        """The train prompts as a deterministic tree MDP: states are prompts and prefixes, actions are tokens."""
        return tree_mdp(self)

    def prompts(self, split: str = "train") -> Prompts:
        """The prompts of a split, left-padded; no prompt is in both."""
        return split_of(self._splits, split)

    def score(self, ids: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
        """1 where the completion ends in `A s <eos>` with the right s, else 0; float64 [B, G]."""
        wanted = self._sums.to(completions.device)[ids.to(completions.device)].unsqueeze(-1)
        place = mask.sum(-1, keepdim=True) + torch.arange(-3, 0, device=mask.device)
        mark, digit, end = completions.gather(-1, place.clamp(min=0)).unbind(-1)
        return ((place[..., 0] >= 0) & (mark == ANSWER) & (digit == wanted) & (end == EOS)).double()

    def corpus(self, n: int, generator: torch.Generator) -> tuple[Prompts, Tensor, Tensor]:
        """`n` worked examples on train prompts: prompts, completions int64 [n, T] and mask bool [n, T].

        30% answer at once (`A s <eos>`). The others write the running sums, each the one before plus the next digit
        or, with probability 0.06, another digit; then `R s` as long as a coin of 0.6 says so and there is room;
        then `A s <eos>`, where s is the last running sum, right or not.
        """
        at_least("n", n, 1)
        ids = torch.randint(self.n_train, (n,), generator=generator)
        chain = torch.rand(n, generator=generator) >= DIRECT
        sizes, sums = self._counts[ids], self._slipping_sums(self._digits[ids], generator)
        answer = torch.where(chain, sums.gather(1, sizes[:, None] - 1)[:, 0], self._sums[ids])
        room = (self.horizon - sizes - 3) // 2
        again = torch.rand(n, int(room.max()), generator=generator) < AGAIN
        rechecks = torch.minimum(again.long().cumprod(1).sum(1), room)

        first = (sizes * chain)[:, None]  # place of the first recheck
        end = first + 2 * (rechecks * chain)[:, None]  # place of the answer's mark
        place = torch.arange(self.horizon).expand(n, -1)
        tokens = torch.where((place - first) % 2 == 0, RECHECK, answer[:, None])
        tokens = torch.where(place < first, torch.nn.functional.pad(sums, (0, self.horizon - sums.shape[1])), tokens)
        for i, token in enumerate((torch.full_like(answer, ANSWER), answer, torch.full_like(answer, EOS))):
            tokens = torch.where(place == end + i, token[:, None], tokens)
        mask = place < end + 3
        return self.prompts("train")[ids], tokens.masked_fill(~mask, PAD), mask

    def solutions(self, ids: Tensor) -> list[list[list[int]]]:
        """Two right completions of each prompt: the chain of running sums and the answer, and the answer at once."""
        ids = ids.cpu()
        found = []
        for digits, size in zip(self._digits[ids], self._counts[ids].tolist(), strict=True):
            sums = (digits[:size].cumsum(0) % 10).tolist()
            answer = [ANSWER, sums[-1], EOS]
            found.append([[*sums, *answer], answer])
        return found

    def _slipping_sums(self, digits: Tensor, generator: torch.Generator) -> Tensor:
        """Running sums mod 10, int64 as `digits`; after a slip the next sum starts from what is written."""
        slips = torch.rand(digits.shape, generator=generator) < SLIP
        shifts = torch.randint(1, 10, digits.shape, generator=generator)
        return (digits + slips * shifts).cumsum(1) % 10

    @property
    def _sizes(self) -> tuple[int, ...]:
        return (self.n_digits,) if isinstance(self.n_digits, int) else tuple(sorted(set(self.n_digits)))

    @cached_property
    def _drawn(self) -> tuple[Tensor, Tensor]:
        """Digits int64 [n, most digits] (0 where unused) and their numbers [n]: the train prompts, then the test."""
        generator = torch.Generator().manual_seed(self.seed)
        left, digits, counts = self.n_train + self.n_test, [], []
        for i, size in enumerate(self._sizes):
            share = min(-(-left // (len(self._sizes) - i)), 10**size)
            left -= share
            powers = 10 ** torch.arange(size - 1, -1, -1)
            rows = distinct(share, 10**size, generator)[:, None] // powers % 10
            digits.append(torch.nn.functional.pad(rows, (0, max(self._sizes) - size)))
            counts.append(torch.full((share,), size))
        order = torch.randperm(self.n_train + self.n_test, generator=generator)
        return torch.cat(digits)[order], torch.cat(counts)[order]

    @property
    def _digits(self) -> Tensor:
        return self._drawn[0]

    @property
    def _counts(self) -> Tensor:
        return self._drawn[1]

    @cached_property
    def _sums(self) -> Tensor:
        return self._digits.sum(1) % 10

    @cached_property
    def _splits(self) -> dict[str, Prompts]:
        rows = zip(self._digits.tolist(), self._counts.tolist(), strict=True)
        every = Prompts.from_lists([[BOS, *digits[:count], EQUALS] for digits, count in rows], pad=PAD)
        return {"train": every[: self.n_train], "test": every[self.n_train :]}
