"""Group methods at finite group size: exact expectations over all groups, and the weight a prompt gets."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from toykit._checks import at_least, one_of

GROUP_LIMIT = 20_000_000  # group members that are written out

ESTIMATORS = {
    "none": {"mean": "none", "std": "none"},
    "group": {"mean": "group", "std": "group"},
    "mean": {"mean": "group", "std": "none"},
    "batch": {"mean": "batch", "std": "batch"},
    "lite": {"mean": "group", "std": "batch"},
    "rloo": {"mean": "leave_one_out", "std": "none"},
}
"""Advantage estimators as arguments of `group_weight`: those of REINFORCE without a baseline, GRPO, Dr. GRPO,
REINFORCE++, Lite PPO and RLOO."""


def group_weight(
    p: Tensor, group_size: float, *, mean: str = "group", std: str = "none", ddof: int = 1, eps: float = 0.0
) -> Tensor:
    """How strongly a prompt of success rate p is pushed: c(p) in E[(1/G) sum_i A_i s_i] = c(p) (mu+ - mu-).

    Rewards are 0 or 1, s_i = grad log pi(y_i), and mu+ (mu-) is the mean of s given a right (wrong) answer.
    `p` [...] is from 0 to 1; `group_size` is G, or inf for the limit of large groups. A_i = (r_i - mean) / (std + eps)
    with `mean` one of "none", "group", "leave_one_out", "batch", and `std` one of "none", "group", "batch"
    (`ddof` is that of the group's std). The batch is the last axis of `p`, its mean and std those of a large batch.
    Equal rewards in the group or batch whose std is taken give 0. Returns c [...]: p (1 - p) for the exact policy
    gradient (mean="none"), h_G(p) for std="group". Raises ValueError for an unknown name or a group too small.
    Source: Tricks or Traps (arXiv 2508.08221); the finite-G sums are derived from the binomial law.
    """
    probability, push = _pushes(p, group_size, mean, std, ddof, eps)
    return (probability * push).sum(-1)


def squared_group_weight(
    p: Tensor, group_size: float, *, mean: str = "group", std: str = "none", ddof: int = 1, eps: float = 0.0
) -> Tensor:
    """E[c_k^2] [...], the mean square of the weight that a group with k right answers gets; as `group_weight`."""
    probability, push = _pushes(p, group_size, mean, std, ddof, eps)
    return (probability * push.square()).sum(-1)


def informative(p: Tensor, group_size: int) -> Tensor:
    """The probability [...] that a group of `group_size` has both right and wrong answers: 1 - p^G - (1-p)^G."""
    at_least("group_size", group_size, 1)
    rarer = torch.minimum(p, 1 - p)
    return -torch.expm1(group_size * torch.log1p(-rarer)) - rarer**group_size


def expected_advantage(p: Tensor, weight: Tensor, correct: Tensor) -> Tensor:
    """Advantages f(y) [..., L] with E[f grad log pi] = weight (mu+ - mu-), the expected update of a group method.

    `p` and `weight` are [...], `correct` bool [..., L]: f is weight / p on right and -weight / (1 - p) on wrong
    completions, 0 for a prompt that is always or never solved. Source: arXiv 2510.02230, derived.
    """
    p, weight = torch.broadcast_tensors(p, weight)
    mixed = (p > 0) & (p < 1)
    right = torch.where(mixed, weight / torch.where(mixed, p, 0.5), 0.0)
    wrong = torch.where(mixed, weight / torch.where(mixed, 1 - p, 0.5), 0.0)
    return torch.where(correct, right[..., None], -wrong[..., None])


def enumerate_groups(log_probs: Tensor, group_size: int) -> tuple[Tensor, Tensor]:
    """Every ordered group of `group_size` completions.

    `log_probs` is [..., L]. Returns the members' leaf indices int64 [L^G, G] and each group's log-probability
    [..., L^G]. Raises ValueError where L^G groups are too many to write out.
    """
    at_least("group_size", group_size, 1)
    leaves = log_probs.shape[-1]
    if leaves**group_size * group_size > GROUP_LIMIT:
        raise ValueError(
            f"group_size {group_size} over {leaves} completions gives {leaves**group_size} groups, the limit is "
            f"{GROUP_LIMIT // group_size}; use group_weight for binary rewards, or sampling"
        )
    radix = leaves ** torch.arange(group_size - 1, -1, -1, device=log_probs.device)
    index = torch.arange(leaves**group_size, device=log_probs.device)[:, None] // radix % leaves
    return index, log_probs[..., index].sum(-1)


def group_expectation(fn: Callable[[Tensor], Tensor], log_probs: Tensor, group_size: int) -> Tensor:
    """E[fn(group)] over independent draws of `group_size` completions from `log_probs` [L].

    `fn` takes leaf indices int64 [M, G] and returns [M, ...]; the answer has the shape [...]. Raises as
    `enumerate_groups` does.
    """
    if log_probs.dim() != 1:
        raise ValueError(f"log_probs must have one axis, got shape {list(log_probs.shape)}")
    index, log_weight = enumerate_groups(log_probs, group_size)
    values = fn(index)
    return torch.tensordot(log_weight.exp(), values, dims=([0], [0]))


def _pushes(p: Tensor, group_size: float, mean: str, std: str, ddof: int, eps: float) -> tuple[Tensor, Tensor]:
    """The law of the number k of right answers and the weight of such a group, each [..., K]."""
    one_of("mean", mean, ("none", "group", "leave_one_out", "batch"))
    one_of("std", std, ("none", "group", "batch"))
    at_least("group_size", group_size, 1 + max(mean == "leave_one_out", ddof if std == "group" else 0))
    if bool(((p < 0) | (p > 1) | p.isnan()).any()):
        raise ValueError("p must be probabilities from 0 to 1")
    p = p[..., None]
    batch = p.mean(-2, keepdim=True) if p.dim() > 1 else p
    m, probability, others, correction = _right_share(p, group_size, ddof)
    spread = {
        "none": torch.ones_like(m),
        "group": (m * (1 - m) * correction).sqrt(),
        "batch": (batch * (1 - batch)).sqrt(),
    }[std]
    scale = spread if std == "none" else spread + eps
    base_right, base_wrong = {
        "none": (torch.zeros_like(m), torch.zeros_like(m)),
        "group": (m, m),
        "leave_one_out": (m - (1 - m) * others, m + m * others),  # (k - 1) / (G - 1) and k / (G - 1)
        "batch": (batch, batch),
    }[mean]
    # mu+ = (1 - p) d and mu- = -p d with d = mu+ - mu-, because the mean score is 0
    push = (1 - p) * m * (1 - base_right) + p * (1 - m) * base_wrong
    return probability, torch.where(spread > 0, push / torch.where(spread > 0, scale, 1.0), 0.0)


def _right_share(p: Tensor, group_size: float, ddof: int) -> tuple[Tensor, Tensor, float, float]:
    """k / G [K] (or [..., 1]), its probability [..., K], 1 / (G - 1), and G / (G - ddof)."""
    if math.isinf(group_size):
        return p, torch.ones_like(p), 0.0, 1.0
    g = int(group_size)
    k = torch.arange(g + 1, dtype=p.dtype, device=p.device)
    ways = math.lgamma(g + 1) - torch.lgamma(k + 1) - torch.lgamma(g - k + 1)
    log_pmf = ways + torch.special.xlogy(k, p) + torch.special.xlog1py(g - k, -p)
    return k / g, log_pmf.exp(), 1 / max(g - 1, 1), g / max(g - ddof, 1)
