"""Lesson 20 on the exact rung: six answers and an expert among them, and a tree whose answers have several tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import partial
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from toykit.exact import ascend, ascend_until, entropy, mean_score
from toykit.lessons.base import Results
from toykit.lessons.l20_calibrl import tree
from toykit.lessons.l20_calibrl.tree import factor
from toykit.lessons.trained import trained_table
from toykit.objectives import Advantage, ExpertGate, PolicyGradient
from toykit.policies import TabularLM
from toykit.rollouts import Enumerated, ExpertLevel, Solutions
from toykit.tasks import Bandit

SEEDS = (0, 1, 2, 3, 4)
START = torch.tensor([0.22, 0.16, 0.12, 0.18, 0.26, 0.06], dtype=torch.float64)
RIGHT = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
SIGN = 2 * RIGHT - 1
EXPERT = 3
LR, GOAL = 0.05, 0.95
SLOPES = (1.0, 0.8, 0.5, 0.3, 0.0)


@dataclass(frozen=True)
class Arm:
    """GRPO and what is added: the gate by weight and slope, an imitation term c log pi(e), the step size.

    `frozen` keeps the expert's level at its first value, `attached` lets the gradient flow through it too.
    """

    weight: float = 0.0
    slope: float = 1.0
    imitation: float = 0.0
    lr: float = LR
    frozen: float = 0.0
    attached: float = 0.0


GRPO, IMITATION = "GRPO", "imitation"
MAIN = {
    GRPO: Arm(),
    **{f"{weight:g}, {slope:g}": Arm(weight, slope) for weight, slope in product((1.0, 0.1, 5.0), SLOPES)},
    IMITATION: Arm(imitation=0.1),
    "strong imitation": Arm(imitation=0.5),
    **{f"small steps, {slope:g}": Arm(5.0, slope, lr=0.01) for slope in (0.3, 0.0)},
    **{f"attached, {slope:g}": Arm(1.0, slope, attached=1.0) for slope in SLOPES},
    **{f"frozen, {slope:g}": Arm(1.0, slope, frozen=1.0) for slope in SLOPES},
}
RANDOM = {name: MAIN[name] for name in (GRPO, *(f"1, {slope:g}" for slope in SLOPES), IMITATION)}


def run(seeds: tuple[int, ...] = SEEDS) -> Results:
    """All exact results of the lesson; `seeds` draw the random starts (numpy's default_rng; 0 is the card's draw)."""
    return {
        "gradient": gradient(),
        "same path": same_path(),
        "table": table(),
        "starts": random_starts(seeds),
        "tree": tree.run(seeds),
        "trainer": trainer_agrees(),
    }


def columns(arms: Sequence[Arm]) -> tuple[Tensor, ...]:
    """The fields of `Arm`, each [A, 1]."""
    return torch.tensor([astuple(arm) for arm in arms], dtype=torch.float64)[..., None].unbind(1)


def velocity(logits: Tensor, arms: tuple[Tensor, ...], expert: int = EXPERT) -> Tensor:
    """The expected step in the logits [..., A, 6] of arms as `columns`; a frozen level is the expert's in START."""
    weight, slope, imitation, _, frozen, attached = arms
    log_pi = logits.log_softmax(-1)
    pi = log_pi.exp()
    advantage = RIGHT - (pi * RIGHT).sum(-1, keepdim=True)
    level = torch.where(frozen > 0, START[expert].log(), log_pi[..., expert, None])
    pushed = advantage * factor(log_pi - level, SIGN, slope)
    onto_expert = imitation - attached * weight * (pi * pushed).sum(-1, keepdim=True)
    return mean_score(pi, advantage + weight * pushed) + onto_expert * (F.one_hot(torch.tensor(expert), 6) - pi)


def accurate(logits: Tensor) -> Tensor:
    return (logits.softmax(-1) * RIGHT).sum(-1) >= GOAL


def among_right(logits: Tensor) -> Tensor:
    """Log-probabilities [..., 4] of the right answers among themselves."""
    return logits[..., :4].log_softmax(-1)


def gradient(step: float = 1e-6) -> Results:
    """C1 at the card's policy: the largest error by central differences, and how far off the whole gradient is."""
    law = torch.tensor([0.30, 0.25, 0.15, 0.12, 0.10, 0.08], dtype=torch.float64)
    right = torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    sign, level, slope = 2 * right - 1, math.log(0.2), 0.5
    advantage = right - law @ right

    def term(logits: Tensor, held: bool) -> Tensor:
        log_pi = logits.log_softmax(-1)
        pi = law if held else log_pi.exp()
        size = (advantage if held else right - (pi * right).sum(-1, keepdim=True)).abs()
        return (pi * size * F.leaky_relu(-sign * (log_pi - level), slope)).sum(-1)

    shifts, logits = step * torch.eye(6, dtype=torch.float64), law.log()
    held, whole = (-(term(logits + shifts, how) - term(logits - shifts, how)) / (2 * step) for how in (True, False))
    formula = mean_score(law, advantage * factor(law.log() - level, sign, slope))
    return {"error": float((held - formula).abs().max()), "whole": float((whole - formula).abs().max())}


