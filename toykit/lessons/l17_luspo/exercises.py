"""The exercises of lesson 17, with the mistakes that they know."""

from __future__ import annotations

import torch
from torch import Tensor

from toykit.exercises import Case, Exercise, Mistake, register


def sequence_ratio(log_ratio: Tensor, mask: Tensor) -> Tensor:
    """[n]: exp of the mean of log-ratios [n, T] over each completion's own tokens; 1 for an empty completion."""
    return (log_ratio.masked_fill(~mask, 0.0).sum(-1) / mask.sum(-1).clamp(min=1)).exp()


def clipped(s: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    return torch.minimum(s * advantage, s.clamp(1 - low, 1 + high) * advantage)


def luspo(log_ratio: Tensor, mask: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    """LUSPO's objective, to be maximised, of log-ratios [n, T] and advantages [n]."""
    term = clipped(sequence_ratio(log_ratio, mask), advantage, low, high)
    return (mask.sum(-1) * term).mean()


def _by_token(log_ratio: Tensor, mask: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    term = clipped(log_ratio.exp(), advantage[:, None].expand_as(log_ratio), low, high)
    return (mask.sum(-1) * (term * mask).sum(-1)).mean()


def _batch(lengths: tuple[int, ...], seed: int, padding: float = 0.0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    log_ratio = 0.1 * torch.randn(mask.shape, generator=draw, dtype=torch.float64)
    return log_ratio.masked_fill(~mask, padding), mask


def _objective(lengths: tuple[int, ...], seed: int) -> tuple[Tensor, Tensor, Tensor, float, float]:
    log_ratio, mask = _batch(lengths, seed)
    return log_ratio, mask, (-1.0) ** torch.arange(len(lengths), dtype=torch.float64), 0.03, 0.04


PREDICT = register(
    Exercise(
        name="17.predict",
        reference=(1, -1, 0),
        mistakes=(
            Mistake(
                "Below 1/2 the push on wrong answers is the larger part, and it spares the long ones.", (-1, -1, 0)
            ),
            Mistake(
                "Where most answers are right the push on the right ones decides, and it pays short ones.", (1, 1, 0)
            ),
            Mistake("The other way round: right answers are pushed up by 1 / L, the short ones most.", (-1, 1, 0)),
            Mistake("1 / L times an advantage is no longer an advantage: it leaves a drift.", (0, 0, 0)),
        ),
        reason="GSPO turns around at one half; LUSPO pushes answers of one reward by the same amount.",
    )
)

OBJECTIVE = register(
    Exercise(
        name="17.ex1",
        reference=luspo,
        cases=(
            Case(_objective((3, 3, 3, 3), 0), "one length"),
            Case(_objective((1, 5, 8, 2, 4, 7), 1), "several lengths"),
        ),
        mistakes=(
            Mistake(
                "That is GSPO: each completion counts once, and its tokens share it.",
                lambda d, m, a, lo, hi: clipped(sequence_ratio(d, m), a, lo, hi).mean(),
            ),
            Mistake("A sum over tokens of their own ratios, times L, counts the length twice.", _by_token),
            Mistake(
                "Divided by all tokens of the batch a token weighs less where the other answers are long.",
                lambda d, m, a, lo, hi: (m.sum(-1) * clipped(sequence_ratio(d, m), a, lo, hi)).sum() / m.sum(),
            ),
            Mistake("Nothing is clipped.", lambda d, m, a, lo, hi: (m.sum(-1) * sequence_ratio(d, m) * a).mean()),
            Mistake(
                "The lower of the clipped and the unclipped term counts: a bad step must not be hidden by the clip.",
                lambda d, m, a, lo, hi: (m.sum(-1) * sequence_ratio(d, m).clamp(1 - lo, 1 + hi) * a).mean(),
            ),
            Mistake(
                "s is a geometric mean: take the mean of the log-ratios, not their sum.",
                lambda d, m, a, lo, hi: (m.sum(-1) * clipped((d * m).sum(-1).exp(), a, lo, hi)).mean(),
            ),
        ),
        reason="In toykit it is ratio='sequence' with aggregate='token_sum'.",
    )
)

SPEED = register(
    Exercise(
        name="17.ex2",
        reference=(3 / 32, 0.0),
        tolerance=1e-6,
        mistakes=(
            Mistake("A logit moves by π times what is pushed: both are 1/4.", (3 / 8, 0.0)),
            Mistake("The advantage is 1 - p, not 1.", (3 / 16, 0.0)),
            Mistake("Under LUSPO both answers are pushed by the same amount.", (3 / 32, 3 / 32)),
            Mistake("The short one is pushed by 1 / 1 and the long one by 1 / 4: take the difference.", (1 / 8, 0.0)),
        ),
        reason="π (1 - p) (1/1 - 1/4) = 1/4 · 1/2 · 3/4; what the softmax takes from all logits cancels.",
    )
)

RATIO = register(
    Exercise(
        name="17.ex3",
        reference=sequence_ratio,
        cases=(
            Case(_batch((4, 4, 4), 2), "one length"),
            Case(_batch((1, 6, 3), 3), "several lengths"),
            Case(_batch((0, 2, 5), 4), "an empty completion"),
            Case(_batch((2, 5), 5, padding=-torch.inf), "padding of -inf"),
        ),
        mistakes=(
            Mistake(
                "Divided by the width of the batch, short completions have ratios near 1 and are never clipped.",
                lambda d, m: d.masked_fill(~m, 0.0).mean(-1).exp(),
            ),
            Mistake(
                "-inf times 0 is NaN: fill what is masked, do not multiply.",
                lambda d, m: ((d * m).sum(-1) / m.sum(-1).clamp(min=1)).exp(),
            ),
            Mistake(
                "An empty completion has no tokens to divide by: at least 1, and its ratio is 1.",
                lambda d, m: (d.masked_fill(~m, 0.0).sum(-1) / m.sum(-1)).exp(),
            ),
            Mistake(
                "Two things at once: the width of the batch is not the length, and -inf times 0 is NaN.",
                lambda d, m: (d * m).mean(-1).exp(),
            ),
        ),
        reason="Divide by the completion's own tokens, at least one, and fill what is masked before the sum.",
    )
)
