"""Lesson 03 on the exact rung: what clipping and the overlong filter do over many steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toykit.exact import ascend, leaf_log_probs, policy_gradient
from toykit.lessons.base import Results
from toykit.objectives import Clip
from toykit.tasks import Tree

HIGHS = (0.1, 0.2, 0.28, 0.32, 0.5)
FILTERS = ("no filter", "loss mask", "mask and baseline")


def clip_higher(highs: Sequence[float] = HIGHS) -> Results:
    """C6: a rare right arm, p = 0.01 among six, in exact steps of the clipped surrogate with upper bounds `highs`.

    `p` are its probabilities after each batch of 200 inner steps until one is 1/2 or more, `ratio` [highs] how much the
    first batch has multiplied it.
    """
    paths = [climb(Clip(0.2, high)) for high in highs]
    return {
        "high": list(highs),
        "p": paths,
        "steps": [len(path) - 1 for path in paths],
        "ratio": [path[1] / path[0] for path in paths],
    }


def climb(clip: Clip, inner: int = 200, lr: float = 1.0) -> list[float]:
    """The right arm's probability after each outer step; advantages are r - p, ratios to the start of the step."""
    logits = torch.tensor([0.01, *[0.198] * 5], dtype=torch.float64).log()
    right = torch.eye(6, dtype=torch.float64)[0]
    path = [float(logits.softmax(-1)[0])]
    while path[-1] < 0.5:
        old = logits.softmax(-1)
        advantage = right - old[0]
        for _ in range(inner):
            pi = logits.softmax(-1)
            low, high = clip.active(pi / old, advantage)
            push = pi * advantage * ~(low | high)  # old x advantage x the ratio's gradient
            logits = logits + lr * (push - pi * push.sum())
        path.append(float(logits.softmax(-1)[0]))
    return path


def dual_clip(c: float = 3.0, most: float = 50.0) -> Results:
    """The least surrogate of a negative over ratios up to `most`, without and with dual clip, and its slope there."""
    found: Results = {"c": c, "most": most, "least": {}, "slope": {}}
    for name, clip in (("single", Clip()), ("dual", Clip(dual=c))):
        w = torch.linspace(0.01, most, 5000, dtype=torch.float64).requires_grad_()
        values = clip(w, torch.full_like(w, -1.0).detach())
        found["least"][name] = float(values.detach().min())
        found["slope"][name] = float(torch.autograd.grad(values.sum(), w)[0][-1])
    return found


def overlong(lr: float = 0.5, steps: int = 300, every: int = 10) -> Results:
    """C8: stop or go on, at most four tokens; answers of two and four tokens are right, and a cut one never is.

    The loss mask takes what was cut out of the loss; "mask and baseline" takes it out of the mean reward too. `rate` is
    how fast the probability of being cut changes at first, `cut` that probability on the way.
    """
    tree = Tree(2, 4, stop=(0,))  # token 0 stops
    cut = (tree.mask & (tree.tokens == 1)).sum(-1) == 4
    rewards = ((tree.mask.sum(-1) % 2 == 0) & ~cut).double()
    learned = torch.stack([torch.ones_like(rewards), (~cut).double(), (~cut).double()])
    counted = learned[[0, 0, 1]]

    def gradient(table: Tensor) -> Tensor:
        law = leaf_log_probs(tree, table).exp() * counted
        baseline = (law * rewards).sum(-1, keepdim=True) / law.sum(-1, keepdim=True)
        return policy_gradient(tree, table, learned * (rewards - baseline))

    start = torch.tensor([[0.0, 1.0]] * 4, dtype=torch.float64).expand(len(FILTERS), 4, 2)
    keep = range(0, steps + 1, every)
    law = leaf_log_probs(tree, ascend(gradient, start, lr, keep)).exp()
    rate = (policy_gradient(tree, start, cut.double()) * gradient(start)).sum((-2, -1))
    return {
        "steps": list(keep),
        "rate": dict(zip(FILTERS, rate.tolist(), strict=True)),
        "cut": dict(zip(FILTERS, law[..., cut].sum(-1).T.tolist(), strict=True)),
        "reward": dict(zip(FILTERS, (law @ rewards).T.tolist(), strict=True)),
    }
