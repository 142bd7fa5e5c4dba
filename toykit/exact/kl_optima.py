"""The best law for a reward with a penalty by the reverse or the forward KL, and an entropy bonus, in closed form."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from toykit._checks import at_least, positive
from toykit.exact._laws import law

ROUNDS = 2_100  # halvings that take any float64 to its neighbour; far fewer are needed
ROOT_STEPS = 60


def reverse_kl_optimum(log_ref: Tensor, rewards: Tensor, alpha: float, entropy: float = 0.0) -> Tensor:
    """The law that is best for E r - alpha KL(pi || ref) + entropy H(pi), as log-probabilities [..., L].

    ref^(alpha / (alpha + entropy)) exp(r / (alpha + entropy)), normalised: no mass where the reference has none.
    `log_ref` and `rewards` (finite) are [..., L]. Raises ValueError for alpha <= 0 or entropy < 0.
    """
    whole = positive("alpha", alpha) + at_least("entropy", entropy, 0)
    return ((alpha * law("log_ref", log_ref) + _finite(rewards)) / whole).log_softmax(-1)


def forward_kl_optimum(log_ref: Tensor, rewards: Tensor, alpha: float, entropy: float = 0.0) -> Tensor:
    """The law that is best for E r - alpha KL(ref || pi) + entropy H(pi), as log-probabilities [..., L].

    Without the bonus it is alpha ref / (c - r) with the c > max r that normalises it. Where the best reward is had
    only outside the reference's support, and sum alpha ref / (max r - r) <= 1, c is max r and what is left of the mass
    goes to the best completions, here in equal parts (any other split is as good). With the bonus each completion
    solves r + alpha ref / pi - entropy log pi = c: pi = exp((r - c) / entropy + w), where w is the root of
    w + log w = log(alpha ref / entropy) + (c - r) / entropy.

    `log_ref` and `rewards` (finite) are [..., L]. Raises ValueError for alpha <= 0 or entropy < 0. Source: the
    objective is RAPO's (arXiv 2510.03865); derived.
    """
    positive("alpha", alpha)
    at_least("entropy", entropy, 0)
    log_ref, rewards = torch.broadcast_tensors(law("log_ref", log_ref), _finite(rewards).to(log_ref.dtype))
    gaps = rewards.amax(-1, keepdim=True) - rewards
    if entropy > 0:
        return _with_entropy(log_ref, gaps, alpha, entropy)
    return _without_entropy(log_ref, gaps, alpha)


def _without_entropy(log_ref: Tensor, gaps: Tensor, alpha: float) -> Tensor:
    """d = c - max r is between alpha times the reference's mass on the best completions, and alpha."""
    ref, best = alpha * log_ref.exp(), gaps == 0
    low = torch.where(best, ref, 0.0).sum(-1, keepdim=True)

    def mass(d: Tensor) -> Tensor:
        return torch.where(ref > 0, ref / (d + gaps), 0.0).sum(-1, keepdim=True)

    unreached = (low == 0) & (mass(low).nan_to_num(torch.inf) <= 1)
    d = _root(lambda d: mass(d) > 1, low, torch.where(unreached, 0.0, torch.full_like(low, alpha)))
    log_pi = torch.where(ref > 0, log_ref + torch.log(alpha / (d + gaps)), -torch.inf)
    left = (1 - log_pi.exp().sum(-1, keepdim=True)).clamp(min=0) / best.sum(-1, keepdim=True)
    return torch.where(unreached & best, left.log(), log_pi)


def _with_entropy(log_ref: Tensor, gaps: Tensor, alpha: float, entropy: float) -> Tensor:
    """c - max r is between 0 and alpha L + entropy log L: some completion has a mass of 1 / L or more."""
    n = gaps.shape[-1]
    high = torch.full_like(gaps[..., :1], alpha * n + entropy * float(torch.tensor(float(n)).log()) + 1e-9)

    def law_at(c: Tensor) -> Tensor:
        over = (c + gaps) / entropy
        return product_log(log_ref + torch.log(torch.tensor(alpha / entropy, dtype=gaps.dtype)) + over) - over

    c = _root(lambda c: law_at(c).logsumexp(-1, keepdim=True) > 0, torch.zeros_like(high), high)
    return law_at(c).log_softmax(-1)


def product_log(x: Tensor) -> Tensor:
    """The w >= 0 with w + log w = x, elementwise (0 for x = -inf): Lambert's W of exp(x), without overflow.

    By Newton's method on log w, from above the root, where it falls to it without a turn.
    """
    log_w = torch.where(x > 1, x.clamp(min=1).log(), x)
    for _ in range(ROOT_STEPS):
        w = log_w.exp()
        step = (w + log_w - x) / (1 + w)
        step = torch.where(x == -torch.inf, 0.0, step)
        log_w = log_w - step
        if bool((step.abs() <= 1e-15 * (1 + log_w.abs())).all()):
            break
    return log_w.exp()


def _root(short: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """Where `short` turns from true to false between `low` and `high`, to the last digit."""
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        if bool(((middle <= low) | (middle >= high)).all()):
            break
        left = short(middle)
        low, high = torch.where(left, middle, low), torch.where(left, high, middle)
    return high


def _finite(rewards: Tensor) -> Tensor:
    if not bool(rewards.isfinite().all()):
        raise ValueError("rewards must be finite, got NaN or an infinity")
    return rewards
