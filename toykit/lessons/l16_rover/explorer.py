"""The explorer of lesson 16: a tree with edges as thick as Q_u, and what breaks the theorem."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor

from toykit.control import (
    TabularMDP,
    evaluate,
    softmax_policy,
    uniform_values,
    value_iteration,
    visits,
    worst_greedy_value,
)
from toykit.exact import leaf_log_probs
from toykit.lessons.l16_rover.card import effective
from toykit.plots import Choice, Slider, explore, figure, wipe
from toykit.plots.explorer import Explorer
from toykit.plots.style import CYCLE
from toykit.tasks import Tree, TreeTask

TREE = Tree(3, horizon=3)
RIGHT = {0: (0, 1, 3, 4, 6, 8), 1: (4,), 2: (2, 7)}  # right leaves below each first token, of nine
PAYS = {0: 0.4, 1: 1.0, 2: 0.7}  # where rewards are graded
RHOS = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 3.0)


class World(NamedTuple):
    """A tree and what the uniform policy's values make of it, for every rho of RHOS."""

    mdp: TabularMDP
    rewards: Tensor
    q: Tensor
    greedy: float
    best: float
    values: Tensor
    numbers: Tensor


@cache
def world(graded: bool, dice: bool) -> World:
    """With `dice` the first token leads on with probability 1/2, and else to the end without success."""
    rewards = torch.zeros(27, dtype=torch.float64)
    for branch, places in RIGHT.items():
        for place in places:
            rewards[9 * branch + place] = PAYS[branch] if graded else 1.0
    mdp = TabularMDP.of_tree(TreeTask(TREE, rewards).as_mdp()).to_dense()
    if dice:
        P = mdp.P.clone()
        P[0, 0] *= 0.5
        P[0, 0, -1] = 0.5
        mdp = mdp.with_(P=P)
    q = uniform_values(mdp)
    chance = torch.ones(27, dtype=torch.float64)
    chance[:9] = 0.5 if dice else 1.0
    values, numbers = [], []
    for rho in RHOS:
        values.append((evaluate(mdp, softmax_policy(q, rho)) @ mdp.start).item())
        numbers.append(float(effective(leaf_log_probs(TREE, q[:-1] / rho) + chance.log(), rewards > 0)))
    greedy, best = worst_greedy_value(mdp, q)[0], value_iteration(mdp).v[0]
    return World(mdp, rewards, q, float(greedy), float(best), torch.tensor(values), torch.tensor(numbers))


def _places() -> list[tuple[float, float]]:
    """(x, y) of every node and then of every leaf: a completion's place along x, its length down y."""
    nodes = [(0.0, 0.0)] * TREE.n_nodes
    for node in range(TREE.n_nodes):
        below = (TREE.nodes == node).any(-1).nonzero()[:, 0].double()
        depth = 0 if node == 0 else (1 if node <= 3 else 2)
        nodes[node] = (below.mean().item(), -float(depth))
    return nodes + [(float(leaf), -3.0) for leaf in range(TREE.n_leaves)]


@cache
def _edges() -> tuple[list[list[tuple[float, float]]], list[tuple[int, int]]]:
    """The lines of the tree, and the (node, token) of each."""
    places, lines, whose = _places(), [], []
    for node in range(TREE.n_nodes):
        for token in range(3):
            child = int(TREE.child[node, token])
            leaf = int(((TREE.nodes == node) & (TREE.tokens == token)).any(-1).nonzero()[0, 0])
            lines.append([places[node], places[child if child >= 0 else TREE.n_nodes + leaf]])
            whose.append((node, token))
    return lines, whose


@cache
def _frame() -> tuple[Figure, Any]:
    return figure(3, height=3.4, width=9.8, widths=(2.2, 1, 1))


def tree_figure(rho: float = 0.1, rewards: str = "one reward", nodes: str = "tokens alone") -> Figure:
    """The tree, edges as thick as Q_u and as dark as softmax(Q_u / rho) takes them; value and number against rho."""
    found, at = world(rewards == "graded", nodes == "dice node"), RHOS.index(rho)
    made, _ = _frame()
    left, middle, right = wipe(made)
    lines, whose = _edges()
    policy = softmax_policy(found.q, rho)
    taken = visits(found.mdp, policy)
    thick = [0.4 + 7 * float(found.q[s, a]) for s, a in whose]
    shade = [0.25 + 0.75 * min(float(taken[s, a]), 1.0) ** 0.5 for s, a in whose]
    left.add_collection(LineCollection(lines, linewidths=thick, colors=[(0.0, 0.28, 0.6, x) for x in shade]))
    for leaf, pays in enumerate(found.rewards.tolist()):
        if pays > 0:
            left.plot(leaf, -3, "s", color="#117733", markersize=6)
            left.text(leaf, -3.32, f"{pays:g}"[-2:], ha="center", fontsize=8)
        else:
            left.plot(leaf, -3, "o", color="white", markeredgecolor="#999999", markersize=4)
    for branch, (x, y) in enumerate(_places()[1:4]):
        side = -1 if branch == 0 else 1  # away from the edge above
        left.text(x + 0.6 * side, y + 0.08, f"{found.q[0, branch]:.2f}", fontsize=9, ha="right" if side < 0 else "left")
    if nodes == "dice node":
        left.text(6.6, -0.38, "dice: 1/2 lead on", fontsize=9, ha="right")
    left.set(title="edges as thick as $Q_u$; squares are right", xlim=(-1, 27), ylim=(-3.6, 0.4), xticks=[], yticks=[])
    left.grid(False)
    for ax, row, title in ((middle, found.values, "value"), (right, found.numbers, "effective right ones")):
        ax.plot(RHOS, row, color=CYCLE[0].color)
        ax.plot([rho], [row[at]], "o", color=CYCLE[0].color)
        ax.set(title=title, xlabel="ρ", xscale="log")
    middle.axhline(found.best, color="#888888", linestyle=":")
    middle.text(RHOS[-1], found.best + 0.02, "the best", ha="right", fontsize=8)
    middle.set(ylim=(0, 1.12))
    right.set(ylim=(0, 9.5))
    return made


def tree_words(rho: float = 0.1, rewards: str = "one reward", nodes: str = "tokens alone") -> str:
    """What `tree_figure` shows, in words."""
    found, at = world(rewards == "graded", nodes == "dice node"), RHOS.index(rho)
    q = ", ".join(f"{x:.2f}" for x in found.q[0].tolist())
    worst = "which is the best" if found.greedy >= found.best - 1e-12 else f"and the best policy {found.best:.3g}"
    return (
        f"Q_u of the three first tokens is {q}. At ρ = {rho:g} the softmax policy earns "
        f"{float(found.values[at]):.4f} with {float(found.numbers[at]):.2f} effective right completions of 9; the "
        f"greedy policy earns {found.greedy:.3g}, {worst}."
    )


def tree_explorer(live: bool | None = None) -> Explorer:
    """How greedy the softmax is, whether rewards are graded, and whether chance plays a part."""
    controls: dict[str, Any] = {
        "rho": Slider.at(RHOS, default=0.1, label="ρ"),
        "rewards": Choice(("one reward", "graded")),
        "nodes": Choice(("tokens alone", "dice node")),
    }
    presets: dict[str, dict[str, Any]] = {
        "uniform": {"rho": 3.0},
        "in between": {"rho": 0.1},
        "greedy": {"rho": 0.01},
        "graded": {"rho": 0.01, "rewards": "graded"},
        "dice node": {"rho": 0.01, "nodes": "dice node"},
    }
    return explore(tree_figure, controls, presets, tree_words, live)
