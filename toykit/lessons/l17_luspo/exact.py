"""Lesson 17 on the exact rung: four answers of two lengths, and a tree that branches."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from torch import Tensor

from toykit.exact import (
    ascend,
    group_expectation,
    leaf_log_probs,
    mean_score,
    node_log_probs,
    policy_gradient,
    success_rate,
)
from toykit.lessons.base import Results
from toykit.lessons.trained import trained_table
from toykit.objectives import Advantage, Clip, PolicyGradient
from toykit.policies import TabularLM
from toykit.rollouts import of_leaves
from toykit.tasks import FORBIDDEN, TreeTask

RIGHT = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
LENGTHS = torch.tensor([1.0, 4.0, 1.0, 4.0], dtype=torch.float64)
FOUR = TreeTask.of({(0,): 1.0, (1, 1, 1, 0): 1.0, (2,): 0.0, (3, 1, 1, 2): 0.0})  # short and long, right and wrong
BRANCHING = TreeTask.of({(0,): 1.0, (1, 1, 1, 0): 1.0, (1, 1, 1, 2): 0.0, (2,): 0.0})
MEAN = Advantage("group")
LUSPO = PolicyGradient(MEAN, ratio="sequence")
OBJECTIVES = {
    "GRPO": PolicyGradient(MEAN, ratio="token", aggregate="sequence_mean"),
    "GSPO": LUSPO.with_(aggregate="sequence_mean"),
    "LUSPO": LUSPO,
    "REINFORCE": PolicyGradient(MEAN),
    "Dr. GRPO": PolicyGradient(MEAN, ratio="token", aggregate="constant_norm"),
}
BY_TOKENS = {"LUSPO": 0.0, "GSPO": 1.0}  # the power of the length that the push on a completion is divided by
LR, STEPS = 0.5, 200


def run(seeds: tuple[int, ...] = (3,)) -> Results:
    """All exact results of the lesson; `seeds[0]` draws the logits of the tree that branches (3 gives the card's)."""
    return {
        "gradients": gradients(seeds[0]),
        "expected": expected(seeds[0]),
        "table": table(),
        "pairs": pairs(),
        "drift": drift(),
        "inner": inner_steps(),
        "long": long_is_better(),
        "branching": branching(),
        "trainer": trainer_agrees(),
    }


def velocity(logits: Tensor, power: Tensor | float, lengths: Tensor = LENGTHS, wrong: Tensor | float = 1.0) -> Tensor:
    """The expected step in the logits [..., 4] of the four answers, whose paths are forced after the first token.

    Advantages are rewards less their mean, over the length to a `power` (0: LUSPO, 1: GSPO and GRPO); those of wrong
    answers are multiplied by `wrong`, the share of them that a clip leaves.
    """
    pi = logits.softmax(-1)
    p = (pi * RIGHT).sum(-1, keepdim=True)
    return mean_score(pi, torch.where(RIGHT > 0, 1 - p, -wrong * p) / lengths**power)


def mean_length(pi: Tensor, among: Tensor | float = 1.0, lengths: Tensor = LENGTHS) -> Tensor:
    """E[length | among] [...] of laws [..., 4]."""
    return (pi * among * lengths).sum(-1) / (pi * among).sum(-1)


def growth(logits: Tensor, step: Tensor, lengths: Tensor = LENGTHS) -> Tensor:
    """dE[length]/dt [...] along a step in the logits [..., 4]."""
    return (mean_score(logits.softmax(-1), lengths) * step).sum(-1)


def table() -> Results:
    """C3: 200 steps from the uniform policy; lengths and log-ratios of the right and of the wrong pair on the way."""
    power = torch.tensor(list(BY_TOKENS.values()), dtype=torch.float64)[:, None]
    kept = range(0, STEPS + 1, 5)
    path = ascend(lambda z: velocity(z, power), torch.zeros(2, 4, dtype=torch.float64), LR, kept)
    faster = ascend(lambda z: velocity(z, 1.0), torch.zeros(4, dtype=torch.float64), 4 * LR, [STEPS])[0].softmax(-1)
    positive = ascend(lambda z: velocity(z, power, wrong=0.0), path[0], LR, [100])[0].softmax(-1)
    found: Results = {
        "steps": list(kept),
        "faster": [float(mean_length(faster, among)) for among in (RIGHT, 1 - RIGHT)],
        "positive only": dict(zip(BY_TOKENS, mean_length(positive).tolist(), strict=True)),
    }
    for i, name in enumerate(BY_TOKENS):
        logits = path[:, i]
        pi = logits.softmax(-1)
        found[name] = {
            "accuracy": (pi * RIGHT).sum(-1).tolist(),
            "right": mean_length(pi, RIGHT).tolist(),
            "wrong": mean_length(pi, 1 - RIGHT).tolist(),
            "log-ratio, right": (logits[:, 0] - logits[:, 1]).tolist(),
            "log-ratio, wrong": (logits[:, 2] - logits[:, 3]).tolist(),
        }
    return found


def pairs(problems: int = 200, answers: int = 8, seed: int = 0) -> Results:
    """C3 on random bandits: how fast the log-ratio of two equally likely answers of one reward moves, and its formula.

    The first two of the answers are alike but for their lengths; pi A (1/L_i - 1/L_j) is expected under GSPO.
    """
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(problems, answers, generator=draw, dtype=torch.float64)
    lengths = torch.randint(1, 100, (problems, answers), generator=draw).double()
    rewards = torch.rand(problems, answers, generator=draw, dtype=torch.float64).round()
    for same in (logits, rewards):
        same[:, 1] = same[:, 0]
    pi = logits.softmax(-1)
    advantage = rewards - (pi * rewards).sum(-1, keepdim=True)
    expected = (pi * advantage)[:, 0] * (1 / lengths[:, 0] - 1 / lengths[:, 1])
    step = {name: mean_score(pi, advantage / lengths**power) for name, power in BY_TOKENS.items()}
    speed = {name: g[:, 0] - g[:, 1] for name, g in step.items()}
    exercise = velocity(torch.zeros(4, dtype=torch.float64), 1.0)
    return {
        "LUSPO": float(speed["LUSPO"].abs().max()),
        "GSPO, error": float((speed["GSPO"] - expected).abs().max()),
        "GSPO, to the shorter if right": bool(
            (speed["GSPO"] * (lengths[:, 1] - lengths[:, 0]) * (2 * rewards[:, 0] - 1) >= 0).all()
        ),
        "exercise": float(exercise[0] - exercise[1]),
    }


def at_success(p: Tensor) -> Tensor:
    """Logits [..., 4] with success p [...] and equally likely lengths."""
    return (torch.where(RIGHT > 0, p[..., None], 1 - p[..., None]) / 2).log()


def drift() -> Results:
    """C4: dE[L]/dt by the sign of the advantage at the card's three policies, and its formula over many.

    With lengths a and b it is -(m h - 1) p (1 - p) (2 p - 1) / 2 under GSPO, m = (a + b) / 2 and h = (1/a + 1/b) / 2,
    and with a share c of the wrong ones clipped p - (1 - p) (1 - c) stands for 2 p - 1: 0 at p = (1 - c) / (2 - c).
    """
    found: Results = {}
    for shift in (0.0, 1.0, -1.0):
        logits = shift * (1 - RIGHT)
        for name, power in BY_TOKENS.items():
            positive = growth(logits, velocity(logits, power, wrong=0.0))
            both = growth(logits, velocity(logits, power))
            found.setdefault(name, []).append([float(positive), float(both - positive), float(both)])
    p = torch.arange(1, 100, dtype=torch.float64)[:, None, None] / 100
    long = torch.arange(2.0, 21.0, dtype=torch.float64)[:, None]  # the longer one's length; the shorter's is 1
    clipped = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64)
    lengths = torch.stack([torch.ones_like(long), long] * 2, -1).expand(-1, len(clipped), 4)
    logits = at_success(p.expand(-1, *lengths.shape[:2]))
    rate = {
        name: growth(logits, velocity(logits, power, lengths, (1 - clipped)[:, None]), lengths)
        for name, power in BY_TOKENS.items()
    }
    beyond = p - (1 - p) * (1 - clipped)
    formula = -((1 + long) ** 2 / (4 * long) - 1) * p * (1 - p) * beyond / 2
    return found | {
        "error": float((rate["GSPO"] - formula).abs().max()),
        "LUSPO at most": float(rate["LUSPO"].abs().max()),
        "signs": bool((rate["GSPO"].sign() == -beyond.sign())[beyond.abs().expand_as(formula) > 1e-9].all()),
        "p": p.flatten().tolist(),
        "curves": {
            "LUSPO": rate["LUSPO"][:, 2, 0].tolist(),
            "GSPO": rate["GSPO"][:, 2, 0].tolist(),
            "GSPO, half clipped": rate["GSPO"][:, 2, 2].tolist(),
        },
    }


