"""Negative samples: how much a step away from a wrong token can raise the right one."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from toykit.lessons.base import Results

RUNS, TOKENS, ETA, STEPS = 200, 6, 0.1, 50
JENSEN = 2 / (3 * math.sqrt(3))  # the largest x (1 - x^2) on [0, 1], 0.385


def pushed(pi: Tensor, wrong: Tensor, eta: Tensor | float, log_loss: bool = False) -> Tensor:
    """log pi(v) after minus before [..., V] one step down a sampled `wrong` token int64 [...].

    The step in the logits is -eta times the gradient of pi(wrong), as the paper takes it, or with `log_loss` of
    log pi(wrong), as REINFORCE with advantage -1 does; the first is pi(wrong) times the second.
    """
    hit = torch.nn.functional.one_hot(wrong, pi.shape[-1]).to(pi)
    score = hit - pi
    size = 1.0 if log_loss else (pi * hit).sum(-1, keepdim=True)
    step = -eta * size * score
    return step - (pi * step.exp()).sum(-1, keepdim=True).log()


def bounds(seed: int = 0, laws: int = 20_000) -> Results:
    """C3: the largest growth of another token beside its bounds, for random laws, tokens and sizes of the step.

    Only where eta pi(y)^2 <= 1/2 does the paper claim its bound; ours has no condition. `own` is the share of cases in
    which 2 eta pi of the growing token itself is passed, `log loss` the most that a step of REINFORCE grows, over eta,
    and over 2 eta pi(y).
    """
    draw = torch.Generator().manual_seed(seed)
    pi = (3 * torch.randn(laws, TOKENS, generator=draw, dtype=torch.float64)).softmax(-1)
    wrong = torch.multinomial(pi, 1, generator=draw)[:, 0]
    eta = 10 ** (3 * torch.rand(laws, 1, generator=draw, dtype=torch.float64) - 2)  # 0.01 to 10
    y = pi.gather(1, wrong[:, None])
    other = torch.nn.functional.one_hot(wrong, TOKENS) == 0
    growth, reinforce = (pushed(pi, wrong, eta, log_loss) for log_loss in (False, True))
    claimed = other & (eta * y**2 <= 0.5)

    def most(values: Tensor, among: Tensor) -> float:
        return float(values[among].max())

    return {
        "of the paper's bound": most(growth / (2 * eta * y), claimed),
        "of the paper's bound, no condition": most(growth / (2 * eta * y), other),
        "of ours": most(growth / (eta * y * (1 - y**2)), other),
        "own": float((growth > 2 * eta * pi)[claimed].double().mean()),
        "log loss, over eta": most(reinforce / eta, other),
        "log loss, of the paper's bound": most(reinforce / (2 * eta * y), claimed),
    }


def runs() -> Results:
    """Random runs of the paper's step on sampled wrong tokens: log growth of token 0 as a share of 2 eta K."""
    shares = []
    for seed in range(RUNS):
        rng = np.random.default_rng(seed)
        logits = rng.normal(size=TOKENS)
        before = logits[0] - np.log(np.exp(logits).sum())
        for _ in range(STEPS):
            pi = np.exp(logits - logits.max())
            pi /= pi.sum()
            y = rng.choice(TOKENS, p=pi)
            if y != 0:
                logits -= ETA * pi[y] * (np.eye(TOKENS)[y] - pi)
        after = logits[0] - np.log(np.exp(logits).sum())
        shares.append(float(after - before) / (2 * ETA * STEPS))
    return {"largest": max(shares), "least": min(shares), "ours": JENSEN / 2}
