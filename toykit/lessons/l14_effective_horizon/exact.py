"""Lesson 14 on the exact rung: how far one must look ahead, and what SQIRL makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor

from toykit.control import Lookahead, TabularMDP, backward_induction, expected_return, lookahead, uniform_values
from toykit.control.effective_horizon import backed_up
from toykit.control.offline.data import TabularData
from toykit.control.online import sqirl
from toykit.control.worlds import GRID_DESIGNS, completion_tree, decoy_corridor, grid_world
from toykit.lessons.base import Results

ROWS = (  # of the card: length, decoy, slip
    (4, 0.05, 0.0),
    (5, 0.05, 0.0),
    (6, 0.05, 0.0),
    (5, 0.2, 0.0),
    (5, 0.005, 0.0),
    (5, 0.05, 0.1),
    (5, 0.05, 0.25),
)
LENGTHS, ACTIONS, SLIPS = range(1, 7), (2, 3, 4), (0.1, 0.25, 0.5)
DECOYS = (0.003, 0.0625, 0.01, 0.02, 0.05, 0.1, 0.125, 0.2, 0.25, 0.5, 0.9)  # of which some are powers of 1/2 and 1/4
KINDS = {  # of the card's trees: whether rewards are graded, and the slip
    "binary": (False, 0.0),
    "graded": (True, 0.0),
    "binary, slip": (False, 0.25),
    "graded, slip": (True, 0.25),
}
TREES, INSTANCES = 60, 200
KS, SIZES = (1, 2, 3, 4), (30, 100, 300, 1000, 3000)


def run(seeds: tuple[int, ...] = tuple(range(40))) -> Results:
    """All exact results of the lesson; the seeds draw SQIRL's episodes (the card's are 0 to 39)."""
    return {
        "corridors": [corridor(*row) for row in ROWS],
        "closed form": closed_form(),
        "trees": trees(),
        "instances": instances(),
        "designs": {name: design(name) for name in GRID_DESIGNS},
        "sqirl": learned(seeds),
    }


def closed_form_k(length: int, decoy: float, n_actions: int = 3, slip: float = 0.0) -> int:
    """The least k with q^(k - 1) A^-(L - k) > c: k - 1 chosen steps succeed with q each, the rest is left to chance.

    The end must be worth more than the decoy: q^(L - 1) > c.
    """
    q = succeeds(n_actions, slip)
    return next(k for k in range(1, length + 1) if q ** (k - 1) * float(n_actions) ** (k - length) > decoy)


def succeeds(n_actions: int, slip: float) -> float:
    """q = 1 - p + p / A: the probability that a chosen action is executed."""
    return 1 - slip + slip / n_actions


def iterates(mdp: TabularMDP, count: int) -> list[Tensor]:
    """Q^1, ..., Q^count, each [T, S, A]."""
    found = [uniform_values(mdp)]
    while len(found) < count:
        found.append(backed_up(mdp, found[-1]))
    return found


def corridor(length: int, decoy: float, slip: float) -> Results:
    """The lookahead of a decoy corridor of three actions, and what Q^1, Q^2, ... say of moving on from its start."""
    mdp = decoy_corridor(length, decoy, slip=slip)
    found = lookahead(mdp)
    return {
        "setting": [length, decoy, slip],
        "least": found.least,
        "closed form": closed_form_k(length, decoy),
        "returns": found.returns.tolist(),
        "optimum": found.optimum,
        "horizon": found.horizons[(found.least or 1) - 1].item(),
        "gap": found.gaps[(found.least or 1) - 1].item(),
        "forward": [q[0, 0, 0].item() for q in iterates(mdp, length)],
    }


def closed_form() -> Results:
    """C3 on a grid: how many corridors, how many whose min_k is not the closed form's, and how far Q^k(0, forward) is
    from A^-(L - k) at most; then with slip, by the closed form with q and by the card's without it, where the end is
    worth more than the decoy."""
    count, wrong, error = 0, 0, 0.0
    for length, n_actions, decoy in product(LENGTHS, ACTIONS, DECOYS):
        mdp = decoy_corridor(length, decoy, n_actions)
        count += 1
        wrong += lookahead(mdp).least != closed_form_k(length, decoy, n_actions)
        for k, q in enumerate(iterates(mdp, length), start=1):
            error = max(error, abs(q[0, 0, 0].item() - n_actions ** float(k - length)))
    slipping = {"corridors": 0, "wrong": 0, "wrong without q": 0}
    for length, n_actions, decoy, slip in product(LENGTHS[2::2], ACTIONS, DECOYS, SLIPS):
        if succeeds(n_actions, slip) ** (length - 1) <= decoy:
            continue
        least = lookahead(decoy_corridor(length, decoy, n_actions, slip)).least
        slipping["corridors"] += 1
        slipping["wrong"] += least != closed_form_k(length, decoy, n_actions, slip)
        slipping["wrong without q"] += least != closed_form_k(length, decoy, n_actions)
    return {"corridors": count, "wrong": wrong, "error": error, "slip": slipping}


def trees() -> Results:
    """Section B: how many of the card's trees have min_k 1, 2, 3 and 4, and one whose solvability comes and goes."""
    found: Results = {}
    for kind, how in KINDS.items():
        least = [lookahead(completion_tree(seed, *how)).least for seed in range(TREES)]
        found[kind] = [least.count(k) for k in range(1, 5)]
    one = lookahead(completion_tree(195, graded=True, slip=0.25))
    return found | {"seed 195": one.returns.tolist(), "solvable": one.solvable.tolist(), "optimum": one.optimum}


