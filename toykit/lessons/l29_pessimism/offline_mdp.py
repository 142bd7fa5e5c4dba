"""An MDP of six states, data from a mixture of its best policy and chance, and what is learned from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

import numpy as np
import torch
from torch import Tensor

from toykit.control import (
    Counts,
    TabularMDP,
    concentrability,
    evaluate,
    occupancy,
    policy_iteration,
    policy_values,
    vi_lcb,
)
from toykit.control.offline.pessimism import Pessimistic, log_term, most_frequent, naive_value_iteration, rounds
from toykit.lessons.base import Results

S, A, DISCOUNT = 6, 3, 0.9
SHARES = (0.02, 0.3, 1.0)  # of chance in the behaviour
SIZES = (50, 200, 1000, 5000)
SCALE, LARGE, PAPER = 0.02, 0.1, 2000**0.5
METHODS = ("BC", "naive", "LCB", "LCB, c = 0.1", "LCB, folds", "LCB, the paper's c")

Rows = tuple[Tensor, Tensor, Tensor, Tensor]  # states, actions, rewards and next states, each [B, N]


@cache
def problem() -> TabularMDP:
    """The card's MDP, with its draws."""
    draws = np.random.default_rng(3)
    P = draws.dirichlet(np.full(S, 0.3), (S, A))
    return TabularMDP(P, draws.random((S, A)).round(2), DISCOUNT, start=np.full(S, 1 / S), terminal=np.zeros(S, bool))


@cache
def best_policy() -> Tensor:
    """[S, A]."""
    return policy_iteration(problem()).policy


def behaviour(share: float) -> Tensor:
    """The occupancy [S, A] of the best policy mixed with a `share` of chance."""
    return occupancy(problem(), (1 - share) * best_policy() + share / A)


def rows(share: float, n: int, seeds: tuple[int, ...]) -> Rows:
    """n transitions of each seed, drawn as the card draws them: pairs, then next states by inversion, then rewards."""
    mdp, mu = problem(), behaviour(share).flatten().numpy()
    upto, paid = mdp.P.cumsum(-1).numpy(), mdp.R.numpy()
    columns = []
    for seed in seeds:
        draws = np.random.default_rng(seed)
        s, a = np.divmod(draws.choice(S * A, n, p=mu), A)
        after = (upto[s, a] < draws.random(n)[:, None]).sum(1).clip(max=S - 1)
        columns.append((s, a, (draws.random(n) < paid[s, a]).astype(float), after))
    states, actions, rewards, next_states = (torch.from_numpy(np.stack(x)) for x in zip(*columns, strict=True))
    return states, actions, rewards, next_states


def counted(data: Rows, where: slice = slice(None)) -> Counts:
    """The counts of each seed's rows, side by side."""
    s, a, r, after = (column[:, where] for column in data)
    made = Counts.empty(S, A, runs=len(s))
    made.add(s, a, r, after)
    return made


def folds(data: Rows) -> list[Counts]:
    """T + 1 consecutive folds of the rows, the larger ones first."""
    n = data[0].shape[1]
    cuts = np.array_split(np.arange(n), rounds(n, DISCOUNT) + 1)
    return [counted(data, slice(int(cut[0]), int(cut[-1]) + 1)) for cut in cuts]


def pessimistic(counts: Counts, n: int, scale: float) -> Pessimistic:
    """VI-LCB with all of the data in every round."""
    return vi_lcb([counts] * (rounds(n, DISCOUNT) + 1), DISCOUNT, log_term(n, DISCOUNT, S, A), scale)


def lost(actions: Tensor) -> Tensor:
    """The sub-optimality [...] of policies that take `actions` [..., S]."""
    mdp = problem()
    values = policy_values(mdp.P, mdp.R, DISCOUNT, actions)
    return mdp.start @ evaluate(mdp, best_policy()) - values @ mdp.start


def learned(share: float, n: int, seeds: tuple[int, ...], methods: Iterable[str] = METHODS) -> dict[str, Tensor]:
    """The actions [B, S] that each of the methods takes after n transitions."""
    data = rows(share, n, seeds)
    counts = counted(data)
    every: dict[str, Callable[[], Tensor]] = {
        "BC": lambda: most_frequent(counts),
        "naive": lambda: naive_value_iteration(counts, DISCOUNT),
        "LCB": lambda: pessimistic(counts, n, SCALE).actions,
        "LCB, c = 0.1": lambda: pessimistic(counts, n, LARGE).actions,
        "LCB, folds": lambda: vi_lcb(folds(data), DISCOUNT, log_term(n, DISCOUNT, S, A), SCALE).actions,
        "LCB, the paper's c": lambda: pessimistic(counts, n, PAPER).actions,
    }
    return {name: every[name]() for name in methods}


def run(seeds: tuple[int, ...]) -> Results:
    """{share: {method: [[sub-optimality of each seed] for each size]}}, the coverage, and the check of the bounds."""
    mdp, best = problem(), best_policy()
    d = occupancy(mdp, best)
    runs: dict[str, dict[str, list[list[float]]]] = {}
    as_cloning = True
    for share in SHARES:
        runs[f"{share:g}"] = {name: [] for name in METHODS}
        for n in SIZES:
            found = learned(share, n, seeds)
            as_cloning &= bool((found["LCB, the paper's c"] == found["BC"]).all())
            for name in METHODS:
                runs[f"{share:g}"][name].append(lost(found[name]).clamp(min=0.0).tolist())
    return {
        "value": float(mdp.start @ evaluate(mdp, best)),
        "actions": best.argmax(-1).tolist(),
        "coverage": [concentrability(d, behaviour(share)) for share in SHARES],
        "sizes": list(SIZES),
        "runs": runs,
        "paper's scale is cloning": as_cloning,
        "validity": validity(seeds[:10]),
    }


def validity(seeds: tuple[int, ...], n: int = 20_000) -> Results:
    """C5: whether V_T <= V^pi_T <= V* in every state, on uniform data; and how large the bounds are."""
    mdp = problem()
    counts, top = counted(rows(1.0, n, seeds)), evaluate(mdp, best_policy())
    found: Results = {"best": float(top.max())}
    for scale in (0.01, 0.02):
        made = pessimistic(counts, n, scale)
        values = policy_values(mdp.P, mdp.R, DISCOUNT, made.actions)
        within = (made.v <= values + 1e-12) & (values <= top + 1e-9)
        found[f"{scale:g}"] = {"holds": within.all(-1).tolist(), "largest": float(made.v.amax(-1).mean())}
    return found
