"""C1: the unbiased estimate of pass@k and the plug-in, their exact means over all samples of n."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toykit.diagnostics import exact_pass_at_k, pass_at_k
from toykit.lessons.base import Results

RATES = (0.001, 0.01, 0.03, 0.1, 0.3, 0.5, 0.9)


def law(n: int, p: Tensor) -> Tensor:
    """The probability [R, n + 1] of 0..n right answers among n samples, for success rates `p` [R]."""
    c = torch.arange(n + 1, dtype=torch.float64)
    ways = math.lgamma(n + 1) - torch.lgamma(c + 1) - torch.lgamma(n - c + 1)
    return (ways + torch.special.xlogy(c, p[:, None]) + torch.special.xlog1py(n - c, -p[:, None])).exp()


def estimates(n: int, ks: list[int]) -> tuple[Tensor, Tensor]:
    """(unbiased, plug-in) estimates [K, n + 1] of pass@k for 0..n right answers among n samples."""
    c = torch.arange(n + 1)
    unbiased = torch.stack([pass_at_k(n, c, k) for k in ks])
    return unbiased, 1 - (1 - c.double() / n) ** torch.tensor(ks)[:, None]


def bias(largest: int = 32) -> Results:
    """The largest bias of the unbiased estimate, and how low the plug-in is at least, for all k <= n <= `largest`.

    The latter is the log of E[(1 - c/n)^k] / (1 - p)^k, the share of problems it calls missed over the true one; it
    is 0 for k = 1.
    """
    p, worst, least, first = torch.tensor(RATES, dtype=torch.float64), 0.0, math.inf, 0.0
    for n in range(1, largest + 1):
        ks = list(range(1, n + 1))
        chance, (unbiased, plug_in) = law(n, p), estimates(n, ks)
        exact = exact_pass_at_k(p[:, None], torch.tensor(ks))
        worst = max(worst, float((chance @ unbiased.T - exact).abs().max()))
        low = (chance @ (1 - plug_in).T).log() - torch.tensor(ks) * torch.log1p(-p[:, None])
        first = max(first, float(low[:, 0].abs().max()))
        if n > 1:
            least = min(least, float(low[:, 1:].min()))
    return {"largest_n": largest, "unbiased_error": worst, "plug_in_log_ratio": least, "plug_in_error_at_1": first}


def spread(n: int = 64, p: float = 0.03) -> Results:
    """Mean and standard deviation of both estimates against k, from n samples of one problem of success rate p.

    `block_sd` is that of looking at one block of k samples only.
    """
    ks = [k for k in (1, 2, 4, 8, 16, 32, 64) if k <= n]
    rate = torch.tensor([p], dtype=torch.float64)
    chance = law(n, rate)[0]
    exact = exact_pass_at_k(rate, torch.tensor(ks))
    found: Results = {"n": n, "p": p, "ks": ks, "exact": exact.tolist()}
    for name, values in zip(("unbiased", "plug_in"), estimates(n, ks), strict=True):
        mean = values @ chance
        found[name] = mean.tolist()
        found[f"{name}_sd"] = ((values - mean[:, None]) ** 2 @ chance).sqrt().tolist()
    return found | {"block_sd": (exact * (1 - exact)).sqrt().tolist()}
