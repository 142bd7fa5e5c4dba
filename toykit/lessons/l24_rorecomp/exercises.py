"""The exercises of lesson 24, with the mistakes that they know."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toykit.exercises import Case, Exercise, Mistake, register


def priority(lengths: Tensor, correct: Tensor, alpha: float) -> Tensor:
    """bool [G]: the first ceil(alpha n) of n right completions, shortest first, and of n wrong ones, longest first."""
    return _ranked(lengths, correct, alpha)


def _ranked(
    lengths: Tensor,
    correct: Tensor,
    alpha: float,
    right: int = 1,
    wrong: int = -1,
    most: bool = True,
    one: bool = False,
) -> Tensor:
    chosen = torch.zeros_like(correct)
    groups = [(torch.ones_like(correct), right)] if one else [(correct, right), (~correct, wrong)]
    for kind, sign in groups:
        index = kind.nonzero()[:, 0]
        order = index[(sign * lengths[index]).argsort(stable=True)]
        chosen[order[: (math.ceil if most else math.floor)(alpha * len(index))]] = True
    return chosen


def parts(rewards: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """What priority and rest push each log-probability by, [G] each: A over G, A of the whole group."""
    push = (rewards - rewards.mean()) / len(rewards)
    return push * first, push * ~first


def _own_mean(rewards: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    def of(part: Tensor) -> Tensor:
        mean = (rewards * part).sum() / part.sum().clamp(min=1)
        return (rewards - mean) / len(rewards) * part

    return of(first), of(~first)


def _own_size(rewards: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    push = rewards - rewards.mean()
    return push * first / first.sum().clamp(min=1), push * ~first / (~first).sum().clamp(min=1)


def _both(rewards: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    def of(part: Tensor) -> Tensor:
        size = part.sum().clamp(min=1)
        return (rewards - (rewards * part).sum() / size) / size * part

    return of(first), of(~first)


def _group(*completions: tuple[int, int]) -> tuple[Tensor, Tensor]:
    lengths, correct = zip(*completions, strict=True)
    return torch.tensor(lengths), torch.tensor(correct).bool()


CARD = _group((3, 1), (5, 1), (9, 1), (4, 0), (8, 0))
MIXED = _group((6, 0), (2, 1), (7, 1), (1, 0), (4, 1), (9, 0), (5, 1), (3, 0))

PREDICT = register(
    Exercise(
        name="24.predict",
        reference=(0, -1, 1),
        mistakes=(
            Mistake("The base method rewards no length: its two halves cancel.", (-1, -1, 1)),
            Mistake("What comes second must undo what came first: together they are the base method.", (0, -1, 0)),
            Mistake("Pushing long wrong answers away shortens as well; the two do not cancel.", (0, 0, 0)),
            Mistake("The other way round: short right answers are pushed up, long wrong ones down.", (0, 1, -1)),
        ),
        reason="0, -0.010986 and 0.010986: a bias comes from what is left out, late, or given less.",
    )
)

PRIORITY = register(
    Exercise(
        name="24.ex1",
        reference=priority,
        cases=(
            Case((*CARD, 0.5), "three right and two wrong"),
            Case((*MIXED, 0.3), "four of each"),
            Case((*_group((2, 1), (2, 1), (5, 1)), 0.3), "a tie, none wrong"),
        ),
        mistakes=(
            Mistake(
                "Of the wrong ones the longest come first: they are pushed down.",
                lambda n, c, a: _ranked(n, c, a, wrong=1),
            ),
            Mistake(
                "Of the right ones the shortest come first: they are pushed up.",
                lambda n, c, a: _ranked(n, c, a, right=-1),
            ),
            Mistake("ceil, not floor: at least one of each kind.", lambda n, c, a: _ranked(n, c, a, most=False)),
            Mistake(
                "Right and wrong ones are ranked apart: this takes the shortest, whatever they are.",
                lambda n, c, a: _ranked(n, c, a, one=True),
            ),
        ),
        reason="In toykit it is Recomposition(alpha).share(rollouts).",
    )
)

LATER = register(
    Exercise(
        name="24.ex2",
        reference=(3, 5, 8),
        mistakes=(
            Mistake("ceil(0.5 · 3) is 2: there is one more right one.", (3, 8)),
            Mistake("Of the wrong ones the longer comes first.", (3, 5, 4)),
            Mistake("Short ones are not wanted as such: of the wrong ones the longer comes first.", (3, 4, 5)),
            Mistake("ceil(0.5 · 2) is 1: one of the wrong ones.", (3, 5, 8, 4)),
        ),
        reason="ceil(1.5) = 2 of the right and ceil(1) = 1 of the wrong; 9 and 4 go into the buffer.",
    )
)

PARTS = register(
    Exercise(
        name="24.ex3",
        reference=parts,
        cases=(
            Case((torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0], dtype=torch.float64), priority(*CARD, 0.5)), "both kinds"),
            Case(
                (torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64), torch.tensor([1, 1, 0, 0]).bool()),
                "mostly wrong",
            ),
            Case((torch.tensor([1.0, 0.0], dtype=torch.float64), torch.tensor([1, 1]).bool()), "nothing is left"),
        ),
        mistakes=(
            Mistake(
                "A mean of each part is another method: the advantages are those of the whole group.",
                _own_mean,
            ),
            Mistake("Each part over its own size: the two no longer add up to the whole.", _own_size),
            Mistake("Two things at once: the mean and the size are those of the whole group.", _both),
        ),
        reason="The advantages are made before anything is chosen, and both parts are divided by G.",
    )
)
