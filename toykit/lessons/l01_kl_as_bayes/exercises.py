"""The exercises of lesson 01, with the mistakes that they know."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toykit.exercises import Case, Exercise, Mistake, register


def posterior(log_prior: Tensor, rewards: Tensor, beta: float) -> Tensor:
    """Log-probabilities of pi0 exp(r / beta) / Z."""
    return (log_prior + rewards / beta).log_softmax(-1)


def kl_penalised(rewards: Tensor, logp: Tensor, ref_logp: Tensor, mask: Tensor, beta: float) -> Tensor:
    """r - beta (log pi(y) - log pi0(y)) [B, G] from token log-probabilities [B, G, T]."""
    return rewards - beta * _log_ratio(logp, ref_logp, mask).sum(-1)


def _log_ratio(logp: Tensor, ref_logp: Tensor, mask: Tensor) -> Tensor:
    return (logp - ref_logp).masked_fill(~mask, 0.0)


def _law(*weights: float) -> Tensor:
    p = torch.tensor(weights, dtype=torch.float64)
    return (p / p.sum()).log()


def _tokens(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rewards [2, 3], two policies' log-probabilities [2, 3, 4] with something left in the padding, and a mask."""
    draw = torch.Generator().manual_seed(seed)
    logp, ref = (-torch.rand(2, 3, 4, generator=draw, dtype=torch.float64) for _ in range(2))
    lengths = torch.randint(1, 5, (2, 3, 1), generator=draw)
    return torch.rand(2, 3, generator=draw, dtype=torch.float64), logp, ref, torch.arange(4) < lengths


PREDICT = register(
    Exercise(
        name="01.predict",
        reference="plain RL",
        mistakes=(
            Mistake("KL-RL stops at the posterior, which keeps every completion that the prior has.", "KL-RL"),
            Mistake("GDC goes to the same posterior as KL-RL, by another way.", "GDC"),
        ),
        reason="Only without the prior does nothing hold the mass back from the single best completion.",
    )
)

POSTERIOR = register(
    Exercise(
        name="01.ex1",
        reference=posterior,
        cases=(
            Case((_law(1, 1, 2), torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64), 0.5), "three completions"),
            Case((_law(5, 3, 1, 1), torch.tensor([0.2, 0.9, 1.0, 0.0], dtype=torch.float64), 2.0), "a large beta"),
            Case((_law(1, 2), torch.full((2,), 0.7, dtype=torch.float64), 0.3), "all rewards equal"),
            Case((_law(1, 9), torch.tensor([1.0, 0.0], dtype=torch.float64), 1e-3), "a tiny beta"),
        ),
        mistakes=(
            Mistake(
                "The reward is divided by beta: a small beta trusts the reward more.",
                lambda p, r, b: posterior(p, r * b, 1.0),
            ),
            Mistake("This is the likelihood alone; the prior is missing.", lambda p, r, b: posterior(0 * p, r, b)),
            Mistake("The result must be normalised: subtract log Z.", lambda p, r, b: p + r / b),
            Mistake("Work in log space: exp(r / beta) overflows for a tiny beta.", lambda p, r, b: _naive(p, r, b)),
            Mistake("Return log-probabilities, not probabilities.", lambda p, r, b: posterior(p, r, b).exp()),
        ),
        reason="With all rewards equal it is the prior: evidence that speaks for everything speaks for nothing.",
    )
)


def _naive(log_prior: Tensor, rewards: Tensor, beta: float) -> Tensor:
    weight = log_prior.exp() * (rewards / beta).exp()
    return (weight / weight.sum(-1)).log()


BETA_FOR_HALF = register(
    Exercise(
        name="01.ex2",
        reference=1 / math.log(19),
        tolerance=1e-3,
        mistakes=(
            Mistake("The odds of the set are 0.05 / 0.95, not 0.05: the rest of the mass is 0.95.", 1 / math.log(20)),
            Mistake("That is 1 / beta.", math.log(19)),
            Mistake("Both sets are weighted: the wrong completions keep the weight exp(0) = 1.", 1 / math.log(10)),
        ),
        reason="Posterior odds are prior odds times exp(1 / beta): 1/19 times 19.",
    )
)

PENALTY = register(
    Exercise(
        name="01.ex3",
        reference=kl_penalised,
        cases=tuple(Case((*_tokens(seed), beta), f"beta {beta:g}") for seed, beta in ((0, 0.1), (1, 1.0), (2, 0.5))),
        mistakes=(
            Mistake(
                "The KL of a completion is the sum over its tokens; a mean divides beta by its length.",
                lambda r, p, q, m, b: r - b * _log_ratio(p, q, m).sum(-1) / m.sum(-1),
            ),
            Mistake(
                "A mean over all places, padding included, divides beta by the longest length.",
                lambda r, p, q, m, b: r - b * _log_ratio(p, q, m).mean(-1),
            ),
            Mistake(
                "Tokens of the padding must not count: use the mask.", lambda r, p, q, m, b: r - b * (p - q).sum(-1)
            ),
            Mistake(
                "The sign is wrong: this pays the policy for leaving the prior.",
                lambda r, p, q, m, b: r + b * _log_ratio(p, q, m).sum(-1),
            ),
        ),
        reason="Summed over tokens it is log pi(y) - log pi0(y), whatever the length.",
    )
)
