"""Lesson 12 on the exact rung: duals of regularised RL, ReCOIL, implicit maxima, values inside the support."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from toykit.control import (
    Chi2Maximum,
    LogSumExp,
    Quantile,
    TabularMDP,
    flow_residual,
    occupancy,
    policy_iteration,
    value_iteration,
)
from toykit.control.backups import Aggregator
from toykit.control.offline import dual_q, dual_v, recoil, regularised_return
from toykit.exact import leaf_log_probs
from toykit.lessons.base import Results
from toykit.objectives import divergence
from toykit.tasks import kl_bayes_tree, tree_mdp

STATES, ACTIONS, DISCOUNT, ALPHA, SHARE = 5, 3, 0.9, 0.1, 0.7
NAMES = ("chi2_reverse", "reverse_kl")
Q = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64)
RHO = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
LEVELS = (0.3, 0.5, 0.65, 0.8, 0.95)
ALPHAS = (1.0, 0.1, 0.01)


def run(seeds: tuple[int, ...] = (0,)) -> Results:
    """All exact results of the lesson; `seeds[0]` is that of the card's MDP, 40 more random ones follow it."""
    first, more = seeds[0], range(seeds[0] + 1, seeds[0] + 41)
    return {
        "duality": {name: duality(name, first) for name in NAMES},
        "others": {name: worst([duality(name, seed) for seed in more]) for name in NAMES},
        "recoil": recoils(first),
        "maximum": maxima(),
        "soft": soft(first),
        "slopes": slopes(),
        "support": support(first),
        "alphas": switched_off(first),
    }


def problem(seed: int) -> tuple[TabularMDP, Tensor, np.random.Generator]:
    """The card's MDP, the law [S, A] of its offline data, and the generator that made both."""
    rng = np.random.default_rng(seed)
    P, R = rng.dirichlet([0.5] * STATES, (STATES, ACTIONS)), rng.uniform(size=(STATES, ACTIONS))
    mdp = TabularMDP(P, R, DISCOUNT, start=np.full(STATES, 1 / STATES), terminal=[])
    return mdp, occupancy(mdp, rng.dirichlet([1.0] * ACTIONS, STATES)), rng


def duality(name: str, seed: int) -> Results:
    """C1 and C2: the dual's optimum beside the primal value of what it gives, and dual-Q of two policies."""
    mdp, offline, rng = problem(seed)
    if name == NAMES[1]:
        rng.dirichlet([1.0] * ACTIONS, STATES)  # the card draws chi-square's policy first
    found = dual_v(mdp, offline, ALPHA, name)
    policy = rng.dirichlet([1.0] * ACTIONS, STATES)
    given = dual_q(mdp, policy, offline, ALPHA, name)
    return {
        "dual": found.value,
        "primal": regularised_return(mdp, found.occupancy, offline, ALPHA, name),
        "flow": flow_residual(mdp, found.occupancy).abs().max().item(),
        "zeros": int((found.ratio == 0).sum()),
        "dual-Q at the best policy": dual_q(mdp, found.policy, offline, ALPHA, name).value,
        "dual-Q": given.value,
        "regularised return": regularised_return(mdp, occupancy(mdp, policy), offline, ALPHA, name),
    }


def worst(rows: list[Results]) -> Results:
    """The largest errors over several MDPs."""
    return {
        "duality": max(abs(row["dual"] - row["primal"]) for row in rows),
        "flow": max(row["flow"] for row in rows),
        "dual-Q": max(abs(row["dual-Q"] - row["regularised return"]) for row in rows),
    }


def recoils(seed: int) -> Results:
    """C3: ReCOIL of a random policy, the suboptimal one and the expert, with and without the expert's actions."""
    mdp, _, rng = problem(seed)
    rng.dirichlet([1.0] * ACTIONS, (2, STATES))  # the two policies of `duality`
    best = mdp.R.argmax(-1)
    expert = torch.full((STATES, ACTIONS), 0.02, dtype=torch.float64)
    expert[torch.arange(STATES), best] = 0.96
    covering, tried = (torch.from_numpy(rng.dirichlet([1.0] * ACTIONS, STATES)) for _ in range(2))
    without = covering.clone()
    without[torch.arange(STATES), best] = 0.0
    without = without / without.sum(-1, keepdim=True)
    return {
        name: {
            "random": recoil_of(mdp, tried, expert, suboptimal),
            "suboptimal": recoil_of(mdp, suboptimal, expert, suboptimal),
            "expert": recoil_of(mdp, expert, expert, suboptimal),
            "missing mass": occupancy(mdp, expert)[suboptimal == 0].sum().item(),
        }
        for name, suboptimal in (("covered", covering), ("not covered", without))
    }


def recoil_of(mdp: TabularMDP, policy: Tensor, expert: Tensor, suboptimal: Tensor) -> Results:
    """The dual's value, minus the divergence of the mixtures, and how far the residual is from f' of their ratio."""
    laws = occupancy(mdp, expert), occupancy(mdp, suboptimal)
    found = recoil(mdp, policy, *laws, share=SHARE)
    own, target = (SHARE * law + (1 - SHARE) * laws[1] for law in (occupancy(mdp, policy), laws[0]))
    f = divergence("chi2_reverse")
    values = (policy * found.q).sum(-1)
    residual = mdp.discount * mdp.expect(values) - found.q
    return {
        "dual": found.value,
        "primal": -f.value(own.flatten().log(), target.flatten().log()).item(),
        "residual": (residual - f.df(own.log() - target.log())).abs().max().item(),
    }


