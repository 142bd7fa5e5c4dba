"""Benchmarks of RL with states: exact solving, and many copies of an environment at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch

from toykit.bench.apart import Apart, Loop, Turn
from toykit.bench.base import TINY, Benchmark, Case
from toykit.control import UCRL2, TabularMDP, modified_policy_iteration, regret_curves
from toykit.control.worlds import TableVectorEnv, random_dense, swapped_chain

DISCOUNT, BRANCHING = 0.95, 5
DENSE, SPARSE, LARGE = (1000, 10), (100_000, 4), (1_000_000, 4)
LAKE = "FrozenLake-v1"


def sparse(n_states: int, n_actions: int) -> TabularMDP:
    """Random successors, which may be the same, with random probabilities, and rewards uniform on [0, 1]."""
    rng = np.random.default_rng(0)
    shape = n_states, n_actions, BRANCHING
    P = rng.random(shape)
    P /= P.sum(-1, keepdims=True)
    R = rng.random(shape[:2])
    return TabularMDP(P, R, DISCOUNT, successors=rng.integers(n_states, size=shape))


def share_of(mdp: TabularMDP, error: float) -> float:
    """The tolerance that asks for an error of the values of at most `error`: a share of the largest that may be."""
    return error / max(1.0, mdp.R.abs().max().item() / (1 - mdp.discount))


def quantecon_problem(mdp: TabularMDP) -> Any:
    """The same MDP as QuantEcon has it: dense, or pairs of state and action over a sparse matrix of scipy."""
    from scipy.sparse import csr_matrix

    threads = torch.get_num_threads()
    from quantecon.markov import DiscreteDP

    torch.set_num_threads(threads)  # numba, which it brings along, sets OpenMP's for the whole process

    if mdp.successors is None:
        return DiscreteDP(mdp.R.numpy(), mdp.P.numpy(), mdp.discount)
    s, a, k = mdp.P.shape
    ends = np.arange(0, s * a * k + 1, k)
    Q = csr_matrix((mdp.P.numpy().ravel(), mdp.successors.numpy().ravel(), ends), shape=(s * a, s))
    return DiscreteDP(mdp.R.numpy().ravel(), Q, mdp.discount, np.repeat(np.arange(s), a), np.tile(np.arange(a), s))


def _against_quantecon(make: Callable[[], TabularMDP], error: float) -> Callable[[str, bool], list[Case]]:
    """Cases of solving to an error; the first run, in which numba compiles, is the one that is not counted."""

    def prepare(size: str, peer: bool) -> list[Case]:
        mdp = random_dense(20, 3) if size == TINY else make()
        tol = share_of(mdp, error)
        theirs = None
        if peer:
            problem = quantecon_problem(mdp)
            theirs = lambda: problem.solve(method="modified_policy_iteration", epsilon=error)  # noqa: E731

        def notes() -> str:
            ours = modified_policy_iteration(mdp, tol=tol)
            said = f"{ours.iterations} sweeps over all actions, error at most {ours.error:.1e}"
            if theirs is None:
                return said
            found = theirs()
            away = np.abs(found.v - ours.v.numpy()).max()
            return f"{said}; the peer's {found.num_iter}, its values {away:.1e} away"

        return [Case("", lambda: modified_policy_iteration(mdp, tol=tol), theirs, notes)]

    return prepare


def solutions(n_states: int, n_actions: int, error: float) -> Loop:
    """Solves one large sparse MDP to an error, once a turn."""

    def loop(turn: Turn) -> None:
        mdp = sparse(n_states, n_actions)
        tol = share_of(mdp, error)
        while turn():
            modified_policy_iteration(mdp, tol=tol)

    return loop


def _large(size: str, peer: bool) -> list[Case]:
    """In a process of its own, so that the peak memory is that of this work alone."""
    work = Apart(f"{__name__}:solutions", *((100, 2) if size == TINY else LARGE), 1e-6)

    def notes() -> str:
        held = "not told by this system" if work.peak is None else f"{work.peak / 2**30:.2f} GiB"
        return (
            f"peak memory of the whole process {held}, to be at most 4 GiB; "
            f"the MDP's making, not counted, took {work.ready_s:.2f} s"
        )

    return [Case("", work, None, notes, work.close)]


def stepping(env: gymnasium.vector.VectorEnv[Any, Any, Any], steps: int) -> Callable[[], None]:
    """Makes `steps` steps of all copies, always with the same random actions."""
    actions = np.random.default_rng(0).integers(env.single_action_space.n, size=(steps, env.num_envs))
    env.reset(seed=0)

    def go() -> None:
        for row in actions:
            env.step(row)

    return go


def _copies(n: int, steps: int) -> Callable[[str, bool], list[Case]]:
    """Cases of `n` copies of FrozenLake, of both the same steps."""

    def prepare(size: str, peer: bool) -> list[Case]:
        many, each = (3, 5) if size == TINY else (n, steps)
        ours = stepping(TableVectorEnv(LAKE, many), each)
        theirs = stepping(gymnasium.make_vec(LAKE, many, "sync"), each) if peer else None
        return [Case("", ours, theirs, lambda: f"{many * each} steps of single copies a run")]

    return prepare


def curves(n: int, steps: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """Regret of UCRL2 in a chain for `n` seeds side by side, and for one after another: the same curves."""
    world = swapped_chain(steps)

    def together() -> None:
        regret_curves(UCRL2(), world, range(n), steps)

    def one_by_one() -> None:
        for seed in range(n):
            regret_curves(UCRL2(), world, (seed,), steps)

    return together, one_by_one


def _regret(size: str, peer: bool) -> list[Case]:
    together, one_by_one = curves(*((2, 30) if size == TINY else (50, 300)))
    return [Case("", together, one_by_one if peer else None)]


QUANTECON = "quantecon's modified policy iteration"
CONTROL = (
    Benchmark(
        "solve_dense",
        "a dense MDP of 1000 states and 10 actions, solved to 1e-8",
        QUANTECON,
        1.0,
        _against_quantecon(lambda: random_dense(*DENSE, discount=DISCOUNT), 1e-8),
        needs=("quantecon",),
    ),
    Benchmark(
        "solve_sparse",
        "a sparse MDP of 100,000 states, 4 actions and 5 successors, solved to 1e-8",
        QUANTECON,
        1.0,
        _against_quantecon(lambda: sparse(*SPARSE), 1e-8),
        needs=("quantecon",),
    ),
    Benchmark(
        "solve_1e6",
        "a sparse MDP of 1e6 states, 4 actions and 5 successors, solved to 1e-6, in a process of its own",
        None,
        30.0,
        _large,
        "seconds, at most the goal",
    ),
    Benchmark(
        "table_env_64", "50 steps of 64 copies of FrozenLake", "gymnasium's SyncVectorEnv", 50.0, _copies(64, 50)
    ),
    Benchmark(
        "table_env_4096", "2 steps of 4096 copies of FrozenLake", "gymnasium's SyncVectorEnv", 200.0, _copies(4096, 2)
    ),
    Benchmark("regret_50", "UCRL2's regret for 50 seeds, 300 steps", "one seed after another", 5.0, _regret),
)
