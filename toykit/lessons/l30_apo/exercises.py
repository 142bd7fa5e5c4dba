"""The exercises of lesson 30, with the mistakes that they know."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toykit.exercises import Case, Exercise, Mistake, register


def kl_weights(correct: Tensor, advantages: Tensor) -> Tensor:
    """[B, G]: what the KL of each completion counts, of bool [B, G] and advantages [B, G]."""
    accuracy = correct.double().mean(-1, keepdim=True)
    mixed = correct.any(-1, keepdim=True) & ~correct.all(-1, keepdim=True)
    return torch.where(mixed & (advantages > 0), 1 - torch.exp(-math.e * accuracy), 1.0)


def enlarged(advantages: Tensor, correct: Tensor, lengths: Tensor, lnb: float) -> Tensor:
    """[G]: a group's advantages; negative ones of wrong completions longer than the right ones' mean are enlarged."""
    if not correct.any():
        return advantages
    longer = (lengths - lengths[correct].mean()).clamp(min=0)
    factor = 2 - torch.exp(-lnb * longer)
    return torch.where(~correct & (advantages < 0), factor, 1.0) * advantages


def _unguarded(advantages: Tensor, correct: Tensor, lengths: Tensor, lnb: float) -> Tensor:
    if not correct.any():
        return advantages
    longer = (lengths - lengths[correct].mean()).clamp(min=0)
    return torch.where(~correct, 2 - torch.exp(-lnb * longer), 1.0) * advantages


def _groups(*right: str, bonus: str = "") -> tuple[Tensor, Tensor]:
    """Which completions are right, and advantages of 1 for them plus 0.5 for those with a format, less the mean."""
    correct = torch.tensor([[c == "1" for c in row] for row in right])
    rewards = correct.double()
    if bonus:
        rewards = rewards + 0.5 * torch.tensor([c == "1" for c in bonus]).double()
    return correct, rewards - rewards.mean(-1, keepdim=True)


def _group(advantages: list[float], right: str, lengths: list[int]) -> tuple[Tensor, Tensor, Tensor, float]:
    made = torch.tensor(advantages, dtype=torch.float64)
    return made, torch.tensor([c == "1" for c in right]), torch.tensor(lengths, dtype=torch.float64), 0.1


PREDICT = register(
    Exercise(
        name="30.predict",
        reference=0.587,
        tolerance=0.02,
        mistakes=(
            Mistake("The KL is light only while answers are rare: at p = 0.5 its weight is 0.74 again.", 1.0),
            Mistake("That is where the full KL stops. Less weight on the right answers moves the balance.", 0.548),
            Mistake("That is the base: the reward does move it.", 0.05),
        ),
        reason="DADS is light at the start and nearly a whole KL by the time the balance is reached.",
    )
)

WEIGHTS = register(
    Exercise(
        name="30.ex1",
        reference=kl_weights,
        cases=(
            Case(_groups("11000000", "11111110"), "a hard and an easy group"),
            Case(_groups("0000", "1111", bonus="1000"), "groups all wrong and all right, told apart by format"),
            Case(_groups("1000", bonus="0100"), "a wrong completion with a positive advantage"),
        ),
        mistakes=(
            Mistake(
                "Only completions of positive advantage are lighter; the others keep the whole KL.",
                lambda c, a: (1 - torch.exp(-math.e * c.double().mean(-1, keepdim=True))).expand_as(a),
            ),
            Mistake(
                "In a group that is all wrong or all right every weight is 1: the curve jumps there.",
                lambda c, a: torch.where(a > 0, 1 - torch.exp(-math.e * c.double().mean(-1, keepdim=True)), 1.0),
            ),
            Mistake(
                "Light on HARD questions: the weight must be small where the accuracy is.",
                lambda c, a: torch.where(
                    (a > 0) & (c.any(-1) & ~c.all(-1))[:, None],
                    1 - torch.exp(-math.e * (1 - c.double().mean(-1, keepdim=True))),
                    1.0,
                ),
            ),
            Mistake(
                "The sign is the advantage's, not the answer's: a wrong completion can have a positive one.",
                lambda c, a: torch.where(
                    c & ~c.all(-1, keepdim=True), 1 - torch.exp(-math.e * c.double().mean(-1, keepdim=True)), 1.0
                ),
            ),
        ),
        reason="1 - exp(-e acc), for positive advantages in groups that are neither all right nor all wrong.",
    )
)

BY_HAND = register(
    Exercise(
        name="30.ex2",
        reference=(1 - math.exp(-math.e / 4), 2 - math.exp(-1)),
        tolerance=2e-3,
        mistakes=(
            Mistake("ω goes by the accuracy, 2/8, not by the difficulty, 6/8.", (1 - math.exp(-0.75 * math.e), 1.632)),
            Mistake("W is 1 + (1 - 1/b^D): it begins at 1.", (0.493, 1 - math.exp(-1))),
            Mistake("D is what the answer is longer by, 10, not its length.", (0.493, 2 - math.exp(-3))),
            Mistake("That is the curve that is commented out.", (math.exp(-0.75 * math.e), 1.632)),
        ),
        reason="1 - exp(-e/4) and 1 + 1 - exp(-0.1 · 10).",
    )
)

ENLARGED = register(
    Exercise(
        name="30.ex3",
        reference=enlarged,
        cases=(
            Case(_group([1.5, -0.5, -0.5, -0.5], "1000", [20, 30, 20, 10]), "one right answer"),
            Case(_group([1.2, 0.2, -0.7, -0.7], "1000", [20, 40, 40, 10]), "a long wrong answer with a good format"),
            Case(_group([0.5, -0.5], "00", [20, 40]), "no right answer"),
        ),
        mistakes=(
            Mistake(
                "A long wrong answer of positive advantage is now rewarded for its length: enlarge only negative ones.",
                _unguarded,
            ),
            Mistake(
                "The mean length is that of the RIGHT answers, not of the group.",
                lambda a, c, n, lnb: (
                    torch.where(~c & (a < 0) & c.any(), 2 - torch.exp(-lnb * (n - n.mean()).clamp(min=0)), 1.0) * a
                ),
            ),
            Mistake(
                "Shorter answers are not let off: the factor never falls below 1.",
                lambda a, c, n, lnb: (
                    a if not c.any() else torch.where(~c & (a < 0), 2 - torch.exp(-lnb * (n - n[c].mean())), 1.0) * a
                ),
            ),
            Mistake(
                "Without a right answer there is nothing to be longer than: leave the group as it is.",
                lambda a, c, n, lnb: (
                    enlarged(a, c, n, lnb) if c.any() else torch.where(a < 0, 2 - torch.exp(-lnb * n), 1.0) * a
                ),
            ),
        ),
        reason="Wrong, longer than the right ones, and already pushed down.",
    )
)