def total_variation(level: float, prior: Tensor) -> Quantile:
    """f-DVL's implicit maximum under total variation, for a level above 1/2."""
    return Quantile((2 * level - 1) / level, prior)


def maxima() -> Results:
    """C5: the implicit maxima of one state, by level; and the released loss where a value lies far below."""
    far, half = torch.tensor([0.0, 10.0], dtype=torch.float64), torch.tensor([0.5, 0.5], dtype=torch.float64)
    near_one = (0.9, 0.99, 0.999)
    return {
        "TV": [total_variation(level, RHO)(Q).item() for level in LEVELS if level > 0.5],
        "chi2": [Chi2Maximum(level, RHO)(Q).item() for level in LEVELS],
        "chi2, released": [Chi2Maximum(level, RHO, "code")(Q).item() for level in LEVELS],
        "chi2, conjugate": [Chi2Maximum(level, RHO, "conjugate")(Q).item() for level in (0.8, 0.95, 0.99, 0.999)],
        "XQL": [LogSumExp(alpha, RHO)(Q).item() for alpha in (2.0, 1.0, 0.5, 0.1)],
        "far below, released": [Chi2Maximum(level, half, "code")(far).item() for level in near_one],
        "far below": [Chi2Maximum(level, half)(far).item() for level in near_one],
        "quantile": max(abs(minimum_of_tv(level) - total_variation(level, RHO)(Q).item()) for level in (0.6, 0.7, 0.9)),
        "limit": total_variation(1 - 1e-9, RHO)(Q).item(),
    }


def minimum_of_tv(level: float) -> float:
    """The least v of a grid that minimises E[level max(q - v, 0) - (1 - level) (q - v)]."""
    grid = torch.linspace(-1, 4, 5001, dtype=torch.float64)
    x = Q - grid[:, None]
    loss = (RHO * (level * x.relu() - (1 - level) * x)).sum(-1)
    return grid[loss <= loss.min() + 1e-12][0].item()


def soft(seed: int) -> Results:
    """C4: XQL's loss at soft value iteration's fixed point, and the root of a completion tree."""
    mdp, offline, _ = problem(seed)
    prior = offline / offline.sum(-1, keepdim=True)
    found = value_iteration(mdp, LogSumExp(ALPHA, prior))
    z = (found.q - found.v[:, None]) / ALPHA
    slope = (prior * (1 - z.exp())).sum(-1).abs().max().item()  # d / dV of E[exp z - z - 1], times alpha
    return {"slope": slope, "tree": tree_root()}


def tree_root() -> list[float]:
    """On lesson 01's tree of completions: |V(root) - alpha log E_rho[exp(R / alpha)]| for several alpha."""
    task, logits = kl_bayes_tree()
    mdp = TabularMDP.of_tree(tree_mdp(task))
    prior = torch.cat([logits, torch.zeros(1, logits.shape[1])]).softmax(-1)  # the last state is the end
    log_rho = leaf_log_probs(task.tree, logits)
    found = []
    for alpha in ALPHAS:
        root = value_iteration(mdp, LogSumExp(alpha, prior)).v[0]
        found.append(abs((root - alpha * (log_rho + task.rewards[0] / alpha).logsumexp(-1)).item()))
    return found


def slopes(x: float = 20.0) -> Results:
    """C6: the slope of the three losses at x = (Q - V) / alpha."""
    at = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    losses = {"Gumbel": at.exp() - at - 1, "chi2": at + at.square() / 4, "TV": at.relu()}
    return {name: torch.autograd.grad(loss, at, retain_graph=True)[0].item() for name, loss in losses.items()}


def support(seed: int) -> Results:
    """Values of aggregators beside the best value that the data's actions allow, where the best action is missing."""
    rng = np.random.default_rng(seed)
    P, R = rng.dirichlet([0.5] * STATES, (STATES, ACTIONS)), rng.uniform(size=(STATES, ACTIONS))
    mdp = TabularMDP(P, R, DISCOUNT, terminal=[])
    prior = torch.from_numpy(rng.dirichlet([1.0] * ACTIONS, STATES))
    prior[torch.arange(STATES), mdp.R.argmax(-1)] = 0.0
    prior = prior / prior.sum(-1, keepdim=True)
    inside = policy_iteration(mdp.with_(allowed=prior > 0)).v
    aggregators: dict[str, Aggregator] = {
        "TV": total_variation(0.99, prior),
        "chi2": Chi2Maximum(0.99, prior),
        **{f"XQL {alpha:g}": LogSumExp(alpha, prior) for alpha in ALPHAS},
    }
    values = {name: value_iteration(mdp, aggregator, tol=1e-11).v for name, aggregator in aggregators.items()}
    return {
        "best": policy_iteration(mdp).v.tolist(),
        "inside": inside.tolist(),
        "off": {name: (inside - v).abs().max().item() for name, v in values.items()},
        "above": max((v - inside).max().item() for v in values.values()),
    }


def switched_off(seed: int, alphas: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)) -> Results:
    """How many pairs d* leaves out, and the best regularised return, by alpha: chi-square switches off, KL never."""
    mdp, offline, _ = problem(seed)
    found = {name: [dual_v(mdp, offline, alpha, name) for alpha in alphas] for name in NAMES}
    return {
        "alpha": list(alphas),
        "zeros": {name: [int((f.ratio == 0).sum()) for f in row] for name, row in found.items()},
        "return": {name: [(f.occupancy * mdp.R).sum().item() for f in row] for name, row in found.items()},
    }
