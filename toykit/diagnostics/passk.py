"""pass@k: the probability that at least one of k completions is right."""

from __future__ import annotations

import torch
from torch import Tensor

from toykit._checks import at_least


def pass_at_k(n: int | Tensor, c: Tensor, k: int) -> Tensor:
    """The unbiased estimate of pass@k from `c` right answers among `n` samples, float64 of the shape of `c`.

    1 - C(n - c, k) / C(n, k) as a product, and 1 where n - c < k. `n` may be a tensor that broadcasts with `c`.
    Raises ValueError for k > n or c outside 0..n. Source: Chen et al. 2021 (arXiv 2107.03374), section 2.1.
    """
    at_least("k", k, 1)
    n, c = torch.as_tensor(n, device=c.device), c
    if bool((k > n).any()):
        raise ValueError(f"k must be at most n, the number of samples, got k={k} and n={int(n.min())}")
    if bool(((c < 0) | (c > n)).any()):
        bad = c[(c < 0) | (c > n)].flatten()[0].item()
        raise ValueError(f"c must be from 0 to n, got {bad}")
    drawn = torch.arange(k, device=c.device)
    wrong_left = (n - c)[..., None].double() - drawn
    return 1 - (wrong_left.clamp(min=0) / (n[..., None].double() - drawn)).prod(-1)


def exact_pass_at_k(p: Tensor, k: float | Tensor) -> Tensor:
    """1 - (1 - p)^k for known success rates `p` [...] from 0 to 1, exact also where p is tiny.

    `k` >= 1 is a number or a tensor that broadcasts with `p` ([K] against p[..., None] gives a curve).
    """
    if bool(((p < 0) | (p > 1) | p.isnan()).any()):
        raise ValueError("p must be probabilities from 0 to 1")
    at_least("k", float(torch.as_tensor(k).min()), 1)
    return -torch.expm1(k * torch.log1p(-p))


def solved(p: Tensor, k: float) -> Tensor:
    """Which prompts of success rate `p` [...] are more likely than not to be solved in `k` tries, bool [...]."""
    return exact_pass_at_k(p, k) > 0.5
