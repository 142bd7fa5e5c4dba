"""Lesson 03 on the exact rung: what each estimator and each aggregation does to the expected step, by enumeration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, partial

import torch
from torch import Tensor

from toykit.exact import (
    ascend,
    enumerate_groups,
    expected_group_update,
    group_weight,
    leaf_log_probs,
    node_log_probs,
    policy_gradient,
    scores,
    squared_group_weight,
    success_rate,
)
from toykit.lessons.base import Results
from toykit.lessons.l03_lite_ppo.dynamics import clip_higher, dual_clip, overlong
from toykit.lessons.trained import trained_table
from toykit.objectives import Advantage, PolicyGradient, method
from toykit.policies import TabularLM
from toykit.rollouts import Enumerated, Rollouts, of_leaves
from toykit.tasks import Bandit, TreeTask, tricks_tree

ADVANTAGES = {
    "group std": Advantage("group", "group", eps=0.0),
    "no std": Advantage("group", eps=0.0),
    "batch": Advantage("batch", "batch", eps=0.0),
    "Lite PPO": Advantage("group", "batch", eps=0.0),
}
RATES = (0.95, 0.5, 0.1)  # success rates of the batch of three prompts
AGGREGATIONS = ("token_sum", "sequence_mean", "token_mean")


def run(seeds: tuple[int, ...] = (0,)) -> Results:
    """All exact results of the lesson; `seeds[0]` draws the logits of the tree (0 gives the card's)."""
    seed = seeds[0]
    return {
        "factors": factors(seed),
        "arcsine": arcsine(seed),
        "batch": batch_of_three(),
        "finite": finite_batches(),
        "directions": directions(seed),
        "nearly solved": nearly_solved(),
        "clip_higher": clip_higher(),
        "dual_clip": dual_clip(),
        "overlong": overlong(),
        "first_step": first_step(seed),
        "trainer": trainer_agrees(seed),
    }


@cache
def problem(seed: int = 0) -> tuple[TreeTask, Tensor, Tensor]:
    """(task of five completions, logits [3, 3], which completions are right, bool [5])."""
    task, logits = tricks_tree(seed)
    return task, logits, task.rewards[0] > 0.5


def groups(task: TreeTask, log_p: Tensor, size: int) -> tuple[Tensor, Tensor, Rollouts]:
    """Every ordered group: leaves int64 [M, G], probabilities [M], and each group as a batch of one prompt [M, 1, G].

    `log_p` [L, T] are the tokens' log-probabilities.
    """
    index, log_weight = enumerate_groups(log_p.sum(-1), size)
    return index, log_weight.exp(), of_leaves(task, index, log_p)


def expected_step(objective: PolicyGradient, size: int, seed: int = 0) -> Tensor:
    """The expected ascent direction of an objective at its first step, [N, V], over all groups of `size`."""
    task, logits, _ = problem(seed)
    tree = task.tree
    table = logits.clone().requires_grad_()
    log_p = node_log_probs(tree, table)[tree.nodes, tree.tokens].masked_fill(~tree.mask, 0.0)
    index, weight, made = groups(task, log_p.detach(), size)
    loss, _ = objective.loss(log_p[index][:, None], objective.prepare(made))
    return -torch.autograd.grad(weight @ loss, table)[0]


def factors(seed: int) -> Results:
    """C1, C2: the largest error of c (mu+ - mu-) for the expected step, by all groups of two and of four.

    mu+ and mu- are the mean scores of right and wrong completions.
    """
    task, logits, correct = problem(seed)
    law = leaf_log_probs(task.tree, logits)
    p, law = success_rate(law, correct), law.exp()
    s = scores(task.tree, logits)
    apart = sum(sign * torch.tensordot(law * w, s, 1) / (law * w).sum() for sign, w in ((1, correct), (-1, ~correct)))
    true = policy_gradient(task.tree, logits, correct.double())
    errors = {"c (mu+ - mu-)": 0.0, "grad J": float((p * (1 - p) * apart - true).abs().max())}
    for size in (2, 4):
        for mean, std, ddof in (
            ("group", "none", 1),
            ("group", "group", 0),
            ("group", "group", 1),
            ("leave_one_out", "none", 1),
        ):
            step = expected_step(PolicyGradient(Advantage(mean, std, ddof, eps=0.0)), size, seed)
            c = group_weight(p, size, mean=mean, std=std, ddof=ddof)
            errors["c (mu+ - mu-)"] = max(errors["c (mu+ - mu-)"], float((step - c * apart).abs().max()))
            if std == "none":
                share = 1 - 1 / size if mean == "group" else 1.0
                name = "no std" if mean == "group" else "RLOO"
                errors[name] = max(errors.get(name, 0.0), float((step - share * true).abs().max()))
    return errors


def arcsine(seed: int, h: float = 1e-6) -> Results:
    """C1: GRPO's large-group step beside central differences of 2 arcsin(sqrt p) in the logits."""
    task, logits, correct = problem(seed)

    def value(table: Tensor) -> Tensor:
        return 2 * success_rate(leaf_log_probs(task.tree, table), correct).sqrt().asin()

    basis = torch.eye(logits.numel(), dtype=logits.dtype).view(-1, *logits.shape)
    slopes = ((value(logits + h * basis) - value(logits - h * basis)) / (2 * h)).view(logits.shape)
    step = expected_group_update(task.tree, logits, correct, math.inf)
    p = float(success_rate(leaf_log_probs(task.tree, logits), correct))
    return {"p": p, "error": float((slopes - step).abs().max())}


def bandit() -> tuple[Bandit, Tensor]:
    """Three prompts of three arms, the first right, and logits [3, 1, 3] that make their success rates RATES."""
    task = Bandit([[1.0, 0.0, 0.0]] * len(RATES))
    law = torch.tensor([[p, 0.7 * (1 - p), 0.3 * (1 - p)] for p in RATES], dtype=torch.float64)
    return task, law.log()[:, None]


def batch_of_three() -> Results:
    """C1: in a batch of three prompts, the factor that each estimator puts before a prompt's exact gradient, for
    large groups, before and after r -> 10 r - 3, and the noise E[A^2] with the group's and with the batch's mean."""
    task, logits = bandit()
    policy = TabularLM.of(task, logits=logits)
    whole = Enumerated()(policy, task, task.prompts())
    p, true = torch.tensor(RATES, dtype=torch.float64), policy_gradient(task.tree, logits, task.rewards)
    found: Results = {"p": list(RATES), "factor": {}, "changed": {}, "noise": {}, "error": 0.0}
    for name, advantage in ADVANTAGES.items():
        for key, rewards in (("factor", whole.rewards), ("changed", 10 * whole.rewards - 3)):
            values = advantage(rewards, whole.weights, enumerated=True)
            step = policy_gradient(task.tree, logits, values)
            factor = (step * true).sum((-2, -1)) / true.square().sum((-2, -1))
            found[key][name] = factor.tolist()
            across = step - factor[:, None, None] * true
            found["error"] = max(found["error"], float(across.abs().max()))
        closed = group_weight(p, math.inf, mean=advantage.mean, std=advantage.std) / (p * (1 - p))
        found["error"] = max(found["error"], float((p.new_tensor(found["factor"][name]) - closed).abs().max()))
    for name in ("group", "batch"):
        found["noise"][name] = whole.mean(Advantage(name)(whole.rewards, whole.weights, True).square()).tolist()
    return found


def finite_batches(size: int = 8, copies: Sequence[int] = (1, 4, 16)) -> Results:
    """Lite PPO's factor c / p (1 - p) for each prompt of RATES in a batch that holds `copies` of each, exactly.

    The batch's std is drawn with the batch: it is larger where this prompt's rewards happen to differ.
    """
    return {"copies": list(copies), "factor": [lite_factor(torch.tensor(RATES).double(), size, n) for n in copies]}


def lite_factor(p: Tensor, size: int, copies: int) -> list[float]:
    """E[m (1 - m) / std_B] / p (1 - p) of each prompt, std_B with ddof 1, from the binomial law of right answers."""
    k = torch.arange(size + 1, dtype=p.dtype)
    ways = math.lgamma(size + 1) - torch.lgamma(k + 1) - torch.lgamma(size - k + 1)
    laws = (ways + k * p.log()[:, None] + (size - k) * (1 - p).log()[:, None]).exp()
    n, found = size * len(p) * copies, []
    for x in range(len(p)):
        others = torch.ones(1, dtype=p.dtype)
        for y in range(len(p)):
            for _ in range(copies - (x == y)):
                others = convolved(others, laws[y])
        right = k[:, None] + torch.arange(len(others))
        std = (right / n * (1 - right / n) * n / (n - 1)).clamp(min=0).sqrt()
        inverse = torch.where(std > 0, 1 / std.clamp(min=1e-12), 0.0)
        found.append(float(laws[x] * (k / size) * (1 - k / size) @ inverse @ others / (p[x] * (1 - p[x]))))
    return found


def convolved(a: Tensor, b: Tensor) -> Tensor:
    """The law of a sum of two independent counts with laws [m] and [n]: [m + n - 1]."""
    return torch.nn.functional.conv1d(a[None, None], b.flip(0)[None, None], padding=len(b) - 1)[0, 0]


def directions(seed: int, sizes: Sequence[int] = (2, 4, 6)) -> Results:
    """C3: the cosine with grad J of the step with the group's mean, by aggregation and group size."""
    task, logits, correct = problem(seed)
    true = policy_gradient(task.tree, logits, correct.double()).flatten()

    def cosine(aggregate: str, size: int) -> float:
        step = expected_step(PolicyGradient(ADVANTAGES["no std"], aggregate=aggregate), size, seed)
        return float(torch.cosine_similarity(step.flatten(), true, dim=0))

    return {"sizes": list(sizes), "cosine": {kind: [cosine(kind, g) for g in sizes] for kind in AGGREGATIONS}}


def nearly_solved(size: int = 8) -> Results:
    """C4: the advantage of the one wrong answer, the weights of hard prompts, and the share of the easy ones."""
    worst = {}
    for g in (2, 4, 8, 16, 64):
        rewards = torch.ones(1, g, dtype=torch.float64)
        rewards[0, 0] = 0.0
        even = torch.full_like(rewards, 1 / g)
        worst[str(g)] = {name: float(ADVANTAGES[name](rewards, even)[0, 0]) for name in ("group std", "no std")}
    p = torch.tensor([0.02, 0.1, 0.5], dtype=torch.float64)
    weight = partial(group_weight, p, size)
    batch = torch.tensor([0.98] * 7 + [0.5], dtype=torch.float64)
    shares = {}
    for name, std in (("group std", "group"), ("no std", "none")):
        squares = squared_group_weight(batch, size, std=std)
        means = group_weight(batch, size, std=std).square()
        shares[name] = {"of E[c^2]": _share(squares), "of E[c]^2": _share(means)}
    return {
        "wrong": worst,
        "weight": {"ddof 0": weight(std="group", ddof=0).tolist(), "ddof 1": weight(std="group", ddof=1).tolist()},
        "no std": float((weight() - (1 - 1 / size) * p * (1 - p)).abs().max()),
        "share": shares,
    }


def _share(parts: Tensor) -> float:
    """What all but the last have of the sum."""
    return float(parts[:-1].sum() / parts.sum())


def first_step(seed: int, size: int = 4) -> Results:
    """While the ratio is 1: named methods (GRPO without its KL) beside the plain gradient of their advantage and
    aggregation, the largest difference."""
    plain = {
        name: PolicyGradient(Advantage("group", "group"), aggregate=kind)
        for name, kind in (("grpo", "sequence_mean"), ("gspo", "sequence_mean"), ("dapo", "token_mean"))
    }
    plain["dr_grpo"] = PolicyGradient(Advantage("group"), aggregate="constant_norm")
    plain["lite_ppo"] = PolicyGradient(Advantage("group", "batch"), aggregate="token_mean")
    return {
        name: float(
            (expected_step(method(name).pieces.with_(kl=None), size, seed) - expected_step(twin, size, seed))
            .abs()
            .max()
        )
        for name, twin in plain.items()
    }


def trainer_agrees(seed: int, steps: int = 10, lr: float = 0.5) -> Results:
    """The same code on every rung: the Trainer with Lite PPO on enumerated rollouts takes the steps of its limit.

    These are grad J over the batch's std and the mean length, so lite_ppo is policy gradient with another step size.
    """
    tree, rewards = problem(seed)[0].tree, problem(seed)[0].rewards
    task = TreeTask(tree, rewards.expand(3, -1), name="tricks_tree")
    logits = torch.stack([tricks_tree(seed + i)[1] for i in range(3)])
    table = trained_table(TabularLM.of(task, logits=logits), task, "lite_ppo", lr, steps)

    def gradient(table: Tensor) -> Tensor:
        log_p = leaf_log_probs(tree, table)
        mean = success_rate(log_p, rewards > 0.5).mean()
        tokens = (log_p.exp() * tree.mask.sum(-1)).sum()
        return policy_gradient(tree, table, rewards) / ((mean * (1 - mean)).sqrt() + 1e-6) / tokens

    limit = ascend(gradient, logits, lr, [steps])[0]
    ours = leaf_log_probs(tree, table.view_as(logits))
    return {"steps": steps, "error": float((ours - leaf_log_probs(tree, limit)).abs().max())}
