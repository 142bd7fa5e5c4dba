"""Reward tables over a completion tree: bandits, trees, and the small trees that the lessons compute by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from toykit._checks import at_least, finite
from toykit.tasks.base import Prompts, Vocab, split_of
from toykit.tasks.mdp import TreeMDP, tree_mdp
from toykit.tasks.tree import Tree

Completion = str | tuple[int, ...]


class TreeTask:
    """A table of rewards, one for each prompt and each completion of a tree.

    tree     the completions
    rewards  [n prompts, n leaves] in the tree's lexicographic order, or [n leaves] for one prompt
    actions  names of the tree's tokens (default "0", "1", ...)

    The vocabulary holds the actions and then one token a prompt, "x0", "x1", ...; a prompt is its token alone.
    Raises ValueError for rewards of another shape, NaN or infinite rewards, and names that are not one a token.
    """

    def __init__(
        self, tree: Tree, rewards: ArrayLike | Tensor, actions: Sequence[str] | None = None, name: str = "tree"
    ) -> None:
        table = torch.as_tensor(rewards, dtype=torch.float64).clone()
        if table.dim() == 1:
            table = table[None]
        if table.dim() != 2 or table.shape[1] != tree.n_leaves or not len(table):
            given = list(table.shape)
            raise ValueError(f"rewards must have shape [n prompts, {tree.n_leaves}] with n prompts >= 1, got {given}")
        n_prompts = table.shape[0]
        actions = [str(a) for a in range(tree.n_actions)] if actions is None else list(actions)
        tokens = (*actions, *(f"x{i}" for i in range(n_prompts)))
        if len(actions) != tree.n_actions or len(set(tokens)) < len(tokens) or any(" " in token for token in tokens):
            raise ValueError(f"actions must be {tree.n_actions} distinct words other than x0, x1, ..., got {actions}")
        self.name = name
        self.tree = tree
        self.rewards = finite("rewards", table, torch.arange(n_prompts))
        self.vocab = Vocab(tokens, stop=tree.stop)
        self.horizon = tree.horizon

    @staticmethod
    def of(rewards: Mapping[Completion, float | Sequence[float]], name: str = "tree") -> TreeTask:
        """The task of written-out completions, each with its reward (or its rewards, one a prompt).

        A completion is a text of words ("the cat"; the words become the actions, in the order in which they first
        appear) or a tuple of token ids. Raises ValueError where the completions are not prefix-free (see `Tree.of`).
        """
        if len({type(completion) for completion in rewards}) != 1:
            raise ValueError(f"rewards must map texts, or tuples of token ids, to numbers, got {list(rewards)}")
        words = list(dict.fromkeys(w for text in rewards if isinstance(text, str) for w in text.split()))
        table = {tuple(words.index(w) for w in c.split()) if isinstance(c, str) else c: r for c, r in rewards.items()}
        if len(table) < len(rewards):
            raise ValueError(f"rewards must map distinct completions to numbers, got {list(rewards)}")
        tree = Tree.of(list(table), n_actions=len(words) or None)
        return TreeTask(tree, np.array([table[leaf] for leaf in tree.only or ()]).T, actions=words or None, name=name)

    def __repr__(self) -> str:
        n_prompts, n_leaves = self.rewards.shape
        return f"{type(self).__name__}(name={self.name!r}, prompts={n_prompts}, completions={n_leaves})"

    def prompts(self, split: str = "train") -> Prompts:
        """All prompts, the same for both splits."""
        n_prompts = self.rewards.shape[0]
        every = Prompts.from_lists([[self.tree.n_actions + i] for i in range(n_prompts)])
        return split_of({"train": every, "test": every}, split)

    def score(self, ids: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
        """Rewards float64 [B, G] from the table; raises ValueError for a completion that is not in the tree."""
        leaf = self.tree.index(completions, mask)
        return self.rewards.to(leaf.device)[ids.to(leaf.device).unsqueeze(-1), leaf]

    def as_mdp(self) -> TreeMDP:
        """The task as a deterministic tree MDP: a state for each prompt and prefix, an action for each token."""
        return tree_mdp(self)


class Bandit(TreeTask):
    """Completions of one token: rewards [n prompts, K arms], or [K] for one prompt; `arms` are the names of the arms.

    Raises ValueError as `TreeTask` does.
    """

    def __init__(self, rewards: ArrayLike | Tensor, arms: Sequence[str] | None = None, name: str = "bandit") -> None:
        table = torch.as_tensor(rewards, dtype=torch.float64)
        if table.dim() not in (1, 2) or 0 in table.shape:
            raise ValueError(f"rewards must have shape [n prompts, K arms] or [K arms], got {list(table.shape)}")
        super().__init__(Tree(table.shape[-1], horizon=1), table, actions=arms, name=name)


def random_bandit(n_prompts: int = 4, n_arms: int = 8, seed: int = 0) -> Bandit:
    """A bandit with rewards drawn uniformly from [0, 1)."""
    at_least("n_prompts", n_prompts, 1)
    at_least("n_arms", n_arms, 1)
    return Bandit(np.random.default_rng(seed).uniform(size=(n_prompts, n_arms)))


def kl_bayes_tree(seed: int = 0) -> tuple[TreeTask, Tensor]:
    """64 completions of three tokens out of four, with uniform random rewards, and the prior's logits [21, 4].

    Row n of the logits belongs to node n of the tree: 0, then 1 + a, then 5 + 4 a + b. The draws (logits, then
    rewards) are fixed by the seed; lesson 01 uses seed 0.
    """
    rng = np.random.default_rng(seed)
    logits = torch.tensor(rng.normal(size=(21, 4)))
    return TreeTask(Tree(4, horizon=3), rng.uniform(size=64), name="kl_bayes_tree"), logits


def tricks_tree(seed: int = 0) -> tuple[TreeTask, Tensor]:
    """Five completions of lengths 1 to 3, two of them right, and logits [3, 3] (0 where the tree forbids the token).

    The completions 0, 10, 110, 111, 2 have rewards 1, 0, 1, 0, 0; logits are 0.7 times standard normal draws, one for
    each prefix ((), 1, 11) and each token that may follow it.
    """
    task = TreeTask.of({(0,): 1.0, (1, 0): 0.0, (1, 1, 0): 1.0, (1, 1, 1): 0.0, (2,): 0.0}, name="tricks_tree")
    rng = np.random.default_rng(seed)
    logits = torch.zeros(3, 3, dtype=torch.float64)
    for node, n_children in enumerate((3, 2, 2)):
        logits[node, :n_children] = torch.tensor(0.7 * rng.normal(size=n_children))
    return task, logits
