"""The problems of the audit: small enough to enumerate every group, each showing one thing, rebuilt by its name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
import torch
from torch import Tensor

from toykit._checks import nearest, one_of
from toykit.exact import ascend, leaf_log_probs, node_log_probs, policy_gradient
from toykit.tasks.bandit import Bandit, TreeTask
from toykit.tasks.tree import FORBIDDEN, Tree

STALE_LR = 1.0  # of the exact gradient steps that lie between the behaviour policy and the policy
FORBIDDEN_LOGP = -100.0
JUNK = {"logp": -1.5, "old_logp": -1.25, "ref_logp": -2.0}  # what stands on masked positions of a padded problem


@dataclass(frozen=True, eq=False)
class Problem:
    """B prompts over one completion tree with the policy, the behaviour policy and the reference as node logits.

    `logits`, `behaviour` and `reference` are [B, N, V]; `features` [B, d] are the prompts' for a linear policy;
    `padding` is the number of columns of padding after the longest completion. Where there is padding, masked
    positions hold numbers that must not matter; else 0.
    """

    name: str
    about: str
    task: TreeTask
    logits: Tensor
    reference: Tensor
    behaviour: Tensor
    group_size: int = 3
    features: Tensor | None = None
    padding: int = 0

    @property
    def tree(self) -> Tree:
        return self.task.tree

    @property
    def rewards(self) -> Tensor:
        """float64 [B, L]."""
        return self.task.rewards

    @cached_property
    def mask(self) -> Tensor:
        """bool [L, T], the padding included."""
        return torch.nn.functional.pad(self.tree.mask, (0, self.padding))

    @cached_property
    def prob(self) -> Tensor:
        """The policy's probabilities [B, N, V] of each token at each node."""
        return node_log_probs(self.tree, self.logits).exp()

    @cached_property
    def law(self) -> Tensor:
        """The policy's probabilities [B, L] of the completions."""
        return leaf_log_probs(self.tree, self.logits).exp()

    @cached_property
    def behaviour_law(self) -> Tensor:
        """The behaviour policy's probabilities [B, L] of the completions."""
        return leaf_log_probs(self.tree, self.behaviour).exp()

    @cached_property
    def solution(self) -> Tensor:
        """int64 [B]: the solution from elsewhere of each prompt, its rarest completion of the largest reward."""
        best = self.rewards == self.rewards.amax(-1, keepdim=True)
        return self.behaviour_law.masked_fill(~best, torch.inf).argmin(-1)

    def tokens(self, which: str) -> Tensor:
        """Log-probabilities [B, L, T] of every completion's tokens; `which` is logp, old_logp or ref_logp."""
        logits = {"logp": self.logits, "old_logp": self.behaviour, "ref_logp": self.reference}[which]
        found = node_log_probs(self.tree, logits).flatten(-2)[:, self.tree.places]
        found = torch.nn.functional.pad(found, (0, self.padding))
        return found.masked_fill(~self.mask, JUNK[which] if self.padding else 0.0)

    def vocabulary(self, which: str) -> Tensor:
        """Log-probabilities [B, L, T, V] of every token at every place; `which` is vocab_logp, old_ or ref_vocab_logp.

        Forbidden tokens have a probability that is as good as 0, not 0, so that p log p is a number.
        """
        logits = {"vocab_logp": self.logits, "old_vocab_logp": self.behaviour, "ref_vocab_logp": self.reference}[which]
        table = node_log_probs(self.tree, logits)
        if self.tree.forbidden is not None:
            table = table.masked_fill(self.tree.forbidden, FORBIDDEN_LOGP)
        found = torch.nn.functional.pad(table[:, self.tree.nodes], (0, 0, 0, self.padding))
        return found.masked_fill(~self.mask[..., None], -math.log(table.shape[-1]))

    def with_rewards(self, rewards: Tensor) -> Problem:
        """The same problem with other rewards [B, L]."""
        return replace(self, task=TreeTask(self.tree, rewards, name=self.task.name))

    def with_policy(self, logits: Tensor) -> Problem:
        """The same problem with another policy, which is also the behaviour policy."""
        return replace(self, logits=logits, behaviour=logits)


def _bandit(
    name: str, about: str, rewards: list[float], law: list[float], reference: list[float], group_size: int
) -> Problem:
    task = Bandit(torch.tensor(rewards, dtype=torch.float64), name=name)
    logits, base = (torch.tensor(p, dtype=torch.float64).log().view(1, 1, -1) for p in (law, reference))
    return Problem(name, about, task, logits, base, logits, group_size)


def binary() -> Problem:
    about = "one token, three completions, the first of them right"
    return _bandit("binary", about, [1.0, 0.0, 0.0], [0.25, 0.45, 0.3], [0.4, 0.35, 0.25], 4)


def graded() -> Problem:
    about = "one token, four completions with rewards 1, 0.7, 0.2, 0"
    return _bandit("graded", about, [1.0, 0.7, 0.2, 0.0], [0.2, 0.3, 0.35, 0.15], [0.3, 0.2, 0.2, 0.3], 3)


def ladder() -> Problem:
    about = "one token, three right completions of probability 0.02, 0.1, 0.28 and two wrong ones"
    law, base = [0.02, 0.1, 0.28, 0.35, 0.25], [0.1, 0.2, 0.2, 0.25, 0.25]
    return _bandit("ladder", about, [1.0, 1.0, 1.0, 0.0, 0.0], law, base, 3)


def ties() -> Problem:
    about = "one token, four completions with rewards 1, 1, 0.5, 0; the policy starts at the reference"
    law = [0.15, 0.35, 0.3, 0.2]
    return _bandit("ties", about, [1.0, 1.0, 0.5, 0.0], law, law, 3)


