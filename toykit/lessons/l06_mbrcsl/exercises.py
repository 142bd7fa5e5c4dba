"""The exercises of lesson 06, with the mistakes that they know."""

from __future__ import annotations

import torch
from torch import Tensor

from toykit.exercises import Case, Exercise, Mistake, register


def keep(imagined: Tensor, logged: Tensor) -> tuple[Tensor, Tensor]:
    """bool [N], the rollouts whose return is larger than that of every logged episode; and the return to ask for."""
    kept = imagined > logged.max()
    return kept, (imagined[kept] if kept.any() else logged).max()


def asked(target: float, predicted: Tensor, true: Tensor) -> Tensor:
    """[H] the return that is asked for at each step: the target less the true rewards before it."""
    return target - (true.cumsum(0) - true)


def _rollouts(imagined: tuple[float, ...], logged: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    return torch.tensor(imagined, dtype=torch.float64), torch.tensor(logged, dtype=torch.float64)


def _with_ties(imagined: Tensor, logged: Tensor) -> tuple[Tensor, Tensor]:
    kept = imagined >= logged.max()
    return kept, (imagined[kept] if kept.any() else logged).max()


def _over_the_mean(imagined: Tensor, logged: Tensor) -> tuple[Tensor, Tensor]:
    kept = imagined > logged.mean()
    return kept, (imagined[kept] if kept.any() else logged).max()


def _step(target: float, predicted: tuple[float, ...], true: tuple[float, ...]) -> tuple[float, Tensor, Tensor]:
    return target, torch.tensor(predicted, dtype=torch.float64), torch.tensor(true, dtype=torch.float64)


PREDICT = register(
    Exercise(
        name="06.predict",
        reference=(3, 6, 10),
        tolerance=0.05,
        mistakes=(
            Mistake("Each logged episode earns 3, and RCSL composes no parts of two.", (6, 6, 10)),
            Mistake("Rollouts in a right model do hold the perfect one, one time in 64, and it is kept.", (3, 3, 10)),
            Mistake(
                "The class holds Q*, and still the error grows: fitted values of the backup leave the class.", (3, 6, 1)
            ),
            Mistake("It grows in proportion to the sweeps, not exponentially.", (3, 6, 100)),
        ),
        reason="RCSL copies a return, rollouts stitch, and ten times the sweeps give ten times the error.",
    )
)

PRICE = register(
    Exercise(
        name="06.ex1",
        reference=(1024, 1024 / 386),
        tolerance=2e-3,
        mistakes=(
            Mistake("A tie does not beat the data: more than 5 of 10, not 5 or more.", (1024, 1024 / 638)),
            Mistake("Each of the ten tokens must be right: 2^10, not 10 / (1/2).", (20, 1024 / 386)),
            Mistake("The second number is one over the probability, not the probability.", (1024, 386 / 1024)),
            Mistake("6 of 10 is one way to beat the data; 7, 8, 9 and 10 are others.", (1024, 1024 / 210)),
        ),
        reason="P(perfect) = 2^-10; P(Bin(10, 1/2) > 5) = (1 - 252/1024) / 2 = 386/1024, and 1024/386 = 2.65.",
    )
)

KEEP = register(
    Exercise(
        name="06.ex2",
        reference=keep,
        cases=(
            Case(_rollouts((1.0, 4.0, 3.0, 2.7), (3.0, 2.0)), "a tie among the rollouts"),
            Case(_rollouts((5.0, 5.0, 7.0), (4.0, 1.0)), "several"),
            Case(_rollouts((0.5, 0.2), (1.0, 2.0, 3.0)), "nothing beats the data"),
        ),
        mistakes=(
            Mistake("A tie adds nothing to the data: keep what is strictly larger.", _with_ties),
            Mistake("The threshold is the best of the data, not their mean.", _over_the_mean),
            Mistake(
                "Ask for the best of what was kept: the policy never saw the data.",
                lambda i, d: (i > d.max(), d.max()),
            ),
            Mistake(
                "Where nothing beats the data nothing has a maximum: the plain policy asks for the best of the data.",
                lambda i, d: (i > d.max(), i[i > d.max()].max()),
            ),
        ),
        reason="In toykit it is the filter of control.offline.mbrcsl.",
    )
)

ASKED = register(
    Exercise(
        name="06.ex3",
        reference=asked,
        cases=(
            Case(_step(3.0, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)), "a model that is right"),
            Case(_step(6.0, (1.0, 1.0, 0.0, 2.0), (0.0, 1.0, 0.0, 2.0)), "a model that promises too much"),
        ),
        mistakes=(
            Mistake(
                "What was promised is not what was paid: subtract the true rewards.",
                lambda g, p, r: g - (p.cumsum(0) - p),
            ),
            Mistake(
                "The reward of a step comes after its action: it is not yet subtracted.",
                lambda g, p, r: g - r.cumsum(0),
            ),
            Mistake("What was earned is no longer to go: subtract it.", lambda g, p, r: torch.full_like(r, g)),
            Mistake(
                "Only the last reward was subtracted: all of them were earned.",
                lambda g, p, r: g - torch.cat([r.new_zeros(1), r[:-1]]),
            ),
        ),
        reason="The first target is a return in the model, the rewards that are taken from it are those of the world.",
    )
)
