"""Random MDPs: dense ones, linear ones with their features, and completion trees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from toykit._checks import at_least, positive
from toykit.control.mdp import TabularMDP
from toykit.control.worlds.noise import slippery
from toykit.tasks.bandit import TreeTask
from toykit.tasks.tree import Tree


def random_dense(
    n_states: int, n_actions: int, concentration: float = 1.0, discount: float = 0.95, seed: int = 0
) -> TabularMDP:
    """Next states from a symmetric Dirichlet law, then rewards uniform on [0, 1]; every state may be the first.

    concentration  of the Dirichlet law: small ones lead to few states, 1 is uniform over all distributions

    Raises ValueError for sizes below 1 and a concentration that is not positive.
    """
    at_least("n_states", n_states, 1)
    at_least("n_actions", n_actions, 1)
    rng = np.random.default_rng(seed)
    P = rng.dirichlet(np.full(n_states, positive("concentration", concentration)), (n_states, n_actions))
    return TabularMDP(P, rng.random((n_states, n_actions)), discount)


@dataclass(frozen=True, eq=False)
class LinearMDP:
    """An MDP with P = features measures and R = features weights.

    mdp; features [S, A, d]; measures [d, S], a signed measure over next states each; weights [d]
    """

    mdp: TabularMDP
    features: Tensor
    measures: Tensor
    weights: Tensor

    @classmethod
    def one_hot(cls, mdp: TabularMDP) -> Self:
        """Any MDP is linear in the one-hot features of its states and actions, d = S A."""
        mdp = mdp.to_dense()
        n = mdp.n_states * mdp.n_actions
        features = torch.eye(n, dtype=torch.float64).view(mdp.n_states, mdp.n_actions, n)
        return cls(mdp, features, mdp.P.flatten(0, 1), mdp.R.flatten())


def linear_mdp(n_states: int, n_actions: int, horizon: int, n_features: int, seed: int = 0) -> LinearMDP:
    """A random MDP that is linear in few features: these are distributions over `n_features` hidden causes.

    Features and measures are uniform over the distributions, weights uniform on [0, 1]; episodes start in state 0.
    Raises ValueError for sizes below 1. Source: linear MDPs as Jin et al. (2020) have them, whose example of a simplex
    this is.
    """
    for name, size in (("n_states", n_states), ("n_actions", n_actions), ("n_features", n_features)):
        at_least(name, size, 1)
    rng = np.random.default_rng(seed)
    features = torch.from_numpy(rng.dirichlet(np.ones(n_features), (n_states, n_actions)))
    measures = torch.from_numpy(rng.dirichlet(np.ones(n_states), n_features))
    weights = torch.from_numpy(rng.random(n_features))
    mdp = TabularMDP(features @ measures, features @ weights, horizon=horizon, start=0)
    return LinearMDP(mdp, features, measures, weights)


def completion_tree(
    seed: int = 0, graded: bool = False, slip: float = 0.0, n_tokens: int = 3, length: int = 4
) -> TabularMDP:
    """A tree of all completions of `length` tokens whose leaves pay at random; an episode has `length` steps.

    graded  False: a leaf pays 1 with probability 0.1; True: a uniform number from [0, 1) with probability 0.3
    slip    the probability that a uniform token follows in the place of the chosen one

    Leaves are drawn in lexicographic order, from numpy's `default_rng(seed)`, graded ones their number first. States
    are the prefixes, breadth first, and the end, the last. Raises ValueError for sizes below 1 and a slip outside
    [0, 1].
    """
    at_least("n_tokens", n_tokens, 1)
    at_least("length", length, 1)
    tree, rng = Tree(n_tokens, length), np.random.default_rng(seed)
    if graded:
        draws = rng.random((tree.n_leaves, 2))
        leaves = draws[:, 0] * (draws[:, 1] < 0.3)
    else:
        leaves = (rng.random(tree.n_leaves) < 0.1).astype(np.float64)
    return slippery(TabularMDP.of_tree(TreeTask(tree, leaves).as_mdp()).with_(horizon=length), slip)
