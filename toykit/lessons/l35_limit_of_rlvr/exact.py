"""Lesson 35 on the exact rung: 24 prompts that share their parameters, 64 completions each, every expectation a sum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from toykit.diagnostics import (
    accuracy_histogram,
    efficiency_gap,
    match_temperature,
    perplexity,
    solved,
    support_table,
)
from toykit.exact import (
    Push,
    RightPaths,
    ascend,
    entropy,
    even_push,
    group_push,
    informative,
    leaf_log_probs,
    likelihood_gradient,
    linear_logits,
    node_log_probs,
    shared,
)
from toykit.lessons.base import Results
from toykit.lessons.l35_limit_of_rlvr import estimator
from toykit.lessons.trained import trained_table
from toykit.objectives import Advantage, PolicyGradient
from toykit.policies import TabularLM
from toykit.rollouts import Enumerated, Given
from toykit.tasks import FeatureTree, Tree

LR = 2.0
STEPS = (0, 50, 200, 800, 2000)
KS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
SAMPLES = 1024  # a problem is solvable where so many samples more likely than not hold a right one
UNSEEN = 1 - 0.5 ** (1 / SAMPLES)  # the success rate at which that begins
COMPARED = 800  # steps of the algorithms that are compared
GRPO = partial(group_push, mean="group", std="group", ddof=0)


def dapo(log_pi: Tensor) -> Tensor:
    """GRPO's pushes over the share of prompts with mixed groups: dynamic sampling, in the limit of many prompts."""
    shares = informative(log_pi.exp().sum(-1).clamp(max=1.0), 8).mean(-1)
    return GRPO(log_pi) / shares.clamp(min=1e-12)[..., None, None]


ALGORITHMS: dict[str, Push] = {
    "GRPO": GRPO,
    "RLOO, ReMax": partial(group_push, group_size=math.inf, mean="none"),  # any independent baseline: p (1 - p)
    "REINFORCE++": partial(group_push, group_size=math.inf, mean="batch", std="batch"),  # the same at every G
    "DAPO": dapo,
}


@dataclass(frozen=True)
class World:
    """S feature trees side by side: the tree, the right paths and leaves (bool [S, n, L]), the base's weights."""

    tree: Tree
    paths: RightPaths
    correct: Tensor
    base: Tensor

    def logits(self, weights: Tensor) -> Tensor:
        """Node logits [..., S, n, N, V] under weights [..., S, N, V, d]."""
        return linear_logits(weights, self.paths.features)

    def rates(self, weights: Tensor) -> Tensor:
        """Success rates [..., S, n] under weights [..., S, N, V, d]; weights / T are those at temperature T."""
        flat = weights.reshape(-1, *self.base.shape)
        p = torch.stack([self.paths.log_probs(w).exp().sum(-1) for w in flat])
        return p.clamp(max=1.0).view(*weights.shape[: weights.dim() - 4], *p.shape[1:])

    def train(self, push: Push, keep: Sequence[int]) -> Tensor:
        """Weights [len(keep), S, N, V, d] along exact ascent from the base."""
        return ascend(self.paths.gradient(push), self.base, LR, keep)


def world(seeds: Sequence[int], overlaps: Sequence[float] = (2.0,), orthogonal: bool = False) -> World:
    """A setting for each pair of a seed and an overlap of the features, and its base.

    The base: 60 supervised steps on one quarter right leaves and three quarters noise, drawn from its own generator.
    """
    pairs = [(seed, overlap) for seed in seeds for overlap in overlaps]
    tasks = [FeatureTree(overlap=overlap, orthogonal=orthogonal, seed=seed) for seed, overlap in pairs]
    tree, features = tasks[0].tree, torch.stack([t.features for t in tasks])
    right = torch.stack([t.rewards for t in tasks])
    noise = [
        np.random.default_rng(seed + 100).dirichlet(0.3 * np.ones(tree.n_leaves), right.shape[1]) for seed, _ in pairs
    ]
    target = 0.25 * right / right.sum(-1, keepdim=True) + 0.75 * torch.tensor(np.stack(noise))
    start = torch.stack([t.initial_weights for t in tasks])
    base = ascend(shared(partial(_towards, tree, target), features), start, LR, [60])[0]
    return World(tree, RightPaths.of(tree, torch.stack([t.correct for t in tasks]), features), right > 0, base)