def random_mdp(seed: int) -> TabularMDP:
    """Two to six states, two to four actions, one to six steps; probabilities are quarters and rewards 0, 1 or 2, so
    that values tie."""
    draw = np.random.default_rng(seed)
    n_states, n_actions, horizon = int(draw.integers(2, 7)), int(draw.integers(2, 5)), int(draw.integers(1, 7))
    P = draw.multinomial(4, np.full(n_states, 1 / n_states), (n_states, n_actions)) / 4
    return TabularMDP(P, draw.integers(0, 3, (n_states, n_actions)), horizon=horizon, start=0)


def instances() -> Results:
    """C1 on trees with slip and on MDPs with loops, C2 on trees of several shapes with binary rewards and no slip.

    lost        how far J_T is from J* at most
    mismatched  k at which J_k = J* and solvability do not agree, of so many `ks`
    returning   trees with slip of which some k is not solvable though a smaller one is
    first       binary trees that are solved at k = 1; `right` have a leaf that pays
    """
    slipping = [lookahead(completion_tree(seed, graded=True, slip=0.25)) for seed in range(INSTANCES)]
    both = slipping + [lookahead(random_mdp(seed)) for seed in range(INSTANCES)]
    shapes = [(2 + seed % 4, 2 + seed // 4 % 3) for seed in range(INSTANCES)]
    binary = [lookahead(completion_tree(i, n_tokens=n, length=t), most=1) for i, (n, t) in enumerate(shapes)]
    return {
        "count": INSTANCES,
        "whole horizon": sum(bool(one.solvable[-1]) for one in both),
        "lost": max(abs(one.returns[-1].item() - one.optimum) for one in both),
        "ks": sum(len(one.returns) for one in both),
        "mismatched": sum(int((is_best(one) != one.solvable).sum()) for one in both),
        "returning": sum(fails_again(one.solvable) for one in slipping),
        "first": sum(one.least == 1 for one in binary),
        "right": sum(one.optimum > 0 for one in binary),
    }


def is_best(found: Lookahead) -> Tensor:
    """bool [K]: whether J_k is J*, to 1e-9."""
    return (found.returns - found.optimum).abs() <= 1e-9


def fails_again(solvable: Tensor) -> bool:
    """Whether some k is not solvable though a smaller one is."""
    return bool((solvable[1:] < solvable[:-1]).any())


def design(name: str) -> Results:
    """The lookahead of a grid design, with the usual slip, and Q^1 of the four moves from the start."""
    mdp = grid_world(name)
    found = lookahead(mdp)
    return {
        "start": uniform_values(mdp)[0, int(mdp.start.argmax())].tolist(),
        "least": found.least,
        "near": found.near(),
        "returns": found.returns.tolist(),
        "optimum": found.optimum,
        "gap": found.gaps[(found.least or 1) - 1].item(),
    }


class CardEpisodes:
    """Episodes as the card draws them: at each step m random actions, where actions are random, and then m next states
    by inversion of their cumulated law, all from one generator of the seed."""

    def __init__(self, mdp: TabularMDP, m: int, seed: int) -> None:
        self.mdp, self.m, self.draw = mdp, m, np.random.default_rng(seed)
        self.upto = mdp.P.cumsum(-1).numpy()

    def __call__(self, behaviour: Tensor, learned: int) -> TabularData:
        mdp, now = self.mdp, np.full(self.m, int(self.mdp.start.argmax()))
        columns = []
        for t in range(len(behaviour)):
            chosen = behaviour[t].argmax(-1).numpy()[now]
            actions = chosen if t < learned else self.draw.integers(0, mdp.n_actions, self.m)
            after = (self.upto[now, actions] < self.draw.random(self.m)[:, None]).sum(1).clip(max=mdp.n_states - 1)
            columns.append((now, actions, after))
            now = after
        states, actions, after = (torch.from_numpy(np.stack(rows, 1)) for rows in zip(*columns, strict=True))
        over = mdp.terminal[after] | (torch.arange(len(behaviour)) == len(behaviour) - 1)
        live = ~mdp.terminal[states]
        rows = (states, actions, mdp.R[states, actions], after, over, torch.zeros_like(over))
        return TabularData(*(column[live] for column in rows))


def learned(seeds: Sequence[int], ks: Sequence[int] = KS, sizes: Sequence[int] = SIZES) -> Results:
    """Section C: whether SQIRL's policy is optimal, {k: [[0 or 1 for each size] for each seed]}."""
    mdp = decoy_corridor(5, 0.05, slip=0.1)
    best = (mdp.start @ backward_induction(mdp).v[0]).item()

    def solved(k: int, m: int, seed: int) -> float:
        policy = sqirl(mdp, k, m, episodes=CardEpisodes(mdp, m, seed)).policy
        return float(abs(expected_return(mdp, policy) - best) <= 1e-9)

    success = {str(k): [[solved(k, m, seed) for m in sizes] for seed in seeds] for k in ks}
    return {"sizes": list(sizes), "success": success}