def nearby(seed: int) -> tuple[Tensor, Tensor]:
    """Logits [4, 3] of the tree that branches, and of a policy nearby."""
    draw = np.random.default_rng(seed)
    old, change = torch.zeros(2, 4, 3, dtype=torch.float64)
    for table, scale in ((old, 0.5), (change, 0.05)):
        for node in range(4):
            there = BRANCHING.tree.child[node] != FORBIDDEN
            table[node, there] = torch.tensor(scale * draw.normal(size=int(there.sum())))
    return old, old + change


def group_steps(objective: PolicyGradient, task: TreeTask, old: Tensor, logits: Tensor, leaves: Tensor) -> Tensor:
    """Ascent directions [M, N, V] at `logits` of groups of leaves int64 [M, G] that a policy with logits `old` drew."""
    tree, m = task.tree, len(leaves)
    tables = logits.expand(m, -1, -1).clone().requires_grad_()

    def by_token(table: Tensor) -> Tensor:
        return node_log_probs(tree, table)[..., tree.nodes, tree.tokens].masked_fill(~tree.mask, 0.0)

    logp = by_token(tables)[torch.arange(m)[:, None], leaves][:, None]
    loss, _ = objective.loss(logp, objective.prepare(of_leaves(task, leaves, by_token(old))))
    return -torch.autograd.grad(loss.sum(), tables)[0]


