"""The exercises of lesson 32, with the mistakes that they know."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toykit.exact import tilt_to_kl
from toykit.exercises import Case, Exercise, Mistake, register


def best_level(p: Tensor, n: float) -> Tensor:
    """Probability [K] that the best of n draws is at each reward level, from those of one draw, levels rising."""
    above = torch.cat([p.flip(0).cumsum(0).flip(0)[1:], p.new_zeros(1)])
    return _steps(torch.exp(n * torch.log1p(-above)))


def _steps(up_to: Tensor) -> Tensor:
    return up_to.diff(prepend=up_to.new_zeros(1))


def _each_once(p: Tensor, n: float) -> Tensor:
    met = -torch.expm1(n * torch.log1p(-p))
    return met / met.sum()


def tilt_kl(log_p: Tensor, rewards: Tensor, alpha: float) -> Tensor:
    """KL(phi, p) in nats of the tilt phi = p exp(alpha r) / Z."""
    moment = (log_p + alpha * rewards).logsumexp(-1)
    return alpha * _mean(log_p, rewards, alpha) - moment


def _mean(log_p: Tensor, rewards: Tensor, alpha: float) -> Tensor:
    return ((log_p + alpha * rewards).softmax(-1) * rewards).sum(-1)


def _overflowing(log_p: Tensor, rewards: Tensor, alpha: float) -> Tensor:
    weight = log_p.exp() * (alpha * rewards).exp()
    return alpha * (weight * rewards).sum() / weight.sum() - weight.sum().log()


def _doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _beta_of_kl(kl: float) -> float:
    """beta of the tilt with this KL, of a success that the base has once in ten."""
    return tilt_to_kl(_doubles(0.1, 0.9).log(), _doubles(1, 0), kl).beta.item()


PREDICT = register(
    Exercise(
        name="32.predict",
        reference="the same",
        mistakes=(
            Mistake("RL is ahead at every length, but by about log(m) / (2 alpha m) a letter, which goes to 0.", "RL"),
            Mistake("Never: it spends less than log n, and within that KL no law has more than RL.", "best-of-n"),
        ),
        reason="The gap a letter goes to 0 like log(m) / m. It is there at every finite length.",
    )
)

BEST = register(
    Exercise(
        name="32.ex1",
        reference=best_level,
        cases=(
            Case((_doubles(0.5, 0.3, 0.2), 2), "two draws"),
            Case((_doubles(0.9, 0.1), 4), "two levels"),
            Case((_doubles(0.25, 0.25, 0.25, 0.25), 1.5), "n between 1 and 2"),
            Case((_doubles(1 - 1e-12, 1e-12), 1e12), "a rare best and many draws"),
        ),
        mistakes=(
            Mistake(
                "Near 1 a cumulative sum has lost the tail: sum it from the top, F^n = exp(n log1p(-tail)).",
                lambda p, n: _steps(p.cumsum(0) ** n),
            ),
            Mistake(
                "F^n is the chance of at most this level: take off that of the level below.",
                lambda p, n: best_level(p, n).cumsum(0),
            ),
            Mistake("That is the chance to meet each level at all; a higher one may be met as well.", _each_once),
            Mistake("This is the worst of n: the levels rise.", lambda p, n: best_level(p.flip(0), n).flip(0)),
        ),
        reason="A tail of 1e-12 is exact where it is summed from its own end.",
    )
)

BETA = register(
    Exercise(
        name="32.ex2",
        reference=1 / (math.log(0.3439 / 0.6561) - math.log(0.1 / 0.9)),
        tolerance=1e-3,
        mistakes=(
            Mistake("That is alpha; beta is 1 / alpha.", math.log(0.3439 / 0.6561) - math.log(0.1 / 0.9)),
            Mistake("A tilt multiplies odds, not probabilities: failures keep the weight 1.", 1 / math.log(3.439)),
            Mistake("Four draws succeed with 1 - 0.9^4, not with 4 times 0.1.", 1 / math.log(6)),
            Mistake("That is the tilt whose KL is log 4; best-of-4 spends 0.2174 nats.", _beta_of_kl(math.log(4))),
            Mistake(
                "log 4 - 3/4 is only a bound on the KL, and with ties a loose one: best-of-4 spends 0.2174 nats.",
                _beta_of_kl(math.log(4) - 0.75),
            ),
        ),
        reason="Success 0.3439: odds 0.524 in place of 0.111, alpha = 1.551, KL = 0.2174.",
    )
)

TILT_KL = register(
    Exercise(
        name="32.ex3",
        reference=tilt_kl,
        cases=(
            Case((_doubles(0.5, 0.3, 0.2).log(), _doubles(0, 1, 2), 0.7), "three completions"),
            Case((_doubles(0.1, 0.9).log(), _doubles(1, 0), 1.551), "the tilt of best-of-4"),
            Case((_doubles(0.5, 0.5).log(), _doubles(3, 3), 2.0), "all rewards equal"),
            Case((_doubles(0.5, 0.5).log(), _doubles(0, 10), 100.0), "a large alpha"),
        ),
        mistakes=(
            Mistake(
                "The mean reward is the tilt's, not the base's: this is -KL(p, phi), which is never positive.",
                lambda p, r, a: a * (p.exp() * r).sum() - (p + a * r).logsumexp(-1),
            ),
            Mistake("log Z is missing: subtract Lambda(alpha).", lambda p, r, a: a * _mean(p, r, a)),
            Mistake(
                "The KL is in nats, the reward is not: multiply the mean reward by alpha.",
                lambda p, r, a: _mean(p, r, a) - (p + a * r).logsumexp(-1),
            ),
            Mistake("alpha multiplies the reward; it is beta that divides it.", lambda p, r, a: tilt_kl(p, r, 1 / a)),
            Mistake("Work in log space: exp(alpha r) overflows for a large alpha.", _overflowing),
        ),
        reason="With equal rewards it is 0: there is nothing to tilt towards.",
    )
)
