"""The exercises of lesson 31, with the mistakes that they know."""

from __future__ import annotations

import torch
from torch import Tensor

from toykit.exercises import Case, Exercise, Mistake, register


def rloo(rewards: Tensor) -> Tensor:
    """R_i - mean of the other R_j, from rewards [..., G]."""
    g = rewards.shape[-1]
    return rewards - (rewards.sum(-1, keepdim=True) - rewards) / (g - 1)


def grpo(rewards: Tensor, eps: float = 1e-4) -> Tensor:
    """(R_i - mean) / (std + eps) from rewards [..., G], std with G - 1; 0 where all rewards of a group are equal."""
    return (rewards - rewards.mean(-1, keepdim=True)) / (rewards.std(-1, keepdim=True) + eps)


def log_odds_loss(logp_w: Tensor, logp_l: Tensor, mask_w: Tensor, mask_l: Tensor) -> Tensor:
    """ORPO's -log sigma(o_w - o_l), o = p - log(1 - e^p) with p the mean over a completion's tokens; [N] of [N, T]."""
    gap = _odds(_mean(logp_w, mask_w)) - _odds(_mean(logp_l, mask_l))
    return -torch.nn.functional.logsigmoid(gap)


def _mean(logp: Tensor, mask: Tensor) -> Tensor:
    return (logp * mask).sum(-1) / mask.sum(-1)


def _odds(p: Tensor) -> Tensor:
    return p - torch.log(-torch.expm1(p))


def _summed(logp_w: Tensor, logp_l: Tensor, mask_w: Tensor, mask_l: Tensor) -> Tensor:
    return -torch.nn.functional.logsigmoid(_odds((logp_w * mask_w).sum(-1)) - _odds((logp_l * mask_l).sum(-1)))


def _padded(logp_w: Tensor, logp_l: Tensor, mask_w: Tensor, mask_l: Tensor) -> Tensor:
    """The mean over all places, padding too."""
    return -torch.nn.functional.logsigmoid(_odds((logp_w * mask_w).mean(-1)) - _odds((logp_l * mask_l).mean(-1)))


def _ratio(logp_w: Tensor, logp_l: Tensor, mask_w: Tensor, mask_l: Tensor) -> Tensor:
    return -torch.nn.functional.logsigmoid(_mean(logp_w, mask_w) - _mean(logp_l, mask_l))


def _turned(logp_w: Tensor, logp_l: Tensor, mask_w: Tensor, mask_l: Tensor) -> Tensor:
    return log_odds_loss(logp_l, logp_w, mask_l, mask_w)


