"""The exercises of lesson 20, with the mistakes that they know."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from toykit.exercises import Case, Exercise, Mistake, register


def gate(logp: Tensor, level: Tensor, advantage: Tensor, right: Tensor, slope: float) -> Tensor:
    """|A| LeakyReLU(-s D) [n], of log-probabilities, levels and advantages [n] and `right` bool [n]."""
    sign = torch.where(right, 1.0, -1.0)
    return advantage.abs() * F.leaky_relu(-sign * (logp - level), slope)


def mean_gap(logp: Tensor, mask: Tensor, expert_logp: Tensor, expert_mask: Tensor) -> Tensor:
    """[n]: the mean log-probability of each completion's own tokens less that of the expert's own tokens."""

    def mean(values: Tensor, there: Tensor) -> Tensor:
        return values.masked_fill(~there, 0.0).sum(-1) / there.sum(-1)

    return mean(logp, mask) - mean(expert_logp, expert_mask)


def _answers(n: int, seed: int, shaped: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    draw = torch.Generator().manual_seed(seed)
    logp, level = -3 * torch.rand(2, n, generator=draw, dtype=torch.float64)
    right = torch.arange(n) % 3 == 0
    rewards = right.double() + 2.0 * shaped * (torch.arange(n) % 2)  # points for the format, for every other answer
    return logp, level, rewards - rewards.mean(), right, 0.5


def _groups(lengths: tuple[int, ...], expert: int, seed: int, padding: float = 0.0) -> tuple[Tensor, ...]:
    draw = torch.Generator().manual_seed(seed)
    width = max(*lengths, expert)
    mask, there = (torch.arange(width) < torch.tensor(n)[:, None] for n in (lengths, (expert,)))
    logp, theirs = (-3 * torch.rand(m.shape, generator=draw, dtype=torch.float64) for m in (mask, there))
    return logp.masked_fill(~mask, padding), mask, theirs[0].masked_fill(~there[0], padding), there[0]


PREDICT = register(
    Exercise(
        name="20.predict",
        reference=(0, 1, -1),
        mistakes=(
            Mistake("With α = 1 there is no gate: all pushes are twice as large, and the way is the same.", (1, 1, -1)),
            Mistake("What raises the expert's answer takes from the other right ones.", (0, 1, 1)),
            Mistake("A lower α pushes the likely right answers less than the rare ones.", (0, -1, -1)),
            Mistake("The other way round: at half force the likely ones stop running ahead.", (0, -1, 1)),
        ),
        reason="Only the kink counts, and it holds back what is past the expert.",
    )
)

GATE = register(
    Exercise(
        name="20.ex1",
        reference=gate,
        cases=(Case(_answers(6, 0), "rewards 0 and 1"), Case(_answers(8, 1, shaped=True), "points for the format")),
        mistakes=(
            Mistake(
                "Right answers need the whole force below the level, so the sign before D is minus.",
                lambda x, e, a, r, c: a.abs() * F.leaky_relu(torch.where(r, 1.0, -1.0) * (x - e), c),
            ),
            Mistake(
                "The sign is in s already: A itself would turn the term around for wrong answers.",
                lambda x, e, a, r, c: a * F.leaky_relu(-torch.where(r, 1.0, -1.0) * (x - e), c),
            ),
            Mistake(
                "s is whether the answer is right; with points for the format the sign of A is something else.",
                lambda x, e, a, r, c: a.abs() * F.leaky_relu(-a.sign() * (x - e), c),
            ),
            Mistake(
                "Past the level α of the force must stay: a ReLU lets go.",
                lambda x, e, a, r, c: a.abs() * F.relu(-torch.where(r, 1.0, -1.0) * (x - e)),
            ),
            Mistake(
                "Every answer is pushed up: where is its sign?",
                lambda x, e, a, r, c: a.abs() * F.leaky_relu(-(x - e), c),
            ),
        ),
        reason="In toykit it is the penalty ExpertGate.",
    )
)

WEIGHT = register(
    Exercise(
        name="20.ex2",
        reference=(0.45, 0.6),
        tolerance=1e-6,
        mistakes=(
            Mistake("The other way round: past the expert the gate has half its force.", (0.6, 0.45)),
            Mistake("GRPO's own push A is still there: A (1 + λ g).", (0.15, 0.3)),
            Mistake("At 0.4 the answer is past the expert's 0.2, so g = α.", (0.6, 0.6)),
            Mistake("At 0.1 the answer is below the expert's 0.2, so g = 1.", (0.45, 0.45)),
        ),
        reason="0.3 · (1 + 0.5) and 0.3 · (1 + 1).",
    )
)

GAP = register(
    Exercise(
        name="20.ex3",
        reference=mean_gap,
        cases=(
            Case(_groups((4, 4), 4, 2), "one length"),
            Case(_groups((1, 5, 3), 2, 3), "several lengths"),
            Case(_groups((2, 4), 3, 4, padding=-torch.inf), "padding of -inf"),
        ),
        mistakes=(
            Mistake(
                "Divided by the width of the batch, a short answer looks likelier than it is.",
                lambda x, m, e, there: x.masked_fill(~m, 0.0).mean(-1) - e.masked_fill(~there, 0.0).mean(-1),
            ),
            Mistake(
                "The expert has a length of its own.",
                lambda x, m, e, there: (
                    x.masked_fill(~m, 0.0).sum(-1) / m.sum(-1) - e.masked_fill(~there, 0.0).sum(-1) / m.sum(-1)
                ),
            ),
            Mistake(
                "A sum makes every long answer unlikely: here means are asked for.",
                lambda x, m, e, there: x.masked_fill(~m, 0.0).sum(-1) - e.masked_fill(~there, 0.0).sum(-1),
            ),
            Mistake(
                "-inf times 0 is NaN: fill what is masked, do not multiply.",
                lambda x, m, e, there: (x * m).sum(-1) / m.sum(-1) - (e * there).sum(-1) / there.sum(-1),
            ),
            Mistake("Padding is no level, and the width no length.", lambda x, m, e, there: x.mean(-1) - e.mean(-1)),
        ),
        reason="Each mean is over its own tokens, and what is masked is filled first.",
    )
)
