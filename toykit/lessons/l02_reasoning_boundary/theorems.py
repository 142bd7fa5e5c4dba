"""The theorems of lesson 02: first-order influence, expected group updates, prompts that share nothing."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toykit.diagnostics import first_order_change, linear_interference, negative_share, success_gradient
from toykit.exact import (
    ascend,
    enumerate_groups,
    expected_group_update,
    group_weight,
    leaf_log_probs,
    linear_logits,
    pull_back,
    success_rate,
)
from toykit.lessons.base import Results
from toykit.lessons.trained import trained_table
from toykit.objectives import Advantage, ForwardKL, Method, PolicyGradient
from toykit.policies import TabularLM
from toykit.selection import greedy_failures
from toykit.tasks import FeatureBandit, Tree, sft_base

GROUP = 8
SIZES = (0.1, 0.01, 0.001)
RARE = (0.5, 0.1, 0.02, 0.004)
RULES = ("exact policy gradient", "GRPO", "log-likelihood")


def interference(features: Tensor, log_pi: Tensor, correct: Tensor, keep: Tensor | None = None) -> Tensor:
    """I [..., n, n]: what prompt x's part of GRPO's expected step adds to log p of prompt x', for a step of size 1.

    features [..., n, d], log_pi [..., n, V], correct bool [..., n, V]; `keep` bool [..., n] says which prompts push.
    """
    n = features.shape[-2]
    steps = expected_group_update(Tree(log_pi.shape[-1], 1), log_pi[..., None, :], correct, GROUP)[..., 0, :] / n
    if keep is not None:
        steps = steps * keep[..., None]
    return linear_interference(steps, success_gradient(log_pi, correct), features)


def identity(features: Tensor, weights: Tensor, correct: Tensor) -> Results:
    """C1: the predicted change of log p after one step against the true one, at the base of each world [seeds, ...].

    Errors are the greatest over prompts, divided by the size of the step.
    """
    tree = Tree(correct.shape[-1], 1)

    def log_pi(w: Tensor) -> Tensor:
        return leaf_log_probs(tree, linear_logits(w, features))

    base = log_pi(weights)
    matrix = interference(features, base, correct)
    logits = linear_logits(weights, features)
    step = pull_back(expected_group_update(tree, logits, correct, GROUP), features)
    errors = []
    for size in SIZES:
        change = success_rate(log_pi(weights + size * step), correct).log() - success_rate(base, correct).log()
        errors.append(((change - first_order_change(matrix, size)).abs().amax(-1) / size).tolist())
    return {
        "sizes": list(SIZES),
        "errors": errors,
        "negative": negative_share(matrix).tolist(),
        "dragged": (matrix.sum(-2) < 0).double().mean(-1).tolist(),
        "least_own": float(matrix.diagonal(dim1=-2, dim2=-1).min()),
    }


def closed_form(p: Tensor, group_size: int) -> dict[str, Tensor]:
    """w(p) [...] of the card for each estimator."""
    g, m = group_size, torch.arange(group_size + 1, dtype=p.dtype)
    ways = torch.tensor([math.comb(g, int(i)) for i in m], dtype=p.dtype)
    law = ways * p[..., None] ** m * (1 - p[..., None]) ** (g - m)
    h = (law * ((m / g) * (1 - m / g)).sqrt()).sum(-1)
    return {
        "none": p * (1 - p),
        "mean": (g - 1) / g * p * (1 - p),
        "population std": h,
        "unbiased std": math.sqrt((g - 1) / g) * h,
    }


def group_identities(log_pi: Tensor, correct: Tensor) -> Results:
    """C2: E[(1/G) sum_i A_i grad log pi(y_i)] over all groups written out, against w(p) / (1 - p) (e_c - pi).

    log_pi and correct are [n, V] with one right arm; groups of 2, 3 and 4. Greatest errors over prompts and logits.
    """
    p, direction = success_rate(log_pi, correct), success_gradient(log_pi, correct)
    errors: dict[str, float] = {}
    for size in (2, 3, 4):
        index, log_weight = enumerate_groups(log_pi, size)
        rewards = correct[:, index].double()  # [n, groups, size]
        centred = rewards - rewards.mean(-1, keepdim=True)
        advantages = {"none": rewards, "mean": centred}
        for name, ddof in (("population std", 0), ("unbiased std", 1)):
            spread = rewards.std(-1, keepdim=True, correction=ddof)
            advantages[name] = torch.where(spread > 0, centred / spread, 0.0)
        for name, weight in closed_form(p, size).items():
            pushed = log_weight.exp()[..., None] * advantages[name] / size
            onto = torch.zeros_like(log_pi).index_add(1, index.flatten(), pushed.flatten(1))  # E[sum_i A_i e_{y_i}]
            brute = onto - log_pi.exp() * onto.sum(-1, keepdim=True)
            expected = (weight / (1 - p))[:, None] * direction
            errors[name] = max(errors.get(name, 0.0), float((brute - expected).abs().max()))
    return {"errors": errors}


def independent(lr: float = 0.5, most: int = 500, arms: int = 8) -> Results:
    """C4b, C8: steps until p >= 0.9 for prompts that share nothing, with equal logits of the wrong arms.

    z += lr w(p) / (1 - p) (e_c - pi) with w = p (1 - p), h_8(p) or 1 - p, from each of RARE.
    """
    right = torch.eye(arms, dtype=torch.float64)[0]
    start = torch.tensor([[p, *[(1 - p) / (arms - 1)] * (arms - 1)] for p in RARE], dtype=torch.float64).log()

    def gradient(logits: Tensor) -> Tensor:
        pi = logits.softmax(-1)
        p = pi[..., 0]
        weights = (group_weight(p[0], math.inf, mean="none"), group_weight(p[1], GROUP, std="group", ddof=0), 1 - p[2])
        return (torch.stack(weights) / (1 - p))[..., None] * (right - pi)

    p = ascend(gradient, start.expand(len(RULES), -1, -1), lr, range(most + 1)).softmax(-1)[..., 0]
    done = p >= 0.9
    steps = torch.where(done.any(0), done.long().argmax(0), -1)
    return {
        "p": list(RARE),
        "steps": dict(zip(RULES, steps.tolist(), strict=True)),
        "least_rise": float(p.diff(dim=0).min()),
    }


def trainer_agrees(seed: int, steps: int = 10) -> Results:
    """S1: the Trainer on enumerated rollouts, with SELF's filter and forward KL, takes the steps of the exact flow.

    An enumerated group is the limit of large ones: w = sqrt(p (1 - p)).
    """
    task = FeatureBandit(seed=seed)
    start, tree, correct = sft_base(task)[None], task.tree, task.rewards > 0.5
    law = leaf_log_probs(tree, linear_logits(start, task.features)).exp()
    errors = {}
    for name, forward, filtered in (("GRPO", 0.0, False), ("SELF", 0.2, True)):

        def gradient(weights: Tensor, forward: float = forward, filtered: bool = filtered) -> Tensor:
            pi = leaf_log_probs(tree, linear_logits(weights, task.features)).exp()
            p = pi[correct]
            push = (p / (1 - p)).sqrt()
            if filtered:
                push = push * ~correct.gather(1, pi.argmax(-1, keepdim=True))[:, 0]
            step = push[:, None] * (correct.double() - pi) + forward * (law - pi)
            return pull_back(step[:, None], task.features)

        ours = ascend(gradient, start, 1.0, keep=(steps,))[0]
        objective = PolicyGradient(Advantage("group", "group", eps=0.0))
        given = Method(objective, "SELF", forward_kl=ForwardKL(forward) if forward else None)
        policy = TabularLM.of(task, "features", logits=start)
        selection = greedy_failures("asked") if filtered else None
        table = trained_table(policy, task, given, 1.0, steps, selection=selection)
        errors[name] = float((table - ours).abs().max())
    return {"steps": steps, "errors": errors}
