"""Lesson 02 on the exact rung: 24 prompts with one right answer in eight, and a linear policy that they share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from toykit.diagnostics import delta_norm, delta_plus, exact_pass_at_k, rank_correlation
from toykit.exact import (
    ascend,
    greedy_leaf,
    group_values,
    leaf_log_probs,
    likelihood_gradient,
    linear_logits,
    shared,
    success_rate,
)
from toykit.lessons.base import Results
from toykit.lessons.l02_reasoning_boundary import theorems
from toykit.tasks import FeatureBandit, Tree, sft_base

SEEDS = (0, 1, 2, 3, 4)
STEPS = 2_000
GROUP = 8
KS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class Setting:
    """How a policy is trained: weights of the reverse and the forward KL, the filter, how much the prompts share."""

    reverse: float = 0.0
    forward: float = 0.0
    filter: bool = False
    sharing: float = 1.0


METHODS = {
    "GRPO": Setting(),
    "GRPO + reverse KL": Setting(reverse=0.01),
    "GRPO + forward KL": Setting(forward=0.05),
    "filter": Setting(filter=True),
    "SELF, β = 0.05": Setting(filter=True, forward=0.05),
    "SELF": Setting(filter=True, forward=0.2),
    "GRPO, nothing shared": Setting(sharing=0.0),
}


@dataclass(frozen=True)
class Worlds:
    """Policies linear in features that are trained side by side; leading axes [...] are independent.

    features [..., n, d], weights [..., 1, V, d] at the start, correct bool [..., n, V].
    """

    features: Tensor
    weights: Tensor
    correct: Tensor

    @property
    def tree(self) -> Tree:
        return Tree(self.correct.shape[-1], horizon=1)

    def laws(self, weights: Tensor) -> Tensor:
        """Log-probabilities [..., n, V] of the arms under some weights."""
        return leaf_log_probs(self.tree, linear_logits(weights, self.features))

    @property
    def base(self) -> Tensor:
        """Log-probabilities [..., n, V] at the start."""
        return self.laws(self.weights)

    @staticmethod
    def stack(worlds: Sequence[Worlds]) -> Worlds:
        """Worlds of one size along a new first axis."""
        return Worlds(*(torch.stack([getattr(w, name) for w in worlds]) for name in ("features", "weights", "correct")))

    def padded(self, d: int) -> Worlds:
        """The same policies with features of length d, the further entries 0."""
        room = (0, d - self.features.shape[-1])
        return Worlds(F.pad(self.features, room), F.pad(self.weights, room), self.correct)

    def blend(self, sharing: float) -> Worlds:
        """The same base policy, with prompts that share less: phi' = [sqrt(1 - s) e_x, sqrt(s) phi].

        Two prompts' features then overlap s times as much as before, and every policy is reached from the same law.
        """
        n, s = self.features.shape[-2], sharing
        own = torch.eye(n, dtype=self.features.dtype).expand(*self.features.shape[:-1], n)
        logits = linear_logits(self.weights, self.features).movedim(-3, -1)  # [..., 1, V, n]
        rest = 0.0 if s == 1 else (1 - math.sqrt(s)) / math.sqrt(1 - s)
        features = torch.cat([math.sqrt(1 - s) * own, math.sqrt(s) * self.features], -1)
        return Worlds(features, torch.cat([rest * logits, self.weights], -1), self.correct)


@cache
def worlds(seeds: tuple[int, ...], orthogonal: bool = False) -> Worlds:
    """The card's problem: one world a seed, its base made by 20 supervised steps from random weights."""
    tasks = [FeatureBandit(orthogonal=orthogonal, seed=seed) for seed in seeds]
    return Worlds(
        torch.stack([task.features for task in tasks]),
        torch.stack([sft_base(task) for task in tasks])[:, None],
        torch.stack([task.rewards > 0.5 for task in tasks]),
    )


def solved_greedily(tree: Tree, logits: Tensor, correct: Tensor) -> Tensor:
    """bool [..., n]: the prompts whose likeliest arm is right."""
    return torch.take_along_dim(correct, greedy_leaf(tree, logits)[..., None], -1)[..., 0]


