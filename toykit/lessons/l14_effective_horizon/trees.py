"""Random completion trees as MDPs with a horizon, and the card's draws."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from toykit.control import TabularMDP
from toykit.control.worlds import slippery
from toykit.tasks import Tree, TreeTask

KINDS = {  # of the card: (slip, whether rewards are graded)
    "binary": (0.0, False),
    "graded": (0.0, True),
    "binary, slip": (0.25, False),
    "graded, slip": (0.25, True),
}


def tree_mdp(n_tokens: int, length: int, rewards: ArrayLike, slip: float = 0.0) -> TabularMDP:
    """The tree of all completions of `length` tokens, with a reward for each in lexicographic order."""
    task = TreeTask(Tree(n_tokens, horizon=length), rewards)
    return slippery(TabularMDP.of_tree(task.as_mdp()).with_(horizon=length), slip)


def card_tree(seed: int, slip: float, graded: bool) -> TabularMDP:
    """Three tokens, four places; leaf by leaf a binary reward is 1 with probability .1, a graded one is drawn first and
    kept with probability .3."""
    draw = np.random.default_rng(seed)
    if not graded:
        return tree_mdp(3, 4, draw.random(81) < 0.1, slip)
    values, kept = draw.random((81, 2)).T
    return tree_mdp(3, 4, values * (kept < 0.3), slip)


def binary_tree(seed: int) -> TabularMDP:
    """Two to five tokens, one to four places, binary rewards of which few, some or many are 1; no slip."""
    draw = np.random.default_rng(seed)
    n_tokens, length = int(draw.integers(2, 6)), int(draw.integers(1, 5))
    share = draw.choice([0.02, 0.1, 0.4])
    return tree_mdp(n_tokens, length, draw.random(n_tokens**length) < share)


def random_mdp(seed: int) -> TabularMDP:
    """Two to six states, two to four actions, one to six steps; probabilities are quarters and rewards 0, 1 or 2, so
    that values tie."""
    draw = np.random.default_rng(seed)
    n_states, n_actions, horizon = int(draw.integers(2, 7)), int(draw.integers(2, 5)), int(draw.integers(1, 7))
    P = draw.multinomial(4, np.full(n_states, 1 / n_states), (n_states, n_actions)) / 4
    return TabularMDP(P, draw.integers(0, 3, (n_states, n_actions)), horizon=horizon, start=0)
