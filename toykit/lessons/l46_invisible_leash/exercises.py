"""The exercises of lesson 46, with the mistakes that they know."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toykit.exercises import Case, Exercise, Mistake, register


def cells(log_q: Tensor, log_pi: Tensor, right: Tensor, k: int, miss: float = 0.05) -> tuple[int, int, int, int]:
    """(P, E, S, O) over right answers: log-probabilities [n] of base and policy, `right` bool [n]."""
    bound = math.log(-math.log(miss) / k)
    before, after = log_q > bound, log_pi > bound
    both = (before & after, ~before & after, before & ~after, ~before & ~after)
    p, e, s, o = (int((cell & right).sum()) for cell in both)
    return p, e, s, o


def entropy_slope(log_q: Tensor, rewards: Tensor, beta: float) -> Tensor:
    """dH/dbeta of the tilt q exp(beta R), for log-probabilities [n] of the base and rewards [n]."""
    pi = (log_q + beta * rewards).softmax(-1)
    off = rewards - (pi * rewards).sum()
    return -beta * (pi * off**2).sum() - (pi * off * log_q).sum()


def token_entropy(entropies: Tensor, mask: Tensor) -> Tensor:
    """The mean over samples of each one's mean entropy, of `entropies` [n, T] and a mask."""
    own = entropies.masked_fill(~mask, 0.0).sum(-1) / mask.sum(-1)
    return own.mean()


def _laws(seed: int, n: int = 12) -> tuple[Tensor, Tensor, Tensor, int]:
    draw = torch.Generator().manual_seed(seed)
    log_q, log_pi = (2 * torch.randn(2, n, generator=draw, dtype=torch.float64)).log_softmax(-1)
    return log_q, log_pi, torch.rand(n, generator=draw) < 0.6, 64


def _base(p: tuple[float, ...], right: tuple[int, ...]) -> tuple[Tensor, Tensor, float]:
    return torch.tensor(p, dtype=torch.float64).log(), torch.tensor(right, dtype=torch.float64), 1.3


def _by_pi(log_q: Tensor, rewards: Tensor, beta: float) -> Tensor:
    log_pi = (log_q + beta * rewards).log_softmax(-1)
    off = rewards - (log_pi.exp() * rewards).sum()
    return -beta * (log_pi.exp() * off**2).sum() - (log_pi.exp() * off * log_pi).sum()


def _under_base(log_q: Tensor, rewards: Tensor, beta: float) -> Tensor:
    off = rewards - (log_q.exp() * rewards).sum()
    return -beta * (log_q.exp() * off**2).sum() - (log_q.exp() * off * log_q).sum()


def _variance(log_q: Tensor, rewards: Tensor, beta: float) -> Tensor:
    pi = (log_q + beta * rewards).softmax(-1)
    return -beta * (pi * (rewards - (pi * rewards).sum()) ** 2).sum()


def _samples(lengths: tuple[int, ...], seed: int) -> tuple[Tensor, Tensor]:
    """Entropies [n, T] with something left in the padding, and the mask."""
    draw = torch.Generator().manual_seed(seed)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return 0.1 + torch.rand(mask.shape, generator=draw, dtype=torch.float64), mask


PREDICT = register(
    Exercise(
        name="46.predict",
        reference=(1, -1),
        mistakes=(
            Mistake("So it is with the tilt, which keeps their ratio: 0.968 and 0.032. A step of RL does not.", (1, 1)),
            Mistake("It does not stay: of the mass that RL wins, each right answer gets by what it has.", (1, 0)),
            Mistake("Both are right, and the first is far likelier: it is pushed more often.", (-1, 1)),
        ),
        reason="The other answer is never punished, but the likelier one takes its share of the mass as well.",
    )
)

CELLS = register(
    Exercise(
        name="46.ex1",
        reference=cells,
        cases=tuple(Case(_laws(seed), f"twelve answers, draw {seed}") for seed in (1, 2, 5)),
        mistakes=(
            Mistake("Only right answers count.", lambda q, pi, right, k: cells(q, pi, torch.ones_like(right), k)),
            Mistake(
                "E is what the base misses and the policy finds, S the other way.",
                lambda q, pi, right, k: cells(pi, q, right, k),
            ),
            Mistake(
                "Of probability 1 / k, k samples miss 37 times in 100: use -ln(0.05) / k.",
                lambda q, pi, right, k: cells(q, pi, right, k, math.exp(-1)),
            ),
            Mistake(
                "These are logarithms: compare them with log eps.",
                lambda q, pi, right, k: (0, 0, 0, int(right.sum())),
            ),
        ),
        reason="In toykit: `support_table(in_support(log_q, eps), in_support(log_pi, eps), right)`.",
    )
)

TWO = register(
    Exercise(
        name="46.ex2",
        reference=(1.0, 0.5623, 1.0),
        tolerance=1e-3,
        mistakes=(
            Mistake(
                "The limit of the tilt keeps the ratio 3 to 1: its entropy is that of (0.75, 0.25).", (1.0, 0.0, 1.0)
            ),
            Mistake("The flow does not keep the ratio: it conserves exp(-z1) - exp(-z2).", (1.0, 0.5623, 0.75)),
            Mistake("0.898 is the entropy of the base.", (1.0, 0.8979, 1.0)),
            Mistake("Nothing is left on the wrong answer: pass@1 is 1.", (0.4, 0.5623, 1.0)),
        ),
        reason="The tilt ends at the base given that the answer is right, the flow at the likelier right answer alone.",
    )
)

SLOPE = register(
    Exercise(
        name="46.ex3",
        reference=entropy_slope,
        cases=(
            Case(_base((0.9, 0.05, 0.05), (0, 1, 1)), "right answers rare"),
            Case(_base((0.4, 0.3, 0.2, 0.1), (0, 1, 0, 0)), "right answer usual"),
        ),
        mistakes=(
            Mistake("Without the covariance the entropy could only fall: that is the printed theorem.", _variance),
            Mistake("Variance and covariance are under the tilt, not under the base.", _under_base),
            Mistake("The covariance is with log q, the base's, not with log π.", _by_pi),
            Mistake("Both terms have a minus.", lambda q, r, beta: -entropy_slope(q, r, beta)),
        ),
        reason="With Cov(R, log q) < 0, right answers rarer than wrong ones, the entropy rises at first.",
    )
)

TOKENS = register(
    Exercise(
        name="46.ex4",
        reference=token_entropy,
        cases=(
            Case(_samples((2, 2, 2), 0), "one length"),
            Case(_samples((2, 6, 3), 1), "several lengths"),
            Case(_samples((1, 9), 2), "a short and a long one"),
        ),
        mistakes=(
            Mistake("Pooled over all tokens the long samples count more.", lambda h, m: h[m].mean()),
            Mistake("The padding counts: use the mask.", lambda h, m: h.mean(-1).mean()),
            Mistake(
                "Divide by each sample's own length, not by the longest.",
                lambda h, m: h.masked_fill(~m, 0.0).mean(-1).mean(),
            ),
        ),
        reason="A mean for each sample, and then the mean over samples.",
    )
)
