"""Exact training by the right completions alone: what is pushed, and how strongly.

The expected step of any group method with rewards 0 or 1 moves a prompt along sum_c push_c grad log pi(c) over its
right completions c, because the mean score is 0: the wrong ones need not be enumerated. Methods differ in `push` only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from toykit._checks import shape
from toykit.exact.groups import group_weight
from toykit.tasks.tree import Tree

Push = Callable[[Tensor], Tensor]  # from log pi(c) [..., n, C] of the right completions to their pushes


@dataclass(frozen=True)
class RightPaths:
    """The right completions of n prompts with features, for a policy with logits `weights[node] @ features[x]`.

    nodes, tokens       int64 [..., n, C, T]  where in the tree each token is chosen, and which
    features            float [..., n, d]     of the prompts; leading axes are independent settings
    n_nodes, n_actions  int                   of the tree
    """

    nodes: Tensor
    tokens: Tensor
    features: Tensor
    n_nodes: int
    n_actions: int

    @staticmethod
    def of(tree: Tree, correct: Tensor, features: Tensor) -> RightPaths:
        """The paths to the leaves `correct` int64 [..., n, C], for prompts with `features` [..., n, d].

        Raises ValueError where completions differ in length.
        """
        if not bool(tree.mask.all()):
            raise ValueError(f"tree must have completions of one length, got {sorted(set(tree.mask.sum(1).tolist()))}")
        shape("features", features, (*correct.shape[:-1], features.shape[-1]))
        return RightPaths(tree.nodes[correct], tree.tokens[correct], features, tree.n_nodes, tree.n_actions)

    def repeat(self, copies: int) -> RightPaths:
        """The same prompts `copies` times, as settings [copies, ...] of their own."""
        nodes, tokens, features = (x.expand(copies, *x.shape) for x in (self.nodes, self.tokens, self.features))
        return RightPaths(nodes, tokens, features, self.n_nodes, self.n_actions)

    def log_probs(self, weights: Tensor) -> Tensor:
        """log pi(c) [..., n, C] of the right completions under `weights` [..., N, V, d]."""
        return self._taken(self._token_log_probs(weights)).sum(-1)

    def gradient(self, push: Push) -> Callable[[Tensor], Tensor]:
        """The mean over prompts of sum_c push_c grad log pi(c) in the weights [..., N, V, d], for `ascend`."""

        def gradient(weights: Tensor) -> Tensor:
            log_p = self._token_log_probs(weights)
            pushes = push(self._taken(log_p).sum(-1)) / self.features.shape[-2]
            at_logits = pushes[..., None, None] * (self._one_hot - log_p.exp())
            rows = at_logits.flatten(-3, -2)[..., None] * self.features[..., None, None, :]
            flat = torch.zeros_like(weights).view(-1, *weights.shape[-2:])
            return flat.index_add_(0, self._places, rows.reshape(-1, *weights.shape[-2:])).view_as(weights)

        return gradient

    def _token_log_probs(self, weights: Tensor) -> Tensor:
        """[..., n, C, T, V]: log-probabilities of all tokens at the nodes of the paths."""
        *lead, n, c, t = self.nodes.shape
        rows = weights.reshape(-1, *weights.shape[-2:])[self._places].view(*lead, n, c * t, *weights.shape[-2:])
        logits = (rows * self.features[..., None, None, :]).sum(-1)
        return logits.unflatten(-2, (c, t)).log_softmax(-1)

    def _taken(self, log_p: Tensor) -> Tensor:
        return log_p.gather(-1, self.tokens[..., None])[..., 0]

    @cached_property
    def _one_hot(self) -> Tensor:
        return torch.nn.functional.one_hot(self.tokens, self.n_actions).to(self.features)

    @cached_property
    def _places(self) -> Tensor:
        """int64 [settings n C T]: each node's row in the weights of all settings, one under the other."""
        settings = self.nodes.reshape(-1, *self.nodes.shape[-3:])
        return (settings + self.n_nodes * torch.arange(len(settings))[:, None, None, None]).flatten()


def group_push(log_pi: Tensor, group_size: float = 8, **estimator: str | int) -> Tensor:
    """The pushes [..., n, C] of a group method: w(p) / (p (1 - p)) pi(c), with p the sum of the pi(c).

    `log_pi` [..., n, C] are those of the right completions, `estimator` the arguments of `group_weight` that say how
    advantages are made. A completion is pushed in proportion to how likely it already is; 0 for a prompt that is
    always or never solved. Source: arXiv 2510.02230, derived.
    """
    pi = log_pi.exp()
    p = pi.sum(-1).clamp(max=1.0)
    mixed = (p > 0) & (p < 1)
    weight = group_weight(p, group_size, **estimator)  # type: ignore[arg-type]
    return torch.where(mixed, weight / torch.where(mixed, p * (1 - p), 1.0), 0.0)[..., None] * pi


def even_push(log_pi: Tensor) -> Tensor:
    """The pushes of supervised learning on the right completions, each shown equally often: 1 / C, however unlikely."""
    return torch.full_like(log_pi, 1 / log_pi.shape[-1])
