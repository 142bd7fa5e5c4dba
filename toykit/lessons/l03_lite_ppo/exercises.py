"""The exercises of lesson 03, with the mistakes that they know."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toykit.exercises import Case, Exercise, Mistake, register


def lite_advantages(rewards: Tensor, eps: float) -> Tensor:
    """Lite PPO's advantages [B, G] of rewards [B, G]: the group's mean, the sample std of all raw rewards."""
    return _centred(rewards) / (rewards.std() + eps)


def _centred(rewards: Tensor) -> Tensor:
    return rewards - rewards.mean(-1, keepdim=True)


def token_mean(losses: Tensor, mask: Tensor, size: int) -> Tensor:
    """The mean of losses [n, T] over the tokens of a batch that is summed up in pieces of `size` completions."""
    pieces = zip(losses.split(size), mask.split(size), strict=True)
    return sum((part * keep).sum() for part, keep in pieces) / mask.sum()


def _mean_of_means(losses: Tensor, mask: Tensor, size: int) -> Tensor:
    pieces = list(zip(losses.split(size), mask.split(size), strict=True))
    return sum((part * keep).sum() / keep.sum() for part, keep in pieces) / len(pieces)


def _sequence_mean(losses: Tensor, mask: Tensor, size: int) -> Tensor:
    return ((losses * mask).sum(-1) / mask.sum(-1)).mean()


def _rewards(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def _ragged(seed: int, *lengths: int) -> tuple[Tensor, Tensor]:
    """Losses [n, T] with numbers also in the padding, and their mask."""
    draw = torch.Generator().manual_seed(seed)
    losses = torch.randn(len(lengths), max(lengths), generator=draw, dtype=torch.float64)
    return losses, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


PREDICT = register(
    Exercise(
        name="03.predict",
        reference="a third",
        mistakes=(
            Mistake("Nearly solved is not solved: a group with one wrong answer in it pulls hard.", "a twentieth"),
            Mistake("That is without a standard deviation (22 %); dividing by the group's makes it more.", "a fifth"),
        ),
        reason="35 %: only in one group of seven is anything wrong, but the one wrong answer has advantage -2.5.",
    )
)

LITE = register(
    Exercise(
        name="03.ex1",
        reference=lite_advantages,
        cases=(
            Case((_rewards((1, 0, 0, 1), (1, 1, 1, 0)), 1e-6), "two prompts of four"),
            Case((_rewards((0.2, 0.7, 1.4), (3, -1, 0.5), (0, 0, 2)), 1e-6), "rewards of any size"),
            Case((_rewards((1, 1, 1), (0, 1, 0)), 1e-6), "a group of equal rewards"),
            Case((_rewards((1, 1), (1, 1)), 1e-6), "all rewards equal"),
        ),
        mistakes=(
            Mistake(
                "The std is of the raw rewards: differences between prompts count in it too.",
                lambda r, eps: _centred(r) / (_centred(r).std() + eps),
            ),
            Mistake(
                "That is GRPO: the std must be that of the whole batch.",
                lambda r, eps: _centred(r) / (r.std(-1, keepdim=True) + eps),
            ),
            Mistake(
                "The mean must be the group's own; with the batch's mean it is REINFORCE++.",
                lambda r, eps: (r - r.mean()) / (r.std() + eps),
            ),
            Mistake(
                "The std is the sample's, with n - 1 (ddof = 1).",
                lambda r, eps: _centred(r) / (r.std(correction=0) + eps),
            ),
            Mistake("Where all rewards are equal this is 0 / 0: add eps.", lambda r, eps: _centred(r) / r.std()),
        ),
        reason="A group of equal rewards gets 0, whatever the others do.",
    )
)

ALONE = register(
    Exercise(
        name="03.ex2",
        reference=-7 / math.sqrt(8),
        tolerance=1e-3,
        mistakes=(
            Mistake("That is Dr. GRPO's, r - mean; GRPO divides by the group's std.", -0.875),
            Mistake("That is with the population's std, sqrt(7)/8; GRPO takes the sample's.", -math.sqrt(7)),
            Mistake("That is what each of the seven right answers gets.", 1 / math.sqrt(8)),
        ),
        reason="The sample variance is 7/8 * 1/8 * 8/7 = 1/8, and -7/8 over its root is -7 / sqrt(8).",
    )
)

TOKENS = register(
    Exercise(
        name="03.ex3",
        reference=token_mean,
        cases=(
            Case((*_ragged(0, 2, 3, 5, 1), 2), "two pieces of two"),
            Case((*_ragged(1, 4, 1, 1, 6, 2), 2), "the last piece is smaller"),
            Case((*_ragged(2, 3, 8), 2), "one piece"),
            Case((*_ragged(3, 5, 2, 7), 1), "pieces of one"),
        ),
        mistakes=(
            Mistake(
                "A mean of the pieces' means weighs a token by its piece: divide once, by all tokens.", _mean_of_means
            ),
            Mistake("Padding is no token: mask it, and divide by the mask's sum.", lambda x, mask, size: x.mean()),
            Mistake("That is the sequence mean: every completion weighs the same, every token not.", _sequence_mean),
            Mistake(
                "The padding is left out of the sum, but still in the count.",
                lambda x, mask, size: (x * mask).sum() / x.numel(),
            ),
        ),
        reason="Summed in pieces over one count, the loss does not depend on how the batch is cut.",
    )
)