def _towards(tree: Tree, target: Tensor, logits: Tensor) -> Tensor:
    return likelihood_gradient(tree, logits, target)


def missed(p: Tensor, ks: Sequence[int] = KS) -> Tensor:
    """1 - pass@k [..., K]: the mean over problems of (1 - p)^k, for success rates `p` [..., n]; exact where tiny."""
    return torch.exp(torch.tensor(ks) * torch.log1p(-p[..., None])).mean(-2)


def run(seeds: tuple[int, ...] = (0, 1, 2, 3, 4)) -> Results:
    """All exact results of the lesson; every list over seeds is in their order."""
    made = world(seeds)
    trained = made.train(GRPO, STEPS)
    taught = made.train(even_push, STEPS[:4])
    p, q = made.rates(trained), made.rates(taught)
    return {
        "estimator": estimator.bias() | {"spread": estimator.spread()},
        "ks": list(KS),
        "steps": list(STEPS),
        "missed": {"RL": missed(p).tolist(), "distilled": missed(q).tolist()},
        "gap": efficiency_gap(p[:1], p, 256).tolist(),
        "solvable": solvable(p[0], p[-1]),
        "histogram": {name: histogram(r) for name, r in (("base", p[0]), ("RL", p[-1]), ("distilled", q[-1]))},
        "perplexity": perplexities(made, trained[-1], taught[-1]),
        "temperature": temperature(made, trained[-1]),
        "algorithms": algorithms(made, p),
        "orthogonal": orthogonal(seeds),
        "lost": lost(made, p, trained[-1], taught[-1]),
        "trainer": trainer_agrees(made, seeds[0]),
    }


def solvable(base: Tensor, trained: Tensor) -> Results:
    """C3: how many problems each of two policies [S, n] can solve in `SAMPLES` tries."""
    table = support_table(solved(base, SAMPLES), solved(trained, SAMPLES))
    cells = {"only base": table.lost, "both": table.preserved, "only RL": table.gained, "none": table.out}
    return {name: cell.tolist() for name, cell in cells.items()}


def histogram(p: Tensor) -> list[float]:
    """Mean over the seeds of `accuracy_histogram` of success rates `p` [S, n]."""
    return accuracy_histogram(p, edge=UNSEEN).mean(0).tolist()


def perplexities(made: World, trained: Tensor, taught: Tensor) -> Results:
    """C4: of whose completions under which model, {per: {"base(RL)": [[each prompt's] of each seed], ...}}."""
    tree = made.tree
    weights = {"base": made.base, "RL": trained, "distilled": taught}
    tokens = {k: node_log_probs(tree, made.logits(w))[..., tree.nodes, tree.tokens] for k, w in weights.items()}
    laws = {name: logp.sum(-1).exp() for name, logp in tokens.items()}
    laws["right"] = made.correct.double() / made.correct.sum(-1, keepdim=True)
    pairs = [("base", "base"), ("base", "RL"), ("RL", "RL"), ("base", "right"), ("base", "distilled")]
    return {
        per: {f"{m}({whose})": perplexity(tokens[m], tree.mask, laws[whose], per).tolist() for m, whose in pairs}
        for per in ("prompt", "completion")
    }


def temperature(made: World, trained: Tensor) -> Results:
    """The trained policy at the temperature where its mean entropy is that of the base at temperature 1."""

    def entropy_at(t: Tensor) -> Tensor:
        return entropy(leaf_log_probs(made.tree, made.logits(trained / t[:, None, None, None]))).mean(-1)

    whole = entropy(leaf_log_probs(made.tree, made.logits(made.base))).mean(-1)
    found = match_temperature(entropy_at, whole)
    return {
        "entropy": whole.tolist(),
        "before": entropy_at(torch.ones_like(found)).tolist(),
        "matched": found.tolist(),
        "missed": missed(made.rates(trained / found[:, None, None, None])).tolist(),
    }