def _doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _tokens(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


PREDICT = register(
    Exercise(
        name="31.predict",
        reference="REINFORCE",
        mistakes=(
            Mistake(
                "A baseline made of two other samples is itself noisy. With rewards this small that costs more than it "
                "saves: 0.0602 against 0.0430.",
                "RLOO",
            ),
            Mistake("Their means are the same, their variances are not.", "same"),
        ),
        reason="The variance is 0.0430 against RLOO's 0.0602. Add 5 to all rewards and it is 6.37 against 0.0602.",
    )
)

GROUPS = (
    Case((_doubles(1, 0, 0),), "the card's three rollouts"),
    Case((torch.stack([_doubles(1, 0, 0), _doubles(3, 1, 2)]),), "two groups"),
    Case((_doubles(0.2, 0.9),), "a group of two"),
    Case((_doubles(1, 1, 1, 1),), "all rewards equal"),
)
WHOLE_BATCH = "The baseline belongs to one prompt's group, not to the whole batch."

RLOO = register(
    Exercise(
        name="31.ex1",
        reference=rloo,
        cases=GROUPS,
        mistakes=(
            Mistake(
                "The mean includes the sample itself: that is the centred reward, RLOO's times (G - 1) / G.",
                lambda r: r - r.mean(-1, keepdim=True),
            ),
            Mistake(
                "Divide by the number of the *others*, G - 1.",
                lambda r: r - (r.sum(-1, keepdim=True) - r) / r.shape[-1],
            ),
            Mistake("That is GRPO's advantage: RLOO has no standard deviation.", grpo),
            Mistake(WHOLE_BATCH, lambda r: r - (r.sum() - r) / (r.numel() - 1)),
        ),
        reason="(1, -1/2, -1/2) for rewards 1, 0, 0: G / (G - 1) times the centred (2/3, -1/3, -1/3).",
    )
)

GRPO = register(
    Exercise(
        name="31.ex2",
        reference=grpo,
        cases=GROUPS,
        mistakes=(
            Mistake(
                "Use the sample standard deviation, over G - 1.",
                lambda r: (r - r.mean(-1, keepdim=True)) / (r.std(-1, keepdim=True, correction=0) + 1e-4),
            ),
            Mistake(
                "eps is missing: a group whose rewards are all equal gives 0 / 0, and must give zeros.",
                lambda r: (r - r.mean(-1, keepdim=True)) / r.std(-1, keepdim=True),
            ),
            Mistake(
                "That is the centred reward, Dr. GRPO's: the standard deviation is missing.",
                lambda r: r - r.mean(-1, keepdim=True),
            ),
            Mistake(
                "The mean is over the whole group, the sample included.",
                lambda r: rloo(r) / (r.std(-1, keepdim=True) + 1e-4),
            ),
            Mistake(
                "eps stands beside the standard deviation, not under the root with the variance.",
                lambda r: (r - r.mean(-1, keepdim=True)) / (r.var(-1, keepdim=True) + 1e-4).sqrt(),
            ),
            Mistake(WHOLE_BATCH, lambda r: (r - r.mean()) / (r.std() + 1e-4)),
        ),
        reason="(1.1545, -0.5773, -0.5773) for rewards 1, 0, 0: the standard deviation is 0.5774.",
    )
)

W, L = _tokens([-0.1, -0.4, -0.2], [-1.0, -0.3, 0.0]), _tokens([-0.9, -0.5, 0.0], [-0.2, -0.6, -1.1])
FULL = torch.ones(2, 3, dtype=torch.float64)

ORPO = register(
    Exercise(
        name="31.ex3",
        reference=log_odds_loss,
        cases=(
            Case((W[:1], L[1:], FULL[:1], FULL[1:]), "equal lengths"),
            Case((W, L, _tokens([1, 1, 1], [1, 1, 0]), _tokens([1, 1, 0], [1, 1, 1])), "padding"),
            Case((L[:1], W[:1] * 1e-12, FULL[:1], FULL[:1]), "a rejected completion that is nearly certain"),
        ),
        mistakes=(
            Mistake("p is the mean log-probability of a token, not the sum: beta would depend on the length.", _summed),
            Mistake("The mean is over the completion's own tokens: padding made it smaller.", _padded),
            Mistake("These are log-probabilities, not log-odds: - log(1 - e^p) is missing.", _ratio),
            Mistake("Chosen and rejected are exchanged.", _turned),
            Mistake(
                "log(1 - exp(p)) loses its digits where p is near 0: use log(-expm1(p)).",
                lambda lw, ll, mw, ml: (
                    -torch.nn.functional.logsigmoid(
                        (_mean(lw, mw) - torch.log(1 - _mean(lw, mw).exp()))
                        - (_mean(ll, ml) - torch.log(1 - _mean(ll, ml).exp()))
                    )
                ),
            ),
        ),
        reason="Means over tokens, odds and not probabilities, and expm1 near certainty.",
    )
)

FINITE = register(
    Exercise(
        name="31.ex4",
        reference="ipo",
        mistakes=(
            Mistake("Its logistic loss falls for ever as the gap grows, until one answer has all the mass.", "dpo"),
            Mistake("Its logistic loss of the log-odds falls for ever too.", "orpo"),
        ),
        reason="Its square asks for a gap of 1 / (2 tau) and no more.",
    )
)
