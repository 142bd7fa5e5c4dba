"""What of ROVER is learned: Q tables from episodes, and the practical loss on sampled groups of the card's tree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from toykit.control import Max, Mean, TabularMDP, soft_td, uniform_policy
from toykit.exact import leaf_log_probs
from toykit.lessons.base import Results
from toykit.lessons.l16_rover.card import card_tree, effective
from toykit.lessons.trained import trained_table
from toykit.objectives import OLD_MEAN, Advantage, Batch, Clip, Objective, PolicyGradient, Rover
from toykit.policies import TabularLM
from toykit.rollouts import Rollouts, of_leaves
from toykit.tasks import TreeTask
from toykit.tasks.bandit import kl_bayes_tree

TD_RHOS, TD_LR, EPISODES = (0.1, 0.05, 0.02), 0.2, 4000
GROUP, LR, ITERATIONS = 16, 0.5, 400
KEPT = (*range(0, 100, 5), *range(100, ITERATIONS + 1, 10))
REINFORCE = PolicyGradient(Advantage(), aggregate="token_mean")
LEARNERS: dict[str, tuple[Objective, float, int]] = {  # objective, step, inner steps a group
    "ROVER": (Rover(), LR, 4),
    "GRPO": (
        PolicyGradient(Advantage(std="group", ddof=0), ratio="token", clip=Clip(), aggregate="token_mean"),
        LR,
        4,
    ),
    "REINFORCE": (REINFORCE, 2 * LR, 1),
}


def td(seeds: Sequence[int]) -> Results:
    """D: tables learned by TD from episodes of softmax(Q / rho), with the mean and the maximum as backup.

    {backup: {"success", "effective": [rho][seed]}} of the final policies, exact.
    """
    task = card_tree()
    mdp, right = TabularMDP.of_tree(task.as_mdp()), task.rewards[0] > 0
    q = soft_td(mdp, (Mean(uniform_policy(mdp)), Max()), TD_RHOS, TD_LR, EPISODES, seeds)
    rho = torch.tensor(TD_RHOS, dtype=torch.float64)[:, None, None, None]
    log_p = leaf_log_probs(task.tree, q[..., :-1, :] / rho)
    success, number = (log_p.exp() * right).sum(-1), effective(log_p, right)
    return {
        name: {"success": success[i].tolist(), "effective": number[i].tolist()}
        for i, name in enumerate(("mean", "max"))
    }


def groups_of(task: TreeTask, logits: Tensor, leaves: Tensor) -> Rollouts:
    """Groups of leaves [N, G] as batches [N, 1, G], each drawn by its own policy, logits [N, nodes, A]."""
    log_p, at = logits.log_softmax(-1), task.tree.nodes[leaves]
    rows = torch.arange(len(leaves))[:, None, None]
    made = of_leaves(task, leaves, log_p[0][task.tree.nodes, task.tree.tokens])
    old = log_p[rows, at, task.tree.tokens[leaves]][:, None]
    return made.with_(old_logp=old, extras={OLD_MEAN: log_p.mean(-1)[rows, at][:, None]})


def slope(objective: Objective, prepared: Batch, logits: Tensor, task: TreeTask, leaves: Tensor) -> Tensor:
    """The gradient [N, nodes, A] of the loss at logits [N, nodes, A], for groups of leaves [N, G]."""
    z = logits.detach().requires_grad_()
    log_p, at = z.log_softmax(-1), task.tree.nodes[leaves]
    rows = torch.arange(len(leaves))[:, None, None]
    logp = log_p[rows, at, task.tree.tokens[leaves]][:, None]
    loss, _ = objective.loss(logp, prepared, log_p.detach().mean(-1)[rows, at][:, None, ..., None])
    return torch.autograd.grad(loss.sum(), z)[0]


def train(name: str, seeds: Sequence[int], kept: Sequence[int] = KEPT) -> Tensor:
    """Logits [len(kept), seeds, nodes, A] of tables that a learner trains from zero logits on sampled groups."""
    objective, lr, inner = LEARNERS[name]
    task, draws, found = card_tree(), [np.random.default_rng(seed) for seed in seeds], []
    logits = torch.zeros(len(seeds), task.tree.n_nodes, task.tree.n_actions, dtype=torch.float64)
    for iteration in range(max(kept) + 1):
        if iteration in kept:
            found.append(logits)
        laws = leaf_log_probs(task.tree, logits).exp().numpy()
        drawn = [d.choice(len(p), GROUP, p=p / p.sum()) for d, p in zip(draws, laws, strict=True)]
        leaves = torch.tensor(np.stack(drawn))
        prepared = objective.prepare(groups_of(task, logits, leaves))
        for _ in range(inner):
            logits = logits - lr * slope(objective, prepared, logits, task, leaves)
    return torch.stack(found)


def training(seeds: Sequence[int]) -> Results:
    """E: success and effective number of every learner on the way, exact, in the shape of `compare`'s results."""
    task, runs = card_tree(), {}
    right = task.rewards[0] > 0
    for name in LEARNERS:
        log_p = leaf_log_probs(task.tree, train(name, seeds))
        success = (log_p.exp() * right).sum(-1)
        runs[name] = {"pass@1": success.T.tolist(), "effective": effective(log_p, right).T.tolist()}
    return {"stops": list(KEPT), "runs": runs}


def first_steps() -> Results:
    """C5: the largest difference between ROVER's gradient and 2 rho REINFORCE's on 64 groups of graded rewards, at the
    behaviour policy and after one step of size 1/2; the largest gradient too."""
    task, start = kl_bayes_tree()
    draw = torch.Generator().manual_seed(0)
    logits = start + torch.randn(64, *start.shape, generator=draw, dtype=torch.float64)
    leaves = torch.randint(task.tree.n_leaves, (64, GROUP), generator=draw)
    made, found = groups_of(task, logits, leaves), {"first": 0.0, "second": 1.0, "largest": 1.0}
    for rho, beta, std in ((1.0, 1.0, "none"), (0.3, 2.0, "none"), (2.0, 0.0, "group")):
        advantage = Advantage(std=std)
        pair: tuple[Objective, ...] = Rover(rho, beta, advantage), REINFORCE.with_(advantage=advantage)
        prepared = [objective.prepare(made) for objective in pair]
        at = logits
        for step in ("first", "second"):
            own, other = (slope(o, p, at, task, leaves) for o, p in zip(pair, prepared, strict=True))
            gap = (own - 2 * rho * other).abs().amax((-2, -1))
            found[step] = max(found[step], float(gap.max())) if step == "first" else min(found[step], float(gap.min()))
            found["largest"] = min(found["largest"], float(own.abs().amax((-2, -1)).min()))
            at = at - 0.5 * own
    return found


def trainer_agrees(steps: int = 5) -> float:
    """S1: the largest difference, in any logit, of the Trainer's steps and of the same by hand, on all completions."""
    task, objective = card_tree(), Rover(0.5, 1.0)
    logits = torch.zeros(1, task.tree.n_nodes, task.tree.n_actions, dtype=torch.float64)
    leaves = torch.arange(task.tree.n_leaves)[None]
    for _ in range(steps):
        weights = leaf_log_probs(task.tree, logits).exp()[:, None]
        made = groups_of(task, logits, leaves).with_(weights=weights, enumerated=True)
        prepared = objective.prepare(made)
        for _ in range(4):
            logits = logits - LR * slope(objective, prepared, logits, task, leaves)
    theirs = trained_table(TabularLM.of(task), task, objective, LR, steps, epochs=4)
    return float((theirs - logits[0]).abs().max())