def same_path(steps: int = 257) -> Results:
    """C2: how far apart the paths of slope 1 with weight 1 and of GRPO with twice the step size are."""
    double, plain = (
        ascend(partial(velocity, arms=columns([arm])), START.log()[None], lr, range(steps + 1))
        for arm, lr in ((Arm(1.0), LR), (Arm(), 2 * LR))
    )
    return {"apart": float((double - plain).abs().max())}


def table() -> Results:
    """The card's columns: steps to an accuracy of 0.95, entropy of the right answers there, and their law."""
    arms = columns(list(MAIN.values()))
    start = START.log().expand(len(MAIN), -1)
    steps, logits = ascend_until(partial(velocity, arms=arms), start, arms[3], accurate)
    inside = among_right(logits)
    return {
        "start": float(entropy(among_right(START.log()))),
        "steps": dict(zip(MAIN, steps.tolist(), strict=True)),
        "entropy": dict(zip(MAIN, entropy(inside).tolist(), strict=True)),
        "law": dict(zip(MAIN, inside.exp().tolist(), strict=True)),
    }


def drawn(seed: int, n: int = 40) -> Tensor:
    """Logits [n, 6], each six of N(0, 1), of which those with an accuracy above 0.85 are drawn again."""
    rng = np.random.default_rng(seed)
    found: list[Tensor] = []
    while len(found) < n:
        logits = torch.tensor(rng.normal(size=6))
        if (logits.softmax(-1) * RIGHT).sum() <= 0.85:
            found.append(logits)
    return torch.stack(found)


def random_starts(seeds: Sequence[int]) -> Results:
    """C3 and C4: counts by seed, of starts whose expert lies between two right answers and of the others."""
    start, names = torch.stack([drawn(seed) for seed in seeds]), list(RANDOM)
    begin, inside = among_right(start), trained(start, list(RANDOM.values()))
    least, most = begin.amin(-1), begin.amax(-1)
    between = (least < begin[..., EXPERT]) & (begin[..., EXPERT] < most)
    value = entropy(inside)
    gates = value[..., 1:-1]  # slopes from 1 to 0
    ends = gates[..., -1] > gates[..., 0]
    grpo, imitation = names.index(GRPO), names.index(IMITATION)
    share = inside[..., EXPERT].exp()
    counted = {
        "between": between,
        "rising, between": rising(gates) & between,
        "rising, else": rising(gates) & ~between,
        "0 above 1, between": ends & between,
        "0 above 1, else": ends & ~between,
        "expert's share above GRPO's": share[..., imitation] > share[..., grpo],
        "below the start": value[..., imitation] < entropy(begin),
        "below GRPO": value[..., imitation] < value[..., grpo],
    }
    odd = between & ~rising(gates)
    small = entropy(trained(start[odd], [Arm(1.0, slope, lr=LR / 10) for slope in SLOPES]))
    gain = gates[..., -1] - gates[..., 0]
    where = {"between": between, "likeliest": begin[..., EXPERT] == most, "least likely": begin[..., EXPERT] == least}
    return {
        "each": start.shape[1],
        "counts": {name: of.sum(-1).tolist() for name, of in counted.items()},
        "not rising": {"steps of 0.05": len(small), "steps of 0.005": int((~rising(small)).sum())},
        "gain": {name: gain[of].tolist() for name, of in where.items()},
    }


def trained(start: Tensor, arms: Sequence[Arm]) -> Tensor:
    """Log-probabilities [..., A, 4] of the right answers among themselves at accuracy 0.95, from logits [..., 6]."""
    given = columns(arms)
    begin = start[..., None, :].expand(*start.shape[:-1], len(arms), -1)
    return among_right(ascend_until(partial(velocity, arms=given), begin, given[3], accurate)[1])


def rising(values: Tensor) -> Tensor:
    """Whether values [..., S] grow along the last axis, bool [...]."""
    return (values[..., 1:] > values[..., :-1]).all(-1)


def trainer_agrees(steps: int = 10) -> Results:
    """S1: the Trainer with ExpertLevel on enumerated answers takes the steps of the bandit's flow and of the tree's."""
    task = Bandit(RIGHT.tolist())
    policy = TabularLM.of(task, logits=START.log().view(1, 1, -1))
    strategy = ExpertLevel(Solutions.from_lists({0: [[EXPERT]]}, task), Enumerated())
    objective = PolicyGradient(Advantage("group"), penalties=(ExpertGate(1.0, 0.3),))
    theirs = trained_table(policy, task, objective, LR, steps, strategy=strategy)
    arm = columns([Arm(1.0, 0.3)])
    ours = ascend(partial(velocity, arms=arm), START.log()[None], LR, [steps])[0]
    return {"bandit": float((theirs.view(1, -1) - ours).abs().max())} | tree.trainer_agrees(steps)
