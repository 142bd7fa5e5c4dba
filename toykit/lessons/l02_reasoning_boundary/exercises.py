"""The exercises of lesson 02, with the mistakes that they know."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toykit.exercises import Case, Exercise, Mistake, register


def influence(pi: Tensor, right: Tensor, weight: Tensor, features: Tensor) -> Tensor:
    """I [n, n] from probabilities [n, V], right arms [n], weights w [n] and features [n, d]."""
    steps, targets = _steps(pi, right, weight) / len(pi), _targets(pi, right)
    return (steps @ targets.T) * (features @ features.T)


def _targets(pi: Tensor, right: Tensor) -> Tensor:
    """e_c - pi: the gradient of log p in the logits."""
    return torch.eye(pi.shape[1], dtype=pi.dtype)[right] - pi


def _steps(pi: Tensor, right: Tensor, weight: Tensor) -> Tensor:
    """w / (1 - p) (e_c - pi), 0 for a prompt that is always solved."""
    p = pi.gather(1, right[:, None])
    return torch.where(p < 1, weight[:, None] / torch.where(p < 1, 1 - p, 1.0), 0.0) * _targets(pi, right)


def filtered_mean(steps: Tensor, pi: Tensor, right: Tensor) -> Tensor:
    """[D]: the mean over all n prompts of the steps [n, D] of those whose likeliest arm is wrong."""
    failed = pi.argmax(1) != right
    return (steps * failed[:, None]).sum(0) / len(steps)


def _draw(seed: int, n: int = 5, arms: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Probabilities [n, V], right arms [n], weights [n], features [n, 3]."""
    draw = torch.Generator().manual_seed(seed)
    pi = torch.randn(n, arms, generator=draw, dtype=torch.float64).mul(2).softmax(-1)
    right = torch.randint(arms, (n,), generator=draw)
    p = pi.gather(1, right[:, None])[:, 0]
    return pi, right, (p * (1 - p)).sqrt(), torch.randn(n, 3, generator=draw, dtype=torch.float64)


def _with_solved(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same with a first prompt that is always solved."""
    pi, right, weight, features = _draw(seed)
    pi[0] = torch.eye(pi.shape[1], dtype=pi.dtype)[right[0]]
    weight[0] = 0.0
    return pi, right, weight, features


def _filter_case(seed: int, solved: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Steps [5, 2], probabilities [5, 4] and right arms [5], of which the first `solved` (all for 5) are greedy."""
    pi, right, _, features = _draw(seed)
    if solved is not None:
        right = right.clone()
        right[:solved] = pi.argmax(1)[:solved]
        right[solved:] = pi.argmin(1)[solved:]
    return features[:, :2], pi, right


PREDICT = register(
    Exercise(
        name="02.predict",
        reference="none",
        mistakes=(
            Mistake("Without sharing a prompt is pushed by its own step alone, and that step raises it.", "large k"),
            Mistake("pass@1 rises even with sharing; look at a prompt's own step.", "small k"),
        ),
        reason="Each success rate rises at every step, and pass@k grows with every success rate.",
    )
)

INFLUENCE = register(
    Exercise(
        name="02.ex1",
        reference=influence,
        cases=(
            Case(_draw(0), "five prompts"),
            Case(_draw(1, n=3, arms=6), "three prompts, six arms"),
            Case(_with_solved(2), "a prompt that is always solved"),
        ),
        mistakes=(
            Mistake(
                "A prompt that is always solved has p = 1: put its step to 0 before dividing by 1 - p.",
                lambda pi, c, w, f: (
                    (
                        (w / (1 - pi.gather(1, c[:, None])[:, 0]))[:, None]
                        * _targets(pi, c)
                        / len(pi)
                        @ _targets(pi, c).T
                    )
                    * (f @ f.T)
                ),
            ),
            Mistake(
                "The objective is a mean over the n prompts: each one's step counts 1/n.",
                lambda pi, c, w, f: influence(pi, c, w, f) * len(pi),
            ),
            Mistake("Rows push, columns are pushed: this is the transpose.", lambda *a: influence(*a).T),
            Mistake(
                "Prompts touch each other through the overlap of their features: multiply by <phi_x, phi_x'>.",
                lambda pi, c, w, f: _steps(pi, c, w) / len(pi) @ _targets(pi, c).T,
            ),
            Mistake(
                "The change of log p follows e_c - pi: raising all logits alike changes nothing.",
                lambda pi, c, w, f: (
                    (_steps(pi, c, w) / len(pi) @ torch.eye(pi.shape[1], dtype=pi.dtype)[c].T) * (f @ f.T)
                ),
            ),
        ),
        reason="Rows of solved prompts are 0: who has won no longer pushes.",
    )
)

RARE = register(
    Exercise(
        name="02.ex2",
        reference=math.sqrt(7),
        tolerance=1e-3,
        mistakes=(
            Mistake("That is the chance of a right answer in the group; its weight sqrt(m (1 - m)) is missing.", 8.0),
            Mistake(
                "With one right answer in 8 the standard deviation is sqrt(1/8 * 7/8), not sqrt(1/8).", math.sqrt(8)
            ),
            Mistake("That is the exact policy gradient's, w = p (1 - p).", 1.0),
            Mistake("The unbiased deviation would divide by sqrt(8/7); here it is the population's.", 7 / math.sqrt(8)),
        ),
        reason="8 p sqrt(1/8 * 7/8): a rare prompt goes sqrt(7) times faster, and its time still grows like 1/p.",
    )
)

FILTER = register(
    Exercise(
        name="02.ex3",
        reference=filtered_mean,
        cases=(
            Case(_filter_case(3, solved=2), "two of five are solved greedily"),
            Case(_filter_case(4), "any prompts"),
            Case(_filter_case(5, solved=5), "all are solved greedily"),
        ),
        mistakes=(
            Mistake(
                "This keeps the prompts that are solved; the filter keeps the failures.",
                lambda s, pi, c: (s * (pi.argmax(1) == c)[:, None]).sum(0) / len(s),
            ),
            Mistake(
                "A mean over the kept prompts pushes the last failures hardest, and is NaN where none is left; "
                "keep the mean over the whole batch.",
                lambda s, pi, c: s[pi.argmax(1) != c].mean(0),
            ),
            Mistake(
                "Greedy decoding takes the likeliest answer, whether or not it has more than half of the mass.",
                lambda s, pi, c: (s * (pi.gather(1, c[:, None]) <= 0.5)).sum(0) / len(s),
            ),
        ),
        reason="A dropped prompt counts 0 in a mean over all that were asked.",
    )
)