def gradients(seed: int) -> Results:
    """C1: what the five objectives ascend, on the card's group and on all groups of four, at old and at new logits."""
    task, (old, new) = BRANCHING, nearby(seed)
    card = torch.tensor([[0, 2, 1, 1]])  # (0), (1 1 1 2) and twice (1 1 1 0)
    every = torch.cartesian_prod(*[torch.arange(4)] * 4)

    def step(name: str, logits: Tensor, leaves: Tensor) -> Tensor:
        return group_steps(OBJECTIVES[name], task, old, logits, leaves)

    def apart(name: str, other: str, logits: Tensor, times: float = 1.0) -> list[float]:
        found = (step(name, logits, leaves) - times * step(other, logits, leaves) for leaves in (card, every))
        return [float(difference.abs().max()) for difference in found]

    return {
        "GRPO - GSPO": apart("GRPO", "GSPO", old),
        "LUSPO - REINFORCE": apart("LUSPO", "REINFORCE", old),
        "LUSPO - 4 Dr. GRPO": apart("LUSPO", "Dr. GRPO", old, times=task.horizon),
        "GRPO - GSPO, off policy": apart("GRPO", "GSPO", new),
    }


def expected(seed: int) -> Results:
    """C2: the error of (1 - 1/G) grad J for LUSPO's step, a mean over all groups of two, three and four, and of
    (1 - 1/G) E[(r - p) / L grad log pi] for GSPO's and GRPO's; the cosine of both steps for the four answers."""
    task, (old, _) = BRANCHING, nearby(seed)
    log_p, rewards = leaf_log_probs(task.tree, old), task.rewards[0]
    advantage = rewards - success_rate(log_p, rewards > 0.5)
    divided = policy_gradient(task.tree, old, advantage / task.tree.mask.sum(-1))
    flows = {"LUSPO": policy_gradient(task.tree, old, rewards), "GSPO": divided, "GRPO": divided}
    found: Results = {}
    for name, flow in flows.items():
        steps = {
            size: group_expectation(partial(group_steps, OBJECTIVES[name], task, old, old), log_p, size)
            for size in (2, 3, 4)
        }
        found[name] = max(float((step - (1 - 1 / size) * flow).abs().max()) for size, step in steps.items())
    luspo, gspo = (velocity(torch.zeros(4, dtype=torch.float64), power) for power in BY_TOKENS.values())
    return found | {"cosine": float(luspo @ gspo / (luspo.norm() * gspo.norm()))}