def algorithms(made: World, grpo: Tensor) -> Results:
    """C5, C7: the gap of each algorithm after `COMPARED` steps, and GRPO with groups of 8 and of 32.

    `grpo` [steps, S, n] are GRPO's success rates at `STEPS`.
    """
    others: dict[str, Push] = {**ALGORITHMS, "GRPO, G = 32": partial(GRPO, group_size=32)}
    del others["GRPO"]

    def push(log_pi: Tensor) -> Tensor:
        return torch.stack([one(mine) for one, mine in zip(others.values(), log_pi, strict=True)])

    start = made.base.expand(len(others), *made.base.shape)
    weights = ascend(made.paths.repeat(len(others)).gradient(push), start, LR, [COMPARED])[0]
    rates = dict(zip(others, made.rates(weights), strict=True))
    rates = {"GRPO": grpo[STEPS.index(COMPARED)], **rates}
    large = rates.pop("GRPO, G = 32")
    return {
        "steps": COMPARED,
        "gap": {name: efficiency_gap(grpo[0], p, 256).tolist() for name, p in rates.items()},
        "missed": {name: missed(p).tolist() for name, p in rates.items()},
        "large_groups": missed(large).tolist(),
    }


def orthogonal(seeds: Sequence[int], keep: Sequence[int] = STEPS[:4]) -> Results:
    """The control: prompts whose features are orthogonal share nothing, so no prompt can be lost."""
    alone = world(seeds, orthogonal=True)
    p = alone.rates(alone.train(GRPO, keep))
    curves = missed(p)
    return {
        "steps": list(keep),
        "smallest_rise": float(p.diff(dim=0).min()),
        "largest_rise_missed": float((curves - curves[:1]).max()),
        "missed": curves.tolist(),
    }


def lost(made: World, p: Tensor, trained: Tensor, taught: Tensor) -> Results:
    """The problem of the first seed that the base solves most easily among those that RL has lost."""
    gone = solved(p[0, 0], SAMPLES) & ~solved(p[-1, 0], SAMPLES)
    x = int(torch.where(gone, p[0, 0], -1.0).argmax())
    laws = {
        name: leaf_log_probs(made.tree, made.logits(w)[0, x]).exp().tolist()
        for name, w in (("base", made.base), ("RL", trained), ("distilled", taught))
    }
    return {"prompt": x, "right": made.correct[0, x].nonzero()[:, 0].tolist(), "laws": laws}


def trainer_agrees(made: World, seed: int, steps: int = 10) -> Results:
    """The same code on every rung: the Trainer takes the exact steps of RL (enumerated) and of distillation (given).

    `seed` is that of the first setting of the world.
    """
    task = FeatureTree(seed=seed)
    tokens = task.tree.tokens[task.correct]
    given = Given(tokens, torch.ones_like(tokens, dtype=torch.bool))
    plain, grpo = Advantage(mean="none"), Advantage(mean="group", std="group", eps=0.0)
    arms: dict[str, tuple[PolicyGradient, Enumerated | Given, Push]] = {
        "policy gradient": (PolicyGradient(plain), Enumerated(), ALGORITHMS["RLOO, ReMax"]),
        "GRPO": (PolicyGradient(grpo), Enumerated(), partial(GRPO, group_size=math.inf)),
        "distilled": (PolicyGradient(plain), given, even_push),
    }
    errors = {}
    for name, (objective, strategy, push) in arms.items():
        policy = TabularLM.of(task, sharing="features", logits=made.base[0])
        table = trained_table(policy, task, objective, LR, steps, strategy=strategy)
        errors[name] = float((table - made.train(push, [steps])[0, 0]).abs().max())
    return {"steps": steps, "errors": errors}
