"""Lesson 01 on the exact rung: 64 completions, every expectation a sum."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor

from toykit.exact import (
    elbo,
    entropy,
    filtered,
    kl,
    leaf_log_probs,
    log_evidence,
    moment_target,
    node_log_probs,
    policy_gradient,
    posterior,
    scores,
)
from toykit.exact.flow import ascend
from toykit.lessons.base import Results
from toykit.lessons.trained import trained_table
from toykit.objectives import KL, Advantage, PolicyGradient, Posterior, PseudoReward, divergence
from toykit.policies import TabularLM
from toykit.tasks import Tree, TreeTask
from toykit.tasks.bandit import kl_bayes_tree

BETA = 0.2
LR = 2.0
STEPS = (0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)
OBJECTIVES = {"plain RL": "plain", "KL-RL": "kl_rl", "GDC": "forward_kl", "Jensen-Shannon": "js"}


def problem() -> tuple[TreeTask, Tensor, Tensor]:
    """(task, the prior's logits [21, 4], its log-probabilities [64])."""
    task, logits = kl_bayes_tree(0)
    return task, logits, leaf_log_probs(task.tree, logits)


def leaf_values(kind: str, log_pi: Tensor, log_prior: Tensor, rewards: Tensor, beta: Tensor | float) -> Tensor:
    """f [..., L] whose policy gradient E_pi[f grad log pi] is the exact gradient of what is ascended.

    `kind` is plain (E r), kl_rl (E r - beta KL(pi || prior)), or the name of a divergence to the posterior, which is
    descended: then f is the pseudo-reward -f'(pi / p). beta is a number or [..., 1].
    """
    if kind == "plain":
        return rewards
    if kind == "kl_rl":
        return rewards - beta * (log_pi - log_prior)
    return -divergence(kind).df(log_pi - (log_prior + rewards / beta).log_softmax(-1))


def flows(
    kinds: Iterable[str], rewards: Tensor, beta: Tensor | float = BETA, keep: tuple[int, ...] = STEPS
) -> dict[str, Tensor]:
    """{kind: log pi [len(keep), ..., 64]} along exact gradient ascent from the prior; one run for each beta [S, 1].

    The penalty's curvature grows with beta: above beta = 1 KL-RL's step shrinks as 1 / beta, or it would overshoot.
    """
    task, logits, log_prior = problem()
    kinds = tuple(kinds)

    def gradient(theta: Tensor) -> Tensor:
        log_pi = leaf_log_probs(task.tree, theta)
        values = [
            leaf_values(kind, p, log_prior, rewards, beta).expand_as(p) for kind, p in zip(kinds, log_pi, strict=True)
        ]
        return policy_gradient(task.tree, theta, torch.stack(values))

    settings = beta.shape[:-1] if isinstance(beta, Tensor) else ()
    curved = torch.as_tensor(beta, dtype=torch.float64).expand(*settings, 1)[..., None].clamp(min=1.0)
    lr = torch.stack([LR / curved if kind == "kl_rl" else LR * torch.ones_like(curved) for kind in kinds])
    path = ascend(gradient, logits.expand(len(kinds), *settings, *logits.shape), lr, keep)
    return dict(zip(kinds, leaf_log_probs(task.tree, path).unbind(1), strict=True))


@cache
def flows_by_beta(betas: tuple[float, ...], keep: tuple[int, ...]) -> dict[str, Tensor]:
    """log pi [len(keep), len(betas), 64] for each objective, for the explorer."""
    task, *_ = problem()
    return flows(OBJECTIVES.values(), task.rewards[0], torch.tensor(betas, dtype=torch.float64)[:, None], keep)


def run(seeds: tuple[int, ...] = (0,)) -> Results:
    """All exact results of the lesson. `seeds[0]` draws the random policies of C1 and C3; the problem is fixed."""
    return {
        "numbers": numbers(),
        "identity": identity(seeds[0]),
        "collapse": collapse(),
        "filter": binary(),
        "mean_field": mean_field(),
        "moments": moments(),
        "variance": variance(),
        "trainer": trainer_agrees(),
    }


def numbers() -> Results:
    """The problem in six numbers."""
    task, _, log_prior = problem()
    rewards = task.rewards[0]
    target = posterior(log_prior, rewards, BETA)
    return {
        "prior_entropy": float(entropy(log_prior)),
        "posterior_entropy": float(entropy(target)),
        "prior_reward": float((log_prior.exp() * rewards).sum()),
        "posterior_reward": float((target.exp() * rewards).sum()),
        "max_reward": float(rewards.max()),
        "evidence": float(BETA * log_evidence(log_prior, rewards, BETA)),
    }


def identity(seed: int, policies: int = 20) -> Results:
    """C1, C3: J = beta log Z - beta KL(pi || pi*) at random policies, in value and in gradient."""
    task, _, log_prior = problem()
    rewards = task.rewards[0]
    theta = torch.tensor(np.random.default_rng(seed).normal(size=(policies, 21, 4)), requires_grad=True)
    parts = elbo(leaf_log_probs(task.tree, theta), log_prior, rewards, BETA)
    (ours,) = torch.autograd.grad(parts.value.sum(), theta, retain_graph=True)
    (theirs,) = torch.autograd.grad(-parts.gap.sum(), theta)
    best = elbo(posterior(log_prior, rewards, BETA), log_prior, rewards, BETA)
    return {
        "value_error": float((parts.value - (parts.evidence - parts.gap)).abs().max().detach()),
        "gradient_error": float((ours - theirs).abs().max()),
        "smallest_gap": float(parts.gap.min().detach()),
        "gap_at_posterior": float((best.evidence - best.value).abs()),
    }


def collapse() -> Results:
    """C2, C3: exact gradient ascent from the prior on four objectives."""
    task, _, log_prior = problem()
    rewards = task.rewards[0]
    target = posterior(log_prior, rewards, BETA)
    paths = flows(OBJECTIVES.values(), rewards)
    at_target = target_node_logits(task.tree, target)
    values = leaf_values("kl_rl", target, log_prior, rewards, BETA)
    return {
        "gradient_at_posterior": float(policy_gradient(task.tree, at_target, values).abs().max()),
        "steps": list(STEPS),
        "entropy": {kind: entropy(p).tolist() for kind, p in paths.items()},
        "kl": {kind: kl(p, target.expand_as(p)).tolist() for kind, p in paths.items()},
        "best": {kind: p[:, rewards.argmax()].exp().tolist() for kind, p in paths.items()},
        "objective": elbo(paths["kl_rl"], log_prior, rewards, BETA).value.tolist(),
    }


def binary() -> Results:
    """C4: r = 1 on the completions whose index 8 divides. KL-RL goes to the filtered prior, plain RL to a winner."""
    _, _, log_prior = problem()
    b = (torch.arange(64) % 8 == 0).double()
    keep = filtered(log_prior, b > 0)
    betas = (1.0, 0.3, 0.1, 0.05, 0.02)
    targets = [posterior(log_prior, b, beta) for beta in betas]
    plain = flows(["plain"], b, keep=(10_000,))["plain"][0]
    return {
        "prior_mass": float((log_prior.exp() * b).sum()),
        "betas": list(betas),
        "kl": [float(kl(keep, t)) for t in targets],
        "minus_log_mass": [float(-(t.exp() * b).sum().log()) for t in targets],
        "plain_mass": float((plain.exp() * b).sum()),
        "plain_entropy": float(entropy(plain)),
        "filter_entropy": float(entropy(keep)),
        "plain_kl_within": float(kl(filtered(plain, b > 0), keep)),
    }


def mean_field(steps: int = 2_000) -> Results:
    """C5: the best factorised policy under either direction of the KL, for two good completions out of sixteen.

    A `TabularLM` with sharing="position" is the factorised family. Each position has two logits of which one would do;
    lr 0.25 on two moves their difference as 0.5 on one does.
    """
    tree = Tree(2, horizon=4)
    rewards = torch.zeros(16, dtype=torch.float64)
    rewards[[0, 15]] = 1.0
    prior = torch.full((16,), -np.log(16.0), dtype=torch.float64)
    target = posterior(prior, rewards, 0.25)
    task = TreeTask(tree, rewards)
    rows = TabularLM.of(task, sharing="position").rows[-tree.n_nodes :]
    starts = [np.random.default_rng(seed).normal(size=4) * 0.1 for seed in range(3)]
    start = torch.tensor(np.stack([np.zeros_like(starts), starts], -1))

    def gradient(theta: Tensor, kind: str) -> Tensor:
        values = leaf_values(kind, leaf_log_probs(tree, theta[..., rows, :]), prior, rewards, 0.25)
        return torch.zeros_like(theta).index_add(-2, rows, policy_gradient(tree, theta[..., rows, :], values))

    found: Results = {}
    for kind in ("forward_kl", "reverse_kl"):
        theta = ascend(partial(gradient, kind=kind), start, 0.25, keep=(steps,))[0]
        last = leaf_log_probs(tree, theta[..., rows, :])
        found[kind] = {
            "kl": divergence(kind).value(last, target.expand_as(last)).tolist(),
            "reward": (last.exp() * rewards).sum(-1).tolist(),
            "ones": theta.softmax(-1)[..., 1].tolist(),
            "logits": (theta[..., 1] - theta[..., 0]).tolist(),
            "best": [int(i) for i in last.argmax(-1)],
        }
    marginals = torch.stack([(target.exp() * (tree.tokens[:, t] == 1)).sum() for t in range(4)])
    return found | {"marginals": marginals.tolist(), "posterior": target.exp().tolist(), "beta": 0.25}


def moments() -> Results:
    """C6: the law nearest the prior with given moments, and Pythagoras for another law with the same moments."""
    task, _, log_prior = problem()
    tokens = task.tree.tokens
    features = torch.stack([(tokens == 3).any(1), tokens[:, 0] == 0], 1).double()
    wanted = torch.tensor([0.5, 0.6], dtype=torch.float64)
    p = moment_target(log_prior, features, wanted)
    drawn = torch.tensor(np.log(np.random.default_rng(2).dirichlet(np.ones(64))))
    s = moment_target(drawn, features, wanted).log_p
    return {
        "base": (log_prior.exp() @ features).tolist(),
        "multipliers": p.multipliers.tolist(),
        "kl": float(kl(p.log_p, log_prior)),
        "left": float(kl(s, log_prior)),
        "right": float(kl(s, p.log_p) + kl(p.log_p, log_prior)),
    }


def variance() -> Results:
    """C7: bias and variance of the one-sample DPG gradient with and without the baseline Z, at the prior and at p."""
    task, logits, log_prior = problem()
    rewards = task.rewards[0]
    log_score = log_prior + rewards / BETA
    z = log_score.logsumexp(-1).exp()
    target_logits = target_node_logits(task.tree, log_score)
    found: Results = {"z": float(z)}
    for where, theta in (("prior", logits), ("target", target_logits)):
        log_pi = leaf_log_probs(task.tree, theta)
        s = scores(task.tree, theta).flatten(1)
        for name, b in (("zero", 0.0), ("z", z)):
            one = ((log_score - log_pi).exp() - b)[:, None] * s
            mean = log_pi.exp() @ one
            spread = log_pi.exp() @ ((one - mean) ** 2).sum(-1)
            found[f"{where}_{name}"] = {"mean": mean.tolist(), "variance": float(spread)}
    return found


def target_node_logits(tree: Tree, log_score: Tensor) -> Tensor:
    """Node logits [N, V] of the law proportional to exp(log_score [L]): each token's logit is the mass behind it."""
    mass = torch.zeros(tree.n_nodes, tree.n_actions, dtype=log_score.dtype)
    p = log_score.softmax(-1)
    for t in range(tree.horizon):
        here = tree.mask[:, t]
        mass.index_put_((tree.nodes[here, t], tree.tokens[here, t]), p[here], accumulate=True)
    return mass.log()


def trainer_agrees(steps: int = 25) -> Results:
    """The same code on every rung: the Trainer on enumerated rollouts takes the steps of the exact flow."""
    task, logits, _ = problem()
    plain = Advantage(mean="none")
    objectives = {
        "plain": PolicyGradient(plain),
        "kl_rl": PolicyGradient(plain, kl=KL(BETA, "k1", route="reward")),
        "forward_kl": PolicyGradient(plain, signal=PseudoReward(Posterior(BETA))),
        "js": PolicyGradient(plain, signal=PseudoReward(Posterior(BETA), "js")),
    }
    theirs = flows(objectives, task.rewards[0], keep=(steps,))
    errors = {}
    for kind, objective in objectives.items():
        table = trained_table(TabularLM.of(task, logits=logits), task, objective, LR, steps)
        ours = leaf_log_probs(task.tree, node_log_probs(task.tree, table))
        errors[kind] = float((ours - theirs[kind][0]).abs().max())
    return {"steps": steps, "errors": errors}
