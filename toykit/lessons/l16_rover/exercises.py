"""The exercises of lesson 16, with the mistakes that they know."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toykit.exercises import Case, Exercise, Mistake, register


def target(advantages: Tensor, moved: Tensor, mask: Tensor, rho: float, beta: float) -> Tensor:
    """[n, T] of advantages [n], differences of log pi and log old of all tokens [n, T, V], and mask [n, T]."""
    qbar = rho * moved.mean(-1) * mask
    following = torch.nn.functional.pad(qbar[:, 1:], (0, 1))
    return (advantages[:, None] + beta * following) * mask


def _with(qbar: Tensor, advantages: Tensor, mask: Tensor, beta: float) -> Tensor:
    return (advantages[:, None] + beta * torch.nn.functional.pad(qbar[:, 1:], (0, 1))) * mask


def _batch(lengths: tuple[int, ...], seed: int, rho: float = 0.5, beta: float = 1.5) -> tuple[object, ...]:
    draw = torch.Generator().manual_seed(seed)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    moved = torch.randn(*mask.shape, 4, generator=draw, dtype=torch.float64)
    advantages = (-1.0) ** torch.arange(len(lengths), dtype=torch.float64)
    return advantages, moved, mask, rho, beta


def soft(q: Tensor, rho: float) -> Tensor:
    """softmax(q / rho) [..., A], whatever the size of q / rho."""
    return (q / rho).softmax(-1)


def _shares(q: Tensor, rho: float) -> Tensor:
    return q / q.sum(-1, keepdim=True)


def _overflowing(q: Tensor, rho: float) -> Tensor:
    e = (q / rho).exp()
    return e / e.sum(-1, keepdim=True)


def _q(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


PREDICT = register(
    Exercise(
        name="16.predict",
        reference=(1, 0, 0),
        mistakes=(
            Mistake("Only with one reward for all: a mean of graded ones may come from many small ones.", (1, 1, 0)),
            Mistake("A die in the tree is averaged into Q_u as the policy's own choices are.", (1, 0, 1)),
            Mistake("The mean confuses many poor ends with a good one, and luck with choice.", (1, 1, 1)),
            Mistake(
                "Q_u of a token is positive exactly where a right end can still be reached: greedy stays on the way to "
                "one.",
                (0, 0, 0),
            ),
        ),
        reason="Positive means reachable, and that is all that one reward and a deterministic tree ask for.",
    )
)

ODDS = register(
    Exercise(
        name="16.ex1",
        reference=math.exp(2),
        tolerance=0.01,
        mistakes=(
            Mistake("That is the ratio of the counts: the softmax is exponential in them.", 3.0),
            Mistake("The difference of the values is 2/64, not 3/64.", math.exp(3)),
            Mistake(
                "At ρ = 1/64 the difference of 2/64 is divided by 1/64, not multiplied by it.", math.exp(2 / 64 / 64)
            ),
            Mistake("That is ρ = 1: the values are 3/64 and 1/64 apart by 2/64.", math.exp(2 / 64)),
        ),
        reason="Q is 3/64 and 1/64, and exp((3/64 - 1/64) / (1/64)) = exp(2) = 7.39.",
    )
)

TARGET = register(
    Exercise(
        name="16.ex2",
        reference=target,
        cases=(Case(_batch((3, 3), 0), "one length"), Case(_batch((1, 4, 2), 1), "several lengths")),
        mistakes=(
            Mistake(
                "The value of the uniform policy is a mean over the vocabulary: a sum is V times it.",
                lambda a, d, m, rho, beta: _with(rho * d.sum(-1) * m, a, m, beta),
            ),
            Mistake(
                "That is the mean at the token itself: the target of a token holds the value of what follows.",
                lambda a, d, m, rho, beta: (a[:, None] + beta * rho * d.mean(-1)) * m,
            ),
            Mistake(
                "roll brings the first token's value round to the last one, which nothing follows.",
                lambda a, d, m, rho, beta: (a[:, None] + beta * (rho * d.mean(-1) * m).roll(-1, 1)) * m,
            ),
            Mistake(
                "What follows the last token is 0, whatever stands in the padding.",
                lambda a, d, m, rho, beta: _with(rho * d.mean(-1), a, m, beta),
            ),
            Mistake(
                "ρ is the scale of the values, the next one's too.",
                lambda a, d, m, rho, beta: _with(d.mean(-1) * m, a, m, beta),
            ),
            Mistake(
                "ρ multiplies the values, not the advantage.",
                lambda a, d, m, rho, beta: _with(rho * d.mean(-1) * m, rho * a, m, beta),
            ),
        ),
        reason="In toykit it is Rover.following, held without a gradient.",
    )
)

SOFT = register(
    Exercise(
        name="16.ex3",
        reference=soft,
        cases=(
            Case((_q(0.5, 0.25, 0.0), 0.5), "a large ρ"),
            Case((_q(3 / 64, 1 / 64), 1 / 64), "the scale of the values"),
            Case((_q(1.0, 0.5), 1e-3), "a small ρ"),
        ),
        mistakes=(
            Mistake("exp(1000) is infinite: subtract the largest first, or use softmax.", _overflowing),
            Mistake("That is in proportion to Q_u, whatever ρ is; the softmax is exponential in it.", _shares),
            Mistake("ρ divides.", lambda q, rho: (q * rho).softmax(-1)),
        ),
        reason="softmax subtracts the largest of a row before the exponential.",
    )
)
