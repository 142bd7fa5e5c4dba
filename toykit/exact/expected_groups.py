"""The expected step of a group method, and policies whose prompts share their parameters through features.

Together with `ascend` they train a group method exactly: no completion and no group is sampled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from toykit._checks import shape
from toykit.exact.gradients import leaf_log_probs, policy_gradient
from toykit.exact.groups import expected_advantage, group_weight
from toykit.tasks.tree import FORBIDDEN, Tree


def success_rate(log_p: Tensor, correct: Tensor) -> Tensor:
    """p [...], the mass of the right completions: `log_p` [..., L] are log-probabilities, `correct` is bool [..., L].

    At most 1, whatever the rounding.
    """
    return torch.where(correct, log_p.exp(), 0.0).sum(-1).clamp(max=1.0)


def group_values(
    log_p: Tensor,
    correct: Tensor,
    group_size: float = 8,
    *,
    mean: str = "group",
    std: str = "group",
    ddof: int = 0,
    eps: float = 0.0,
) -> Tensor:
    """Values f(y) [..., L] whose policy gradient E_pi[f grad log pi] is the expected step of a group method.

    `log_p` [..., L] are log-probabilities, `correct` is bool [..., L], rewards are 0 or 1; the advantages are those of
    `group_weight`, by default GRPO's with the population's standard deviation. What else is ascended can be added to
    f before one gradient is taken. A prompt that is always or never solved gets 0.
    """
    p = success_rate(log_p, correct)
    return expected_advantage(p, group_weight(p, group_size, mean=mean, std=std, ddof=ddof, eps=eps), correct)


def expected_group_update(
    tree: Tree, logits: Tensor, correct: Tensor, group_size: float = 8, **estimator: Any
) -> Tensor:
    """E[(1/G) sum_i A_i grad log pi(y_i)] over groups of G completions, [..., N, V], for rewards 0 or 1.

    Node `logits` are [..., N, V], `correct` is bool [..., L]; `estimator` and its defaults are those of `group_values`.
    It is w(p) / (p (1 - p)) times the policy gradient of p: a prompt is pushed along its exact gradient, only faster
    or slower. Source: arXiv 2510.02230, derived.
    """
    values = group_values(leaf_log_probs(tree, logits), correct, group_size, **estimator)
    return policy_gradient(tree, logits, values)


def greedy_leaf(tree: Tree, logits: Tensor) -> Tensor:
    """The completion int64 [...] that greedy decoding makes from node `logits` [..., N, V], as a leaf of the tree.

    The likeliest token at each node, the lowest among equals; it need not be the likeliest completion.
    """
    choice = logits.masked_fill((tree.child == FORBIDDEN).to(logits.device), -torch.inf).argmax(-1)
    taken = torch.where(tree.mask, choice[..., tree.nodes] == tree.tokens, True)
    return taken.all(-1).long().argmax(-1)


def linear_logits(weights: Tensor, features: Tensor) -> Tensor:
    """Node logits [..., n, N, V] of a policy linear in its prompts' features: `weights @ features[x]` at each node.

    `weights` [..., N, V, d] are shared by all prompts, `features` are [..., n, d].
    """
    shape("features", features, (*features.shape[:-1], weights.shape[-1]))
    return (features @ weights.flatten(-3, -2).mT).unflatten(-1, tuple(weights.shape[-3:-1]))


def pull_back(gradients: Tensor, features: Tensor) -> Tensor:
    """The gradient in the shared weights [..., N, V, d] of a mean over prompts, from the prompts' own.

    `gradients` [..., n, N, V] are with respect to each prompt's node logits, `features` [..., n, d]: the mean over
    the n prompts of gradient times feature. A prompt that is left out still counts in n.
    """
    n = gradients.shape[-3]
    flat = gradients.flatten(-2).mT @ features / n
    return flat.unflatten(-2, tuple(gradients.shape[-2:]))


def shared(gradient: Callable[[Tensor], Tensor], features: Tensor) -> Callable[[Tensor], Tensor]:
    """The gradient in the shared weights [..., N, V, d], for `ascend`, of prompts whose own `gradient` is given.

    `gradient` takes and returns node logits [..., n, N, V]; `features` are [..., n, d].
    """
    return lambda weights: pull_back(gradient(linear_logits(weights, features)), features)
