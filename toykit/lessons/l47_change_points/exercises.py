"""The exercises of lesson 47, with the mistakes that they know."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toykit.exercises import Case, Exercise, Mistake, register


def evidence(counts: Tensor) -> Tensor:
    """log DM of counts [O]."""
    n_symbols = torch.tensor(float(len(counts)), dtype=torch.float64)
    return n_symbols.lgamma() + (counts + 1.0).lgamma().sum() - (counts.sum() + n_symbols).lgamma()


def score(before: Tensor, since: Tensor, eta: float) -> Tensor:
    """The score of a start, from the counts [O] of the symbols before it and since."""
    return evidence(before) + evidence(since) - evidence(before + since) + math.log(eta)


def _likelihood(counts: Tensor) -> Tensor:
    return torch.special.xlogy(counts, counts / counts.sum().clamp(min=1)).sum()


def _of_bags(counts: Tensor) -> Tensor:
    """log of the probability of the counts, in whatever order they came."""
    return evidence(counts) + (counts.sum() + 1).lgamma() - (counts + 1).lgamma().sum()


def _counts(*rows: tuple[float, ...]) -> tuple[Tensor, ...]:
    return tuple(torch.tensor(row, dtype=torch.float64) for row in rows)


def means(actions: Tensor, rewards: Tensor, window: int, n_actions: int) -> Tensor:
    """Mean rewards [A] of the last `window` steps, 0 for an action that they do not hold."""
    hot = torch.nn.functional.one_hot(actions[-window:], n_actions).to(rewards)
    return (hot * rewards[-window:, None]).sum(0) / hot.sum(0).clamp(min=1)


def _no_old_visits(actions: Tensor, rewards: Tensor, window: int, n_actions: int) -> Tensor:
    hot = torch.nn.functional.one_hot(actions, n_actions).to(rewards)
    return (hot * rewards[:, None]).sum(0) / hot[-window:].sum(0).clamp(min=1)


def _no_old_rewards(actions: Tensor, rewards: Tensor, window: int, n_actions: int) -> Tensor:
    hot = torch.nn.functional.one_hot(actions, n_actions).to(rewards)
    return (hot * rewards[:, None])[-window:].sum(0) / hot.sum(0).clamp(min=1)


def _steps(seed: int, n: int, n_actions: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    actions = torch.randint(0, n_actions, (n,), generator=draw)
    return actions, torch.rand(n, generator=draw, dtype=torch.float64)


PREDICT = register(
    Exercise(
        name="47.predict",
        reference="oracle, detector, window, nothing",
        mistakes=(
            Mistake(
                "A window forgets all the time, also where nothing has changed; the detector only where something did.",
                "oracle, window, detector, nothing",
            ),
            Mistake(
                "What was learned before is worse than nothing: the old policy walks away from the reward.",
                "oracle, detector, nothing, window",
            ),
            Mistake(
                "The oracle restarts at the change itself, the detector after some visits.",
                "detector, oracle, window, nothing",
            ),
        ),
        reason="Forget all at the change, a little later, bit by bit for ever, or never.",
    )
)

SCORE = register(
    Exercise(
        name="47.ex1",
        reference=score,
        cases=(
            Case((*_counts((7, 2, 1), (1, 2, 4)), 0.01), "a change"),
            Case((*_counts((5, 5), (6, 4)), 0.01), "no change"),
            Case((*_counts((9, 0, 0, 0), (0, 0, 0, 1)), 0.5), "a newcomer"),
        ),
        mistakes=(
            Mistake("The prior η is missing.", lambda a, b, eta: score(a, b, 1.0)),
            Mistake(
                "The newcomer must pay for its first symbol, log O: else it is ahead at birth.",
                lambda a, b, eta: score(a, b, eta) + math.log(len(a)),
            ),
            Mistake(
                "The best law of each part, fitted to it, always beats one law for both: integrate over the laws.",
                lambda a, b, eta: _likelihood(a) + _likelihood(b) - _likelihood(a + b) + math.log(eta),
            ),
            Mistake(
                "The sequence came in one order: its probability has no multinomial coefficient.",
                lambda a, b, eta: _of_bags(a) + _of_bags(b) - _of_bags(a + b) + math.log(eta),
            ),
            Mistake("The other way round: this is the score of no change.", lambda a, b, eta: -score(a, b, eta)),
        ),
        reason="A Bayes factor: two laws against one, each integrated out, times the prior.",
    )
)

DELAY = register(
    Exercise(
        name="47.ex2",
        reference=math.log(1e4) / 0.5,
        tolerance=0.05,
        mistakes=(
            Mistake("Nats: the natural logarithm, as in the KL.", 4 / 0.5),
            Mistake("Each symbol brings KL nats on average: divide by it.", math.log(1e4) * 0.5),
            Mistake("The evidence must reach log(1/η), not 1/η.", 1e4 / 0.5),
            Mistake("Add up KL until log(1/η) is reached.", math.log(1e4)),
        ),
        reason="log(1/η) / KL = 9.21 / 0.5; in practice 1.1 to 2.3 times that: the new law must be learned.",
    )
)

WINDOW = register(
    Exercise(
        name="47.ex3",
        reference=means,
        cases=(
            Case((*_steps(0, 6, 2), 10, 2), "fewer steps than the window holds"),
            Case((*_steps(1, 40, 3), 5, 3), "a short window"),
        ),
        mistakes=(
            Mistake("Old rewards must leave the sum as old visits leave the count.", _no_old_visits),
            Mistake("Old visits must leave the count as old rewards leave the sum.", _no_old_rewards),
            Mistake(
                "This is the mean over all steps: nothing leaves.",
                lambda actions, rewards, window, n: means(actions, rewards, len(actions), n),
            ),
            Mistake(
                "These are the first steps, not the last.",
                lambda actions, rewards, window, n: means(actions[:window], rewards[:window], window, n),
            ),
        ),
        reason="What leaves the window leaves both the sum and the count.",
    )
)