def coin() -> Problem:
    return _bandit("coin", "one token, one right and one wrong completion", [1.0, 0.0], [0.5, 0.5], [0.5, 0.5], 4)


def steps() -> Problem:
    """Nine completions of two tokens: what a token does to later ones is seen here, without unequal lengths."""
    rng = np.random.default_rng(0)
    task = TreeTask(Tree(3, horizon=2), rng.uniform(size=9).round(2), name="steps")
    logits, base = (torch.tensor(rng.normal(size=(1, 4, 3))) for _ in range(2))
    return Problem("steps", "nine completions of two tokens, graded rewards", task, logits, base, logits, 2)


def lengths() -> Problem:
    """A right and a wrong completion of each length 1, 2, 3, all equally likely."""
    task = TreeTask.of({(0,): 1.0, (1,): 0.0, (2, 0): 1.0, (2, 1): 0.0, (2, 2, 0): 1.0, (2, 2, 1): 0.0}, name="lengths")
    logits = torch.tensor([[[1.0, 1.0, 4.0], [1.0, 1.0, 2.0], [1.0, 1.0, 1.0]]], dtype=torch.float64).log()
    base = torch.tensor([[[2.0, 1.0, 3.0], [1.0, 2.0, 1.0], [3.0, 1.0, 1.0]]], dtype=torch.float64).log()
    about = "a right and a wrong completion of each length 1, 2 and 3, all equally likely"
    return Problem("lengths", about, task, logits, base, logits, 3)


def pair() -> Problem:
    """Two prompts, a hard and an easy one, of different lengths, whose features overlap (cosine 0.6)."""
    task = TreeTask.of({(0,): (1.0, 0.0), (1,): (0.0, 1.0), (2, 0): (0.0, 0.0)}, name="pair")
    law = torch.tensor([[[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]], [[0.1, 0.7, 0.2], [1.0, 0.0, 0.0]]], dtype=torch.float64)
    logits = law.log().masked_fill(task.tree.child == FORBIDDEN, 0.0)
    features = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    about = "a hard (p = 0.2) and an easy (p = 0.7) prompt with one wrong completion of two tokens; features overlap"
    return Problem("pair", about, task, logits, logits, logits, 2, features)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    made.__name__: made for made in (binary, graded, ladder, ties, coin, steps, lengths, pair)
}

VARIANTS: dict[str, tuple[str, Callable[[Problem, str], Problem]]] = {
    "zero": ("all rewards 0", lambda p, _: p.with_rewards(0 * p.rewards)),
    "ones": ("all rewards 1", lambda p, _: p.with_rewards(0 * p.rewards + 1)),
    "plus": ("a number added to the rewards", lambda p, v: p.with_rewards(p.rewards + float(v))),
    "times": ("the rewards times a number", lambda p, v: p.with_rewards(p.rewards * float(v))),
    "at_reference": ("the reference is the policy", lambda p, _: replace(p, reference=p.logits)),
    "stale": ("the behaviour policy is this many exact steps old", lambda p, v: _stale(p, int(v))),
    "fresh": ("the behaviour policy is the policy", lambda p, _: p.with_policy(p.logits)),
    "only": ("one prompt alone", lambda p, v: _only(p, int(v))),
    "p": ("the first completion has this probability", lambda p, v: _with_p(p, float(v))),
    "partner": ("the second prompt's right completion has this probability", lambda p, v: _partner(p, float(v))),
    "padding": ("columns of padding, with junk on masked positions", lambda p, v: replace(p, padding=int(v))),
}


@cache
def problem(name: str) -> Problem:
    """The problem of a name: "lengths", with variants and a group size as in "lengths/ones/padding=2@4".

    Raises ValueError for a name, a variant or a number that is not there.
    """
    whole, at, size = name.partition("@")
    base, *changes = whole.split("/")
    made = PROBLEMS[one_of("problem", base, PROBLEMS)]()
    for change in changes:
        variant, _, value = change.partition("=")
        if variant not in VARIANTS:
            raise ValueError(f"problem has no variant {variant!r}{nearest(variant, VARIANTS)}, got {name!r}")
        made = VARIANTS[variant][1](made, value)
    return replace(made, name=name, group_size=int(size) if at else made.group_size)


def _stale(p: Problem, k: int) -> Problem:
    def gradient(logits: Tensor) -> Tensor:
        return policy_gradient(p.tree, logits, p.rewards)

    return replace(p, logits=ascend(gradient, p.logits, STALE_LR, [k])[0])


def _only(p: Problem, i: int) -> Problem:
    rows = slice(i, i + 1)
    parts = {k: getattr(p, k)[rows] for k in ("logits", "reference", "behaviour")}
    return replace(p.with_rewards(p.rewards[rows]), **parts, features=None)


def _with_p(p: Problem, first: float) -> Problem:
    rest = p.logits.softmax(-1)[..., 1:]
    law = torch.cat([torch.full_like(rest[..., :1], first), (1 - first) * rest / rest.sum(-1, keepdim=True)], -1)
    return replace(p.with_policy(law.log()), reference=law.log())


def _partner(p: Problem, right: float) -> Problem:
    logits = p.logits.clone()
    rest = torch.tensor([0.1, 0.2], dtype=torch.float64) / 0.3 * (1 - right)
    logits[1, 0] = torch.stack([rest[0], torch.tensor(right, dtype=torch.float64), rest[1]]).log()
    return replace(p.with_policy(logits), reference=logits)
