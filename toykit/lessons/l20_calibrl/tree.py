"""Answers of one and of two tokens: what is said to be past the expert, token by token and as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from toykit.exact import ascend, ascend_until, entropy, leaf_log_probs, node_log_probs, success_rate
from toykit.lessons.base import Results
from toykit.lessons.trained import trained_table
from toykit.objectives import Advantage, ExpertGate, PolicyGradient
from toykit.objectives.expert import LEVELS
from toykit.policies import TabularLM
from toykit.rollouts import Enumerated, ExpertLevel, Solutions
from toykit.tasks import TreeTask

ANSWERS = {"0": 1.0, "1 0": 1.0, "1 1": 1.0, "1 2": 0.0, "2": 0.0}
TASK = TreeTask.of({tuple(map(int, name.split())): reward for name, reward in ANSWERS.items()})
TREE, REWARDS = TASK.tree, TASK.rewards[0]
RIGHT = REWARDS > 0.5
LONG, SHORT = 1, 0  # the leaves "1 0" and "0" as the expert's answer
LAW = torch.tensor([[0.3, 0.6, 0.1], [0.3, 0.2, 0.5]], dtype=torch.float64)  # of the first token, and after a 1
SLOPES = (1.0, 0.8, 0.5, 0.3, 0.0)
LR, GOAL = 0.05, 0.95


def run(seeds: Sequence[int]) -> Results:
    """The gates' factors on the tree, where its paths end, and the same ends from random starts."""
    return {"factors": forces(), "path": path(), "random": random_trees(seeds)}


def by_token(logits: Tensor) -> Tensor:
    """Log-probabilities [..., 5, 2] of the answers' tokens, 0 where there is none."""
    return node_log_probs(TREE, logits)[..., TREE.nodes, TREE.tokens].masked_fill(~TREE.mask, 0.0)


def factor(gap: Tensor, sign: Tensor, slope: Tensor | float) -> Tensor:
    """g: 1 where a right answer (sign 1) is below the expert's level or a wrong one (-1) above it, else the slope."""
    return torch.where(-sign * gap > 0, 1.0, torch.as_tensor(slope, dtype=gap.dtype))


def factors(logp: Tensor, level: str, slope: Tensor | float, expert: int = LONG) -> Tensor:
    """g [..., 5, 2] of each token by token log-probabilities [..., 5, 2], 0 where there is none."""
    theirs = logp[..., expert, None, :]
    if level == "token":
        gap = logp - theirs
    else:
        lengths = TREE.mask.sum(-1) if level == "sequence_mean" else torch.ones(5)
        whole = logp.sum(-1) / lengths - theirs.sum(-1) / lengths[expert]
        gap = whole[..., None].expand_as(logp)
    sign = torch.where(RIGHT, 1.0, -1.0)[:, None]
    return factor(gap, sign, slope) * TREE.mask


def forces(slope: float = 0.5) -> Results:
    """g of every token at the first policy, for an expert of two tokens and one of one."""
    logp = by_token(LAW.log())
    return {
        name: {level: factors(logp, level, slope, expert).tolist() for level in LEVELS}
        for name, expert in (("long", LONG), ("short", SHORT))
    }


def velocity(logits: Tensor, level: str, slope: Tensor | float, weight: float = 1.0) -> Tensor:
    """The expected step in the logits [..., 2, 3]: each token of an answer is pushed by A (1 + weight g)."""
    with torch.enable_grad():
        logits = logits.detach().requires_grad_()
        logp = by_token(logits)
        pi = logp.detach().sum(-1).exp()
        push = (pi * (REWARDS - (pi * REWARDS).sum(-1, keepdim=True)))[..., None]
        aim = (push * (1 + weight * factors(logp.detach(), level, slope)) * logp).sum()
        return torch.autograd.grad(aim, logits)[0]


def among_right(logits: Tensor) -> Tensor:
    """Log-probabilities [..., 5] of the right answers among themselves, -inf for the others."""
    return leaf_log_probs(TREE, logits).masked_fill(~RIGHT, -torch.inf).log_softmax(-1)


def ends(start: Tensor, level: str, slopes: Sequence[float]) -> Tensor:
    """Entropies [..., S] of the right answers at an accuracy of 0.95, from logits [..., 2, 3] by each slope."""
    given = torch.tensor(slopes, dtype=torch.float64)[:, None, None]

    def accurate(logits: Tensor) -> Tensor:
        return success_rate(leaf_log_probs(TREE, logits), RIGHT) >= GOAL

    begin = start[..., None, :, :].expand(*start.shape[:-2], len(slopes), -1, -1)
    _, logits = ascend_until(lambda z: velocity(z, level, given), begin, LR, accurate)
    return entropy(among_right(logits))


def path() -> Results:
    """Entropies at an accuracy of 0.95 by level, one a slope, and at the start."""
    found: Results = {level: ends(LAW.log(), level, SLOPES).tolist() for level in LEVELS}
    return found | {"start": float(entropy(among_right(LAW.log())))}


def random_trees(seeds: Sequence[int], n: int = 40) -> Results:
    """What slope 0 has more entropy than slope 1 by level, one a start, of `n` a seed with an accuracy <= 0.85."""
    starts = []
    for seed in seeds:
        logits = torch.tensor(np.random.default_rng(seed).normal(size=(4 * n, 2, 3)))
        starts.append(logits[success_rate(leaf_log_probs(TREE, logits), RIGHT) <= 0.85][:n])
    start = torch.cat(starts)
    plain = ends(start, LEVELS[0], (1.0,))  # the same at all levels
    return {level: (ends(start, level, (0.0,)) - plain)[:, 0].tolist() for level in LEVELS}


def trainer_agrees(steps: int) -> Results:
    """The largest difference in the logits after steps of the Trainer, by level and expert."""
    errors = {}
    for level in LEVELS:
        policy = TabularLM.of(TASK, logits=LAW.log()[None])
        strategy = ExpertLevel(Solutions.from_lists({0: [[1, 0]]}, TASK), Enumerated())
        objective = PolicyGradient(Advantage("group"), penalties=(ExpertGate(1.0, 0.3, level),))
        theirs = trained_table(policy, TASK, objective, LR, steps, strategy=strategy)
        ours = ascend(partial(velocity, level=level, slope=0.3), LAW.log(), LR, [steps])[0]
        errors[level] = float((theirs.view(2, 3) - ours).abs().max())
    return errors
