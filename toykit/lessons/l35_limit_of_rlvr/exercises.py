"""The exercises of lesson 35, with the mistakes that they know."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toykit.exercises import Case, Exercise, Mistake, register


def pass_at_k(n: int, c: int, k: int) -> float:
    """1 - C(n - c, k) / C(n, k), the unbiased estimate of pass@k from c right answers among n samples."""
    if k > n:
        raise ValueError(f"k must be at most n, got k={k} and n={n}")
    missed = 1.0
    for i in range(k):
        missed *= max(n - c - i, 0) / (n - i)
    return 1.0 - missed


def surprise(logp: Tensor, mask: Tensor) -> Tensor:
    """Perplexity [B, G] of each completion from token log-probabilities [B, G, T] and their mask."""
    return (-logp.masked_fill(~mask, 0.0).sum(-1) / mask.sum(-1)).exp()


def _unguarded(n: int, c: int, k: int) -> float:
    missed = 1.0
    for i in range(k):
        missed *= (n - c - i) / (n - i) if i < n else 0.0
    return 1.0 - missed


def _tokens(seed: int) -> tuple[Tensor, Tensor]:
    """Log-probabilities [2, 3, 4] with something left in the padding, and a mask."""
    draw = torch.Generator().manual_seed(seed)
    logp = -2 * torch.rand(2, 3, 4, generator=draw, dtype=torch.float64)
    return logp, torch.arange(4) < torch.randint(1, 5, (2, 3, 1), generator=draw)


PREDICT = register(
    Exercise(
        name="35.predict",
        reference="base",
        mistakes=(
            Mistake("RL is ahead with one try. With 256 tries the problems that it has lost count.", "RL"),
            Mistake("Training moves both ends of the curve, in opposite directions.", "equal"),
        ),
        reason="RL makes some problems certain and others hopeless; given 256 tries the base finds nearly all of them.",
    )
)

ESTIMATE = register(
    Exercise(
        name="35.ex1",
        reference=pass_at_k,
        cases=(
            Case((4, 1, 2), "n = 4, c = 1, k = 2"),
            Case((16, 3, 4), "n = 16, c = 3, k = 4"),
            Case((8, 8, 3), "all right"),
            Case((8, 0, 3), "none right"),
            Case((8, 5, 4), "fewer wrong answers than k"),
            Case((2048, 1, 1024), "many samples"),
            Case((4, 2, 5), "k > n"),
        ),
        mistakes=(
            Mistake(
                "This is the plug-in: it draws with replacement from the n samples, and is biased low.",
                lambda n, c, k: _checked(n, k, 1 - (1 - c / n) ** k),
            ),
            Mistake(
                "Return the chance that one of the k is right, not that all are wrong.",
                lambda n, c, k: 1 - pass_at_k(n, c, k),
            ),
            Mistake("With k > n there is no estimate: raise ValueError.", _unguarded),
            Mistake(
                "The binomials overflow a float for n near 1,000: use the product, or whole numbers.",
                lambda n, c, k: _checked(n, k, 1 - float(math.comb(n - c, k)) / float(math.comb(n, k))),
            ),
            Mistake(
                "That is the chance that not all k are right; ask for the chance that not all are wrong.",
                lambda n, c, k: _checked(n, k, 1 - math.comb(c, k) / math.comb(n, k)),
            ),
        ),
        reason="It is the chance that k of the n samples, drawn without replacement, hold a right one.",
    )
)


def _checked(n: int, k: int, value: float) -> float:
    if k > n:
        raise ValueError("k must be at most n")
    return value


OVERTAKES = register(
    Exercise(
        name="35.ex2",
        reference=5,
        tolerance=1e-9,
        mistakes=(
            Mistake("At k = 4 RL is still ahead: 0.49995 against 0.489.", 4),
            Mistake("With one try RL is ahead: 0.45 against 0.255.", 1),
            Mistake("With the mean rates, 0.255 and 0.45, it never would: take the mean after pass@k.", math.inf),
        ),
        reason="At k = 5: (1 - 0.5^5 + 1 - 0.99^5) / 2 = 0.509 against (1 - 0.1^5) / 2 = 0.500.",
    )
)

SURPRISE = register(
    Exercise(
        name="35.ex3",
        reference=surprise,
        cases=tuple(Case(_tokens(seed), f"lengths {_tokens(seed)[1].sum(-1).flatten().tolist()}") for seed in range(3)),
        mistakes=(
            Mistake(
                "Divide by the completion's own length, not by the longest.",
                lambda p, m: (-p.masked_fill(~m, 0.0).mean(-1)).exp(),
            ),
            Mistake("The padding counts: use the mask.", lambda p, m: (-p.sum(-1) / m.sum(-1)).exp()),
            Mistake(
                "Perplexity is a mean over tokens: divide by the length.",
                lambda p, m: (-p.masked_fill(~m, 0.0).sum(-1)).exp(),
            ),
            Mistake(
                "The sign is wrong: a likely completion must have a perplexity near 1.", lambda p, m: 1 / surprise(p, m)
            ),
        ),
        reason="It is the number of equally likely tokens that would be as surprising, whatever the length.",
    )
)
