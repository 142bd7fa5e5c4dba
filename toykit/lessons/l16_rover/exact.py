"""Lesson 16 on the exact rung: trees, the values of the uniform policy, and what is lost where the theorem ends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from toykit.control import (
    TabularMDP,
    dice_tree,
    expected_return,
    greedy_actions,
    softmax_bound,
    softmax_policy,
    uniform_values,
    value_iteration,
    worst_greedy_value,
)
from toykit.exact import leaf_log_probs
from toykit.lessons.base import Results
from toykit.lessons.l16_rover import practice
from toykit.lessons.l16_rover.card import card_tree, effective
from toykit.tasks import Tree, TreeTask

RHOS = (1.0, 0.3, 0.1, 0.05, 0.02, 0.001)  # of the card's table
GRID = tuple(np.geomspace(100.0, 0.0005, 40).tolist())
TREES = 300
NEAR = 1e-12


def run(seeds: tuple[int, ...] = tuple(range(10))) -> Results:
    """All exact results of the lesson; `seeds` are those of the learners (0 to 5 are the card's)."""
    return {
        "binary": binary(),
        "graded": graded(),
        "dice": dice(),
        "table": table(),
        "scale": scale(),
        "gradient": practice.first_steps(),
        "td": practice.td(seeds[:6]),
        "practical": practice.training(seeds),
        "trainer": practice.trainer_agrees(),
    }


def nodes(q: Tensor, task: TreeTask) -> Tensor:
    """Q [prompts, nodes, A] of the states of a tree task's MDP [S, A], whose last state is the end."""
    return q[:-1].unflatten(0, (len(task.rewards), -1))


def solved(task: TreeTask) -> tuple[Tensor, Tensor]:
    """(what the worst greedy policy on Q_u earns, what the best policy earns), each for every prompt [n]."""
    mdp = TabularMDP.of_tree(task.as_mdp())
    worst, best = worst_greedy_value(mdp, uniform_values(mdp)), value_iteration(mdp).v
    return worst[mdp.start > 0], best[mdp.start > 0]


def random_trees() -> list[TreeTask]:
    """Trees of seeds 0, 1, ...: V in 2..5, T in 1..4, leaves right with probability .02, .1 or .4; one task a shape."""
    made: dict[tuple[int, int], list[np.ndarray]] = {}
    for seed in range(TREES):
        draw = np.random.default_rng(seed)
        shape = int(draw.integers(2, 6)), int(draw.integers(1, 5))
        share = draw.choice([0.02, 0.1, 0.4])
        made.setdefault(shape, []).append(draw.random(shape[0] ** shape[1]) < share)
    return [TreeTask(Tree(*shape), np.array(rows, dtype=float)) for shape, rows in made.items()]


def binary() -> Results:
    """C1, C3 and C4 on random trees: how many are solved, the least that the bound leaves, and how the effective number
    of right completions moves as rho falls along GRID."""
    optimal = solvable = rising = 0
    slack, most = [], 0.0
    for task in random_trees():
        worst, best = solved(task)
        optimal += int((worst >= best - NEAR).sum())
        mdp = TabularMDP.of_tree(task.as_mdp())
        q = uniform_values(mdp)
        slack += [expected_return(mdp, softmax_policy(q, rho)) - softmax_bound(mdp, q, rho) for rho in RHOS]
        some = best > 0
        solvable += int(some.sum())
        right = task.rewards[some] > 0
        numbers = torch.stack([effective(leaf_log_probs(task.tree, nodes(q, task)[some] / x), right) for x in GRID])
        rise = (numbers - numbers.cummin(0).values).amax(0)
        rising, most = rising + int((rise > 1e-9).sum()), max(most, float(rise.amax()))
    return {
        "trees": TREES,
        "optimal": optimal,
        "solvable": solvable,
        "slack": min(slack),
        "rising": rising,
        "largest rise": most,
    }


def graded() -> Results:
    """C2: trees of three tokens and four places whose leaves pay a number in [0, 1) with probability .3."""
    rows = []
    for seed in range(TREES):
        draw = np.random.default_rng(seed)
        values, kept = draw.random(81), draw.random(81) < 0.3
        rows.append(values * kept)
    worst, best = solved(TreeTask(Tree(3, horizon=4), np.array(rows)))
    return {"optimal": int((worst >= best - NEAR).sum()), "lost": float((best - worst).max())}


def dice() -> Results:
    """C2: the card's stochastic tree."""
    mdp = dice_tree()
    q = uniform_values(mdp)
    best = value_iteration(mdp)
    return {
        "uniform": q[0, :2].tolist(),
        "best": best.q[0, :2].tolist(),
        "greedy": float(worst_greedy_value(mdp, q)[0]),
        "optimum": float(best.v[0]),
    }


def at_rho(mdp: TabularMDP, task: TreeTask, q: Tensor, rho: float) -> tuple[float, float, float]:
    """(value, bound, effective number of right completions) of softmax(q / rho) on a task of one prompt."""
    number = effective(leaf_log_probs(task.tree, nodes(q, task)[0] / rho), task.rewards[0] > 0)
    return expected_return(mdp, softmax_policy(q, rho)), softmax_bound(mdp, q, rho), float(number)


def table(rhos: Sequence[float] = RHOS) -> Results:
    """C3 and C4 on the card's tree: the card's table, curves, both limits, and what becomes of the best branches."""
    task = card_tree()
    mdp = TabularMDP.of_tree(task.as_mdp())
    q = uniform_values(mdp)
    policy, best = softmax_policy(q, 1e-4), greedy_actions(q) & mdp.allowed
    live = (q.amax(-1) > NEAR) & ~mdp.terminal
    shared = best.double() / best.sum(-1, keepdim=True)
    return {
        "success": expected_return(mdp, softmax_policy(q, 1e9)),
        "rows": [at_rho(mdp, task, q, rho) for rho in rhos],
        "grid": list(GRID),
        "curves": [at_rho(mdp, task, q, rho) for rho in GRID],
        "uniform": float((softmax_policy(q, 1e9) - 0.25)[live].abs().max()),
        "kept": float((policy - shared)[live].abs().max()),
    }


def scale() -> Results:
    """The exercise: two branches with 3 and 1 right of 64 leaves each; the odds of their first tokens at rho = 1/64."""
    rewards = np.zeros((2, 64))
    rewards[0, :3], rewards[1, 0] = 1.0, 1.0
    task = TreeTask(
        Tree.of([(branch, leaf) for branch in range(2) for leaf in range(64)], n_actions=64), rewards.ravel()
    )
    q = uniform_values(TabularMDP.of_tree(task.as_mdp()))[0, :2]
    p = softmax_policy(q, 1 / 64)
    return {"values": (64 * q).tolist(), "odds": float(p[0] / p[1])}
