"""Strings of letters from a small Markov grammar, whose every probability is known exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from toykit._checks import at_least, one_of, shape
from toykit.tasks.base import Prompts, Vocab, split_of
from toykit.tasks.mdp import TreeMDP, tree_mdp
from toykit.tasks.tree import Tree

VOWELS = {"a": 0.014, "e": 0.386, "i": 0.25, "o": 0.2, "u": 0.15}
CONSONANTS = {c: 0.85**i for i, c in enumerate("ntsrldmkpbgf")}
LETTERS = (*VOWELS, *CONSONANTS)
BEGIN = len(LETTERS)

FIRST_VOWEL = 0.3  # probability that a string begins with a vowel
VOWEL_AFTER_VOWEL = 0.1
VOWEL_AFTER_CONSONANT = 0.8


def _share(count: Tensor) -> Tensor:
    return count / (len(count) - 1)


def _any(count: Tensor) -> Tensor:
    return (count >= 1).double()


# name -> (words of one or two letters that count, reward of the numbers of them [T + 1] in a string of T letters)
REWARDS: dict[str, tuple[tuple[str, ...], Callable[[Tensor], Tensor]]] = {
    "vowels": (tuple(VOWELS), _share),
    "contains_a": (("a",), _any),
    "contains_na": (("na",), _any),
}


def _grammar() -> tuple[Tensor, Tensor]:
    """Probabilities float64 of the first letter [L] and of the next letter after each letter [L, L]."""
    vowels, consonants = (torch.tensor(list(w.values()), dtype=torch.float64) for w in (VOWELS, CONSONANTS))
    vowels, consonants = vowels / vowels.sum(), consonants / consonants.sum()

    def mixed(vowel: float) -> Tensor:
        return torch.cat([vowel * vowels, (1 - vowel) * consonants])

    after = [VOWEL_AFTER_VOWEL] * len(VOWELS) + [VOWEL_AFTER_CONSONANT] * len(CONSONANTS)
    return mixed(FIRST_VOWEL), torch.stack([mixed(v) for v in after])


START, NEXT = _grammar()


@dataclass(frozen=True)
class Letters:
    """One prompt, `^`; a completion is `horizon` letters, and there is no stop token.

    reward  "vowels": the share of vowels; "contains_a": 1 where the string holds an "a" (about 1 in 20 of the
            grammar's strings of 8 letters); "contains_na": 1 where it holds the word "na" (about 1 in 130)

    The grammar (`corpus`) is a Markov chain on letters: consonants and vowels take turns more often than not, and
    within its class a letter has a fixed probability. Raises ValueError for an unknown reward and a horizon < 1.
    """

    reward: str = "vowels"
    horizon: int = 8
    name: str = "letters"

    vocab: ClassVar[Vocab] = Vocab((*LETTERS, "^"), pad=BEGIN, sep="")

    def __post_init__(self) -> None:
        one_of("reward", self.reward, REWARDS)
        at_least("horizon", self.horizon, 1)

    @cached_property
    def tree(self) -> Tree:
        """Every string over the vocabulary; it can be enumerated for a horizon of at most 5."""
        return Tree(self.vocab.size, self.horizon)

    def node_logits(self) -> Tensor:
        """The grammar as a table of logits float64 [nodes, V] over the tree; `^` has a probability below 1e-21."""
        letter_after = torch.nn.functional.pad(torch.cat([NEXT, START[None]]), (0, 1)).log().clamp(min=-50.0)
        last = torch.full((self.tree.n_nodes,), BEGIN)  # the empty prefix stands after `^`
        parent, token = (self.tree.child >= 0).nonzero(as_tuple=True)
        last[self.tree.child[parent, token]] = token
        return letter_after[last]

    def as_mdp(self) -> TreeMDP:
        """The prompt as a deterministic tree MDP: states are prefixes, actions are tokens."""
        return tree_mdp(self)

    def prompts(self, split: str = "train") -> Prompts:
        """The one prompt, the same for both splits."""
        prompt = Prompts.from_lists([[BEGIN]])
        return split_of({"train": prompt, "test": prompt}, split)

    def score(self, ids: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
        """The reward named by `reward`, float64 [B, G]."""
        before = torch.nn.functional.pad(completions[..., :-1], (1, 0), value=BEGIN)
        counted = self._counted.to(completions.device)[before, completions] & mask
        return self.values.to(completions.device)[counted.sum(-1)]

    def corpus(self, n: int, generator: torch.Generator) -> tuple[Prompts, Tensor, Tensor]:
        """`n` strings from the grammar: prompts, completions int64 [n, T] and mask bool [n, T]."""
        at_least("n", n, 1)
        letters = [torch.multinomial(START, n, replacement=True, generator=generator)]
        for _ in range(self.horizon - 1):
            letters.append(torch.multinomial(NEXT[letters[-1]], 1, generator=generator)[:, 0])
        completions = torch.stack(letters, 1)
        prompts = self.prompts()[torch.zeros(n, dtype=torch.int64)]
        return prompts, completions, torch.ones_like(completions, dtype=torch.bool)

    @property
    def values(self) -> Tensor:
        """float64 [T + 1]: the reward of a string with 0, 1, ..., T letters (or words) that count."""
        return REWARDS[self.reward][1](torch.arange(self.horizon + 1, dtype=torch.float64))

    @property
    def probabilities(self) -> Tensor:
        """float64 [T + 1]: the grammar's probability of each number of letters (or words) that count, exactly.

        With `values` this is the reward's distribution: E[f(r)] = (probabilities * f(values)).sum().
        """
        return self._totals()[0]

    def log_prob(self, completions: Tensor) -> Tensor:
        """The grammar's log-probability, nats, float64 [...], of strings [..., T]; -inf where `^` is inside one."""
        start = torch.nn.functional.pad(START, (0, 1)).log().to(completions.device)
        following = torch.nn.functional.pad(NEXT, (0, 1, 0, 1)).log().to(completions.device)
        return start[completions[..., 0]] + following[completions[..., :-1], completions[..., 1:]].sum(-1)

    def entropy(self, weights: Tensor | None = None) -> float:
        """Entropy, nats, of the grammar's strings, exactly.

        With `weights` [T + 1] >= 0: of the distribution proportional to the grammar's probability times
        weights[number of letters that count], for example `(task.values / beta).exp()` or `task.values > 0`.
        Raises ValueError for weights of another shape, or without a positive one.
        """
        probability, log_prob = self._totals()
        w = torch.ones_like(probability) if weights is None else shape("weights", weights, probability.shape).double()
        if not (bool((w >= 0).all()) and bool(w.sum() > 0)):
            raise ValueError(f"weights must be >= 0 with at least one > 0, got {w.tolist()}")
        total = (probability * w).sum()
        tilted = (w * log_prob + torch.xlogy(probability * w, w)).sum() / total
        return float(total.log() - tilted)

    @property
    def _counted(self) -> Tensor:
        """bool [V, V]: whether a token (second axis) after another one, or after `^`, ends a word that counts."""
        pairs = torch.zeros(BEGIN + 1, BEGIN + 1, dtype=torch.bool)
        for word in REWARDS[self.reward][0]:
            *before, last = (LETTERS.index(letter) for letter in word)
            pairs[before or slice(None), last] = True
        return pairs

    def _totals(self) -> tuple[Tensor, Tensor]:
        """For each number of letters that count [T + 1]: the sums of p(y) and of p(y) log p(y) over its strings."""
        first, after = self._counted[BEGIN, :BEGIN], self._counted[:BEGIN, :BEGIN]
        probability = torch.zeros(self.horizon + 1, BEGIN, dtype=torch.float64)  # by count and last letter
        probability[first.long(), torch.arange(BEGIN)] = START
        weighted = torch.zeros_like(probability)
        weighted[first.long(), torch.arange(BEGIN)] = torch.xlogy(START, START)

        def grown(totals: Tensor, step: Tensor) -> Tensor:
            return totals @ step.masked_fill(after, 0.0) + (totals @ step.masked_fill(~after, 0.0)).roll(1, 0)

        for _ in range(self.horizon - 1):
            weighted = grown(weighted, NEXT) + grown(probability, torch.xlogy(NEXT, NEXT))
            probability = grown(probability, NEXT)
        return probability.sum(1), weighted.sum(1)
