"""The exercises of lesson 22, with the mistakes that they know."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from toykit.exercises import Case, Exercise, Mistake, register


def others(values: Tensor) -> Tensor:
    """Each of [G] less the mean of the others."""
    return values - (values.sum() - values) / (len(values) - 1)


def balance(labels: Tensor) -> Tensor:
    """G / (2 n) with n of the answer's own label, 1 where all labels are equal."""
    right = labels.sum()
    n = torch.where(labels > 0, right, len(labels) - right)
    return len(labels) / (2 * n) if 0 < right < len(labels) else torch.ones_like(labels)


def entropies(psi: Tensor, labels: Tensor) -> Tensor:
    return F.softplus(psi) - labels * psi


def pacs(log_ratio: Tensor, labels: Tensor, beta: float) -> Tensor:
    """The loss of one group, from log-ratios and labels [G]."""
    return (balance(labels) * entropies(others(beta * log_ratio), labels)).mean()


def proxy(logp: Tensor, ref_logp: Tensor, mask: Tensor, beta: float) -> Tensor:
    """[G]: beta times the sum over an answer's own tokens [G, T], over its number of tokens."""
    return beta * (logp - ref_logp).masked_fill(~mask, 0.0).sum(-1) / mask.sum(-1).clamp(min=1)


def _log_sigmoid(x: Tensor) -> Tensor:
    return (1 / (1 + (-x).exp())).log()


def _overflowing(log_ratio: Tensor, labels: Tensor, beta: float) -> Tensor:
    psi = others(beta * log_ratio)
    terms = -labels * _log_sigmoid(psi) - (1 - labels) * _log_sigmoid(-psi)
    return (balance(labels) * terms).mean()


def _group(labels: tuple[float, ...], seed: int, wide: float = 1.0) -> tuple[Tensor, Tensor, float]:
    draw = torch.Generator().manual_seed(seed)
    ratio = wide * torch.randn(len(labels), generator=draw, dtype=torch.float64)
    return ratio, torch.tensor(labels, dtype=torch.float64), 0.7


def _tokens(lengths: tuple[int, ...], seed: int, padding: float = 0.0) -> tuple[Tensor, Tensor, Tensor, float]:
    draw = torch.Generator().manual_seed(seed)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    logp, ref_logp = (-torch.rand(mask.shape, generator=draw, dtype=torch.float64) for _ in range(2))
    return logp.masked_fill(~mask, padding), ref_logp.masked_fill(~mask, 0.0), mask, 0.5


PREDICT = register(
    Exercise(
        name="22.predict",
        reference=(0.73, 0.97),
        tolerance=0.011,
        mistakes=(
            Mistake("One of the two forgets at each step what the policy was before it.", (0.73, 0.73)),
            Mistake("One of the two remembers what the policy was at the start.", (0.97, 0.97)),
            Mistake("The other way round: the behaviour policy is the one that moves along.", (0.97, 0.73)),
            Mistake("Equal shares are asked for by nothing: labels know right from wrong, not A from C.", (0.33, 0.33)),
        ),
        reason="Equal log-ratios to the start are the start's proportions; to the last step they ask for nothing.",
    )
)

LOSS = register(
    Exercise(
        name="22.ex1",
        reference=pacs,
        cases=(
            Case(_group((1, 0, 1, 0), 0), "as many right as wrong"),
            Case(_group((1, 0, 0, 0, 0, 0), 1), "one right"),
            Case(_group((1, 1, 1), 2), "all right"),
            Case(_group((1, 0, 0), 3, wide=3_000.0), "logits in the thousands"),
        ),
        mistakes=(
            Mistake(
                "The group's labels are not balanced: a lone right answer counts G / (2 n).",
                lambda d, r, b: entropies(others(b * d), r).mean(),
            ),
            Mistake(
                "The mean of the group holds the answer itself: leave it out.",
                lambda d, r, b: (balance(r) * entropies(b * (d - d.mean()), r)).mean(),
            ),
            Mistake(
                "The logit is relative to the group: take the mean of the others off.",
                lambda d, r, b: (balance(r) * entropies(b * d, r)).mean(),
            ),
            Mistake(
                "Divide by the number of answers, not by the sum of their weights.",
                lambda d, r, b: (
                    (balance(r) * entropies(others(b * d), r)).mean()
                    if 0 < r.sum() < len(r)
                    else entropies(others(b * d), r).sum()
                ),
            ),
            Mistake("log σ overflows: log σ(ψ) = -softplus(-ψ).", _overflowing),
        ),
        reason="Cross-entropy of the label, with a logit that is the policy's own log-ratio in its group.",
    )
)

COEFFICIENTS = register(
    Exercise(
        name="22.ex2",
        reference=((1, -1 / 3, -1 / 3, -1 / 3), (4 / 3, -4 / 9, -4 / 9, -4 / 9)),
        tolerance=1e-3,
        mistakes=(
            Mistake(
                "Those are the residuals. Each log π is also in the logits of the three others.",
                ((1 / 2, -1 / 2, -1 / 2, -1 / 2), (1.0, -1 / 3, -1 / 3, -1 / 3)),
            ),
            Mistake(
                "The group has one right answer and three wrong ones: weights of 2 and 2/3.",
                ((1, -1 / 3, -1 / 3, -1 / 3), (1, -1 / 3, -1 / 3, -1 / 3)),
            ),
            Mistake(
                "The weights stand inside: w (R - σ) first, then less the mean of the others.",
                ((1, -1 / 3, -1 / 3, -1 / 3), (2, -2 / 9, -2 / 9, -2 / 9)),
            ),
        ),
        reason="β (e_i - mean of the other e_j) with e = w (R - 1/2): (1/2, -1/2, ...) and (1, -1/3, ...).",
    )
)

PROXY = register(
    Exercise(
        name="22.ex3",
        reference=proxy,
        cases=(
            Case(_tokens((4, 4, 4), 0), "one length"),
            Case(_tokens((1, 6, 3), 1), "several lengths"),
            Case(_tokens((0, 2, 5), 2), "an empty answer"),
            Case(_tokens((2, 5), 3, padding=-torch.inf), "padding of -inf"),
        ),
        mistakes=(
            Mistake(
                "A sum: with 100 tokens the logit is in the tens, and nothing is left of the push.",
                lambda p, q, m, b: b * (p - q).masked_fill(~m, 0.0).sum(-1),
            ),
            Mistake(
                "The width of the batch is not the answer's length.",
                lambda p, q, m, b: b * (p - q).masked_fill(~m, 0.0).mean(-1),
            ),
            Mistake(
                "-inf times 0 is NaN: fill what is masked, do not multiply.",
                lambda p, q, m, b: b * ((p - q) * m).sum(-1) / m.sum(-1).clamp(min=1),
            ),
            Mistake(
                "An empty answer has no tokens to divide by: at least 1.",
                lambda p, q, m, b: b * (p - q).masked_fill(~m, 0.0).sum(-1) / m.sum(-1),
            ),
            Mistake(
                "Without the reference the logit says how likely an answer is, not how it has changed.",
                lambda p, q, m, b: b * p.masked_fill(~m, 0.0).sum(-1) / m.sum(-1).clamp(min=1),
            ),
        ),
        reason="β is then a logit for each nat by which a token of the answer has moved on average.",
    )
)
