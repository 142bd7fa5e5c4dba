"""The exercises of lesson 33, with the mistakes that they know."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from toykit.exercises import Case, Exercise, Mistake, register


def staircase(log_base: Tensor, rewards: Tensor, beta: float, cycles: int) -> Tensor:
    """The law [V] after so many cycles, each to the regularised optimum and then a reset, from log_base [V]."""
    return (log_base + cycles * rewards / beta).softmax(-1)


def penalty_gradient(estimator: str, temperature_apart: bool = False) -> Callable[[Tensor, Tensor], Tensor]:
    """The expected gradient [V] in the logits of an estimator of KL(pi || ref) that is differentiated on policy."""

    def gradient(logits: Tensor, log_ref: Tensor) -> Tensor:
        log_pi = logits.log_softmax(-1)
        pi, ratio = log_pi.exp(), log_pi - log_ref
        if estimator == "k1":
            return torch.zeros_like(pi)
        if estimator == "k3":
            return pi - log_ref.exp()
        kl = ratio if temperature_apart else ratio - (pi * ratio).sum()
        return pi * kl

    return gradient


def _case(seed: int) -> Case:
    draw = torch.Generator().manual_seed(seed)
    logits, ref = torch.randn(2, 5, generator=draw, dtype=torch.float64)
    return Case((logits, ref.log_softmax(-1)))


def _law(beta: float, cycles: int) -> Case:
    base = torch.tensor([0.01, 0.5, 0.3, 0.19], dtype=torch.float64).log()
    rewards = torch.tensor([1.0, 0.5, 0.0, 0.0], dtype=torch.float64)
    return Case((base, rewards, beta, cycles), f"β = {beta:g}, {cycles} cycles")


CAP = 1 / (1 + math.exp(math.log(999) - 4))

PREDICT = register(
    Exercise(
        name="33.predict",
        reference=(0, 1),
        mistakes=(
            Mistake("Without a reset the penalty grows with the distance, until it balances the reward.", (1, 1)),
            Mistake("A reset makes the distance 0 again, so that the reward is free to push for a while.", (0, 0)),
            Mistake("The other way round: a fixed reference holds the policy back for good.", (1, 0)),
        ),
        reason="The cap is 1/β above the reference in log-odds, wherever the reference is.",
    )
)

IMPLEMENT = register(
    Exercise(
        name="33.ex1",
        reference=staircase,
        cases=(_law(0.5, 1), _law(1.0, 3), _law(2.0, 0)),
        mistakes=(
            Mistake(
                "Each cycle begins at the optimum of the one before it, not at the base: the exponents add.",
                lambda b, r, beta, n: (b + r / beta * min(n, 1)).softmax(-1),
            ),
            Mistake(
                "The reward is divided by β: a weak penalty lets it go far.",
                lambda b, r, beta, n: (b + n * r * beta).softmax(-1),
            ),
            Mistake(
                "The optimum is the reference *times* exp(r / β): do not leave the base out.",
                lambda b, r, beta, n: (n * r / beta).softmax(-1),
            ),
            Mistake(
                "That is one cycle too many: after 0 cycles nothing has changed.",
                lambda b, r, beta, n: (b + (n + 1) * r / beta).softmax(-1),
            ),
        ),
        reason="Resetting k times at the optimum is one penalty of β / k from the base.",
    )
)

DERIVE = register(
    Exercise(
        name="33.ex2",
        reference=(CAP, 2),
        tolerance=5e-4,
        mistakes=(
            Mistake("Three cycles are two resets: the first cycle needs none.", (CAP, 3)),
            Mistake("1/β = 4 is added to the log-odds, not multiplied into p.", (0.004, 2)),
            Mistake(
                "The odds grow by e^4, not by 4: e^4 / 999 are the odds, and p a little less.", (math.exp(4) / 999, 2)
            ),
        ),
        reason="-6.907 + 4 = -2.907, p = 0.0518; 99 % is 4.595, so (4.595 + 6.907) / 4 = 2.88: three cycles.",
    )
)

REPAIR = register(
    Exercise(
        name="33.ex3",
        reference=penalty_gradient("k2"),
        cases=(_case(0), _case(1)),
        mistakes=(
            Mistake("k3 as a loss follows the forward KL, pi - ref.", penalty_gradient("k3")),
            Mistake("k1 as a loss has no gradient at all: E grad log pi = 0.", penalty_gradient("k1")),
            Mistake("A gradient in logits sums to 0: take the mean off.", penalty_gradient("k2", True)),
        ),
        reason="k2's gradient is (log pi - log ref) grad log pi: on policy that of the reverse KL.",
    )
)