def inner_steps(lr: float = 0.04) -> Results:
    """What is left off policy: log pi(short)/pi(long) of the right pair after one round of two inner steps of LUSPO.

    The first moves every log-probability by lr / 8, which takes the short ones' ratios, and theirs alone, out of the
    clip; the second then moves the long ones only.
    """
    found = {}
    for name, clip in (("no clip", None), ("clip", Clip(2e-3, 2.5e-3))):
        root = trained_table(TabularLM.of(FOUR), FOUR, LUSPO.with_(clip=clip), lr, steps=1, epochs=2)[0]
        found[name] = float(root[0] - root[1])
    return found | {"expected": -lr / 8}


def long_is_better(most: int = 2_000) -> Results:
    """Steps until P(long) > 0.8 where one token is right with 0.5 and six with 0.9, and where both methods end."""
    rates, lengths = torch.tensor([[0.5, 0.9], [1.0, 6.0]], dtype=torch.float64)
    power = torch.tensor(list(BY_TOKENS.values()), dtype=torch.float64)[:, None]

    def gradient(logits: Tensor) -> Tensor:
        pi = logits.softmax(-1)
        return mean_score(pi, (rates - (pi * rates).sum(-1, keepdim=True)) / lengths**power)

    start = torch.tensor([0.8, 0.2], dtype=torch.float64).log().expand(2, -1)
    path = ascend(gradient, start, 1.0, range(most + 1)).softmax(-1)[..., 1]
    first = (path > 0.8).long().argmax(0)
    return {
        "steps": dict(zip(BY_TOKENS, first.tolist(), strict=True)),
        "end": dict(zip(BY_TOKENS, path[-1].tolist(), strict=True)),
        "path": dict(zip(BY_TOKENS, path[:61].T.tolist(), strict=True)),
    }


def branching(steps: int = 400) -> Results:
    """log pi(short)/pi(long) of two right completions, 1/4 each at first, where the long one's path branches."""
    task = BRANCHING
    start = torch.zeros(4, 3, dtype=torch.float64)
    start[0, 1] = math.log(2)  # the two that begin alike share it
    rewards, lengths = task.rewards[0], task.tree.mask.sum(-1).double()
    power = torch.tensor(list(BY_TOKENS.values()), dtype=torch.float64)[:, None]

    def gradient(logits: Tensor) -> Tensor:
        p = success_rate(leaf_log_probs(task.tree, logits), rewards > 0.5)
        return policy_gradient(task.tree, logits, (rewards - p[:, None]) / lengths**power)

    first, last = leaf_log_probs(task.tree, ascend(gradient, start.expand(2, -1, -1), LR, [0, steps]))
    found = dict(zip(BY_TOKENS, (last[:, 0] - last[:, 1]).tolist(), strict=True))
    return found | {"start": float((first[:, 0] - first[:, 1]).abs().max())}


def trainer_agrees(steps: int = 10) -> Results:
    """S1: the Trainer on enumerated answers, with tokens, takes the steps of the four answers' flow."""
    errors = {}
    for name, power in BY_TOKENS.items():
        ours = ascend(partial(velocity, power=power), torch.zeros(4, dtype=torch.float64), LR, [steps])[0]
        table = trained_table(TabularLM.of(FOUR), FOUR, OBJECTIVES[name].with_(clip=Clip()), LR, steps)
        errors[name] = float((table[0] - ours).abs().max())
    return errors