def train(start: Worlds, settings: Sequence[Setting], keep: Sequence[int], lr: float = 1.0) -> Tensor:
    """Log-probabilities [len(keep), S, ..., n, V] along exact ascent; `start` is [S, ...], a setting for each of S.

    W += lr/n sum_x [w(p_x) / (1 - p_x) (e_c - pi_x) - reverse dKL(pi || base) + forward (base_x - pi_x)] phi_x^T,
    with w = h_8. The filter drops the first term alone, and n stays what it is.
    """
    tree, log_base = start.tree, start.base
    given = torch.tensor([[s.reverse, s.forward, s.filter] for s in settings], dtype=torch.float64)
    reverse, forward, dropped = (x.view(-1, *[1] * (log_base.dim() - 1)) for x in given.unbind(1))
    base = log_base.exp()

    def gradient(logits: Tensor) -> Tensor:
        log_pi = leaf_log_probs(tree, logits)
        out = solved_greedily(tree, logits, start.correct)[..., None] & (dropped > 0)
        values = group_values(log_pi, start.correct, GROUP).masked_fill(out, 0.0) - reverse * (log_pi - log_base)
        return likelihood_gradient(tree, logits, log_pi.exp() * values + forward * base)

    path = ascend(shared(gradient, start.features), start.weights, lr, keep)
    return start.laws(path)


def run(seeds: tuple[int, ...] = SEEDS, steps: int = STEPS) -> Results:
    """All exact results of the lesson; the effects are taken over the worlds of `seeds`."""
    problem = worlds(seeds)
    return {
        **trained(seeds, steps),
        "identity": theorems.identity(problem.features, problem.weights, problem.correct),
        "groups": theorems.group_identities(problem.base[0], problem.correct[0]),
        "independent": theorems.independent(),
        "trainer": theorems.trainer_agrees(seeds[0]),
    }


def trained(seeds: tuple[int, ...], steps: int) -> Results:
    """C3 to C7: every method on every seed's world, and the control of the card with features that are orthogonal."""
    together = [worlds(seeds).blend(s.sharing) for s in METHODS.values()]
    apart = worlds(seeds, orthogonal=True).padded(together[0].features.shape[-1])
    start = Worlds.stack([*together, apart])
    keep = sorted({0, *(round(10 ** (i / 8)) for i in range(25)), steps})
    keep = [k for k in keep if k <= steps]
    log_pi = train(start, [*METHODS.values(), Setting()], keep)
    found = {name: figures(log_pi[:, i], start.correct[i]) for i, name in enumerate(METHODS)}
    control = figures(log_pi[:, -1], apart.correct)
    return {"steps": keep, "ks": list(KS), "runs": found, "orthogonal": control}


def figures(log_pi: Tensor, correct: Tensor) -> Results:
    """What is told of a run's log-probabilities [K, seeds, n, V]: at its end by seed, along it as means over seeds."""
    p = success_rate(log_pi, correct)
    curve = exact_pass_at_k(p[..., None], torch.tensor(KS, dtype=p.dtype)).mean(-2)  # [K, seeds, ks]
    base, last = log_pi[0], log_pi[-1]
    return {
        "pass": curve[-1].tolist(),
        "pass_before": curve[0].tolist(),
        "delta_plus": delta_plus(last, base, correct).mean(-1).tolist(),
        "delta_norm": delta_norm(last, base).mean(-1).tolist(),
        "rank": rank_correlation(p[0], p[-1]).tolist(),
        "rank_of_change": rank_correlation(p[0], (p[-1] / p[0]).log()).tolist(),
        "least_rise": float(p.diff(dim=0).min()),
        "least_rise_of_pass": float(curve.diff(dim=0).min()),
        "path": {str(k): curve[:, :, KS.index(k)].mean(1).tolist() for k in (1, 256)},
        "before": p[0, 0].tolist(),
        "after": p[-1, 0].tolist(),
    }
