"""A token task with a completion tree, read as a deterministic tree MDP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from toykit.tasks.tree import FORBIDDEN, LEAF

if TYPE_CHECKING:
    from toykit.tasks.base import Task


@dataclass(frozen=True, eq=False)
class TreeMDP:
    """A deterministic MDP whose states are a prompt's prefixes: state = prompt x nodes of the tree + node.

    next_state  int64   [S, A]  the state after a token; the same state where it ends the episode or is forbidden
    reward      float64 [S, A]  the completion's reward at the token that ends it, 0 elsewhere
    terminal    bool    [S, A]  True where the token ends the episode
    allowed     bool    [S, A]  False where the tree forbids the token
    start       float64 [S]     probability of starting there: uniform over the prompts' empty prefixes
    """

    next_state: Tensor
    reward: Tensor
    terminal: Tensor
    allowed: Tensor
    start: Tensor

    @property
    def n_states(self) -> int:
        return self.reward.shape[0]

    @property
    def n_actions(self) -> int:
        return self.reward.shape[1]


def tree_mdp(task: Task, split: str = "train") -> TreeMDP:
    """The MDP of a task's prompts (those of `split`, in order).

    Raises ValueError for a task without a tree, and for prompts with too many completions to write out.
    """
    if task.tree is None:
        raise ValueError(f"task must have a completion tree to be an MDP, {task.name} has none")
    tree, ids = task.tree, task.prompts(split).ids
    tree.check_size(len(ids))
    n_prompts, (n_nodes, n_actions) = len(ids), tree.child.shape
    every = (n_prompts, *tree.tokens.shape)
    scores = task.score(ids, tree.tokens.expand(every), tree.mask.expand(every))
    last = tree.mask.sum(1, keepdim=True) - 1
    reward = torch.zeros(n_prompts, n_nodes, n_actions, dtype=torch.float64)
    reward[:, tree.nodes.gather(1, last)[:, 0], tree.tokens.gather(1, last)[:, 0]] = scores.double()

    first = torch.arange(n_prompts).view(-1, 1, 1) * n_nodes
    state = torch.arange(n_prompts * n_nodes).view(n_prompts, n_nodes, 1)
    next_state = torch.where(tree.child >= 0, tree.child + first, state)
    start = torch.zeros(n_prompts, n_nodes, dtype=torch.float64)
    start[:, 0] = 1 / n_prompts
    return TreeMDP(
        next_state=next_state.flatten(0, 1),
        reward=reward.flatten(0, 1),
        terminal=(tree.child == LEAF).repeat(n_prompts, 1),
        allowed=(tree.child != FORBIDDEN).repeat(n_prompts, 1),
        start=start.flatten(),
    )
