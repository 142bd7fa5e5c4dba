"""The paper's simulator at 1/100 scale: one softmax position, trained on N draws a step, many settings at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from toykit._checks import at_least, one_of

V, CORRECT = 1280, 100  # tokens, of which the first CORRECT are correct
STEPS, LR = 1_000, 1e-3
SURROGATES = ("p", "ratio")
SIGN = torch.where(torch.arange(V) < CORRECT, 1.0, -1.0).double()  # the rewards


@dataclass(frozen=True)
class Run:
    """One simulation.

    logits     of the tokens at the start, [V]
    draws      N a step; inf for the expected gradient, the limit of many draws
    seed       of the draws
    surrogate  what a draw's advantage multiplies: "p", its probability (the paper's), or "ratio", its probability
               over the one it was drawn with (as in PPO and GRPO)
    """

    logits: Tensor
    draws: float
    seed: int = 0
    surrogate: str = "p"

    def __post_init__(self) -> None:
        at_least("draws", self.draws, 1)
        one_of("surrogate", self.surrogate, SURROGATES)


@dataclass(frozen=True)
class Outcome:
    """What became of R runs: `mass` [K, R], the correct tokens' total probability at each kept step, and `change`
    [R, CORRECT], how much each correct token's probability has grown at the last one."""

    mass: Tensor
    change: Tensor

    @property
    def improved(self) -> Tensor:
        """The share of correct tokens that are likelier than at the start, [R]."""
        return (self.change > 0).double().mean(-1)

    @property
    def worst(self) -> Tensor:
        """The least change among the correct tokens, [R]: "knowledge shrinkage" where it is negative."""
        return self.change.amin(-1)


def start(spread: float = 0.0, draw: int = 99, anchor: int | None = None) -> Tensor:
    """Logits [V]: 3 + spread * normal (from default_rng(draw)) on the correct tokens, 0 elsewhere, 5 on the anchor."""
    z = torch.zeros(V, dtype=torch.float64)
    z[:CORRECT] = torch.from_numpy(3 + spread * np.random.default_rng(draw).normal(size=CORRECT))
    if anchor is not None:
        z[anchor] = 5.0
    return z


def simulate(runs: Sequence[Run], keep: Sequence[int] = (STEPS,)) -> Outcome:
    """Follows all runs together to the last step of `keep`, each with Adam on the loss -sum_i w_i p_i.

    w_i = n_i (R_i - b) / N, where n_i counts the draws of token i and b is their mean reward. There is no weight
    decay, which would pull down the correct tokens' logits. Every run draws from a generator of its own, so that it
    comes out the same whatever it runs beside. Source: BroRL (arXiv 2510.01180), section 4.1.
    """
    z = torch.stack([run.logits for run in runs]).requires_grad_()
    by_ratio = torch.tensor([[run.surrogate == "ratio"] for run in runs])
    # Adam treats every number alone: the runs do not see each other.
    optimizer = torch.optim.Adam([z], lr=LR, fused=True)
    generators = [np.random.default_rng(run.seed) for run in runs]
    kept = {}
    for step in range(max(keep) + 1):
        p = z.detach().softmax(-1)
        if step in (0, *keep):
            kept[step] = p[:, :CORRECT].clone()
        if step < max(keep):
            w = weights(shares(p, runs, generators))
            w = torch.where(by_ratio, w, w * p)
            z.grad = p * w.sum(-1, keepdim=True) - w
            optimizer.step()
    return Outcome(torch.stack([kept[k].sum(-1) for k in keep]), kept[max(keep)] - kept[0])


def shares(p: Tensor, runs: Sequence[Run], generators: Sequence[np.random.Generator]) -> Tensor:
    """How large a part of a step's draws each token is, n / N [R, V]: the probabilities themselves where N = inf."""
    found = p.clone()
    for row, q, run, generator in zip(found.numpy(), p.numpy(), runs, generators, strict=True):
        if not math.isinf(run.draws):
            row[:] = generator.multinomial(int(run.draws), q)
            row /= run.draws
    return found


def weights(share: Tensor) -> Tensor:
    """w = share (R - b) [R, V] with b the mean reward of the draws; the draws count with multiplicity."""
    return share * (SIGN - (share * SIGN).sum(-1, keepdim=True))
