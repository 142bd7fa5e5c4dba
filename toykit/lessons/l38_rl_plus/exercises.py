"""The exercises of lesson 38, with the mistakes that they know."""

from __future__ import annotations

import torch
from torch import Tensor

from toykit.exercises import Case, Exercise, Mistake, register


def weight(logp: Tensor, old_logp: Tensor, u: float) -> Tensor:
    """RL-PLUS's weights [n] of a solution's tokens: 2 p / (p_omega + p_old), p_omega the mean of p_old and u."""
    old = old_logp.exp()
    return 2 * logp.exp() / ((old + u) / 2 + old)


def advantages(rewards: Tensor, external: Tensor, logp: Tensor, gamma: float) -> Tensor:
    """Advantages [G, T] of the released code, of rewards [G], external bool [G] and log-probabilities [G, T]."""
    centred = (rewards - rewards.mean())[:, None].expand_as(logp)
    return torch.where(external[:, None], (1 - logp.exp()) ** gamma * centred, centred)


def _weights(p: tuple[float, ...], old: tuple[float, ...], u: float) -> tuple[Tensor, Tensor, float]:
    logp, old_logp = (torch.tensor(x, dtype=torch.float64).log() for x in (p, old))
    return logp, old_logp, u


def _group(rewards: tuple[float, ...], external: tuple[int, ...], seed: int) -> tuple[Tensor, Tensor, Tensor, float]:
    draw = torch.Generator().manual_seed(seed)
    logp = -3 * torch.rand(len(rewards), 3, generator=draw, dtype=torch.float64)
    rows = torch.zeros(len(rewards), dtype=torch.bool)
    rows[list(external)] = True
    return torch.tensor(rewards, dtype=torch.float64), rows, logp, 0.5


PREDICT = register(
    Exercise(
        name="38.predict",
        reference=(3, 2, 1),
        mistakes=(
            Mistake(
                "Plain GRPO needs a right row before it learns anything: of a path of 6e-6, about 20,000 groups of 8.",
                (1, 2, 3),
            ),
            Mistake("The other way round: a smaller u gives rare tokens a larger weight, 4 p / (3 p + u).", (3, 1, 2)),
            Mistake("A solution in the group is pushed by its tokens, not by how rarely it is drawn.", (1, 3, 2)),
            Mistake("GRPO is the last by far, because its push is that of the whole path.", (2, 3, 1)),
        ),
        reason="15,233, 100 and 53 steps: the path's probability, the token's, and nearly none.",
    )
)

WEIGHT = register(
    Exercise(
        name="38.ex1",
        reference=weight,
        cases=(
            Case(_weights((0.3, 0.01), (0.3, 0.01), 1.0), "on policy, u = 1"),
            Case(_weights((0.5, 0.2, 0.04), (0.3, 0.25, 0.01), 1 / 8), "after an update, u = 1/8"),
        ),
        mistakes=(
            Mistake(
                "Either p_old is missing beside p_omega, or u stands for all of p_omega, of which it is half.",
                lambda p, old, u: 2 * p.exp() / (u + old.exp()),
            ),
            Mistake(
                "The factor 2 is missing: two samples share the sum of the two laws.",
                lambda p, old, u: p.exp() / ((old.exp() + u) / 2 + old.exp()),
            ),
            Mistake(
                "The denominator is of the policy before the update: with the new p in it the weight hardly moves.",
                lambda p, old, u: 2 * p.exp() / ((p.exp() + u) / 2 + p.exp()),
            ),
        ),
        reason="At p = p_old it is 4 p / (3 p + u). In toykit it is MIS(u).",
    )
)

FACTOR = register(
    Exercise(
        name="38.ex2",
        reference=1121.2,
        tolerance=0.02,
        mistakes=(
            Mistake(
                "A solution's push is that of its token, e(0.05); only the policy's own rows know the path.", 0.165
            ),
            Mistake("The policy's own rows push by h(p) of the whole path, 0.05 to the power 4.", 0.14015),
            Mistake("The solution is one row of eight.", 8969.7),
            Mistake("Its advantage is 7/8, not 1: the mean of the group's rewards is 1/8.", 1281.4),
            Mistake("That is without (1 - p)^0.5.", 1150.3),
        ),
        reason="7/8 · 1/8 · 4 · 0.05/1.15 · sqrt(0.95) = 0.0185, over sqrt(7) · 6.25e-6 = 1.65e-5.",
    )
)

REPAIR = register(
    Exercise(
        name="38.ex3",
        reference=advantages,
        cases=(
            Case(_group((0, 0, 0, 0, 0, 0, 0, 1), (7,), 0), "seven wrong rows and a solution"),
            Case(_group((1, 0, 1, 1), (3,), 1), "some right rows"),
            Case(_group((1, 0, 1, 0), (), 2), "no solution"),
        ),
        mistakes=(
            Mistake(
                "Divided by the standard deviation: the text does so, the released code does not.",
                lambda r, e, p, g: advantages(r / r.std(unbiased=False), e, p, g),
            ),
            Mistake(
                "The rows of the policy's own keep their advantage: only a solution's tokens have the factor.",
                lambda r, e, p, g: advantages(r, torch.ones_like(e), p, g),
            ),
            Mistake(
                "Rare tokens count most: 1 - p, not p.",
                lambda r, e, p, g: torch.where(e[:, None], p.exp() ** g, torch.ones_like(p)) * (r - r.mean())[:, None],
            ),
            Mistake(
                "p is a probability of one token, not of the whole row.",
                lambda r, e, p, g: advantages(r, e, p.sum(-1, keepdim=True).expand_as(p), g),
            ),
        ),
        reason="In toykit it is Advantage(mean='group') with the transform Exploring(gamma).",
    )
)
