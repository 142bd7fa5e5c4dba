"""Benchmarks of the exact rung: one large tree, and many settings at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from toykit._malloc import keep_freed
from toykit.bench.apart import Apart, Loop, Turn
from toykit.bench.base import TINY, Benchmark, Case
from toykit.exact import ascend, kl, leaf_log_probs, policy_gradient, posterior
from toykit.tasks.tree import Tree

BETA = 0.5
SETTINGS, STEPS = 256, 500
LARGE = (3163, 2)  # 3163^2 is the least square above 1e7, and depth 2 the most that the limit on places allows


@dataclass(frozen=True)
class Problem:
    """A policy and a prior over a tree's completions: `logits` [N, V], `log_prior` and `rewards` [L], float64."""

    tree: Tree
    logits: Tensor
    log_prior: Tensor
    rewards: Tensor

    def must_pass(self, found: Answers) -> dict[str, Tensor]:
        """Every array that is read or written at least once, however the work is done, by name.

        Given are the tree (its table of children is all of it), the logits, the prior and the rewards; found are the
        posterior, the policy's law (which the KL is a sum over) and the gradient. What toykit keeps of a tree beside
        its children could be computed from them, and is not counted.
        """
        given = {"child": self.tree.child, "logits": self.logits, "log_prior": self.log_prior, "rewards": self.rewards}
        return given | {"posterior": found.posterior, "log_pi": found.log_pi, "gradient": found.gradient}


@dataclass(frozen=True)
class Answers:
    """log pi and log posterior [L], KL(pi || posterior), and the gradient [N, V] of E r - beta KL(pi || prior)."""

    log_pi: Tensor
    posterior: Tensor
    kl: Tensor
    gradient: Tensor


def problem(n_actions: int, horizon: int) -> Problem:
    """A full tree of n_actions^horizon completions with a random policy, prior and rewards in [0, 1]."""
    tree = Tree(n_actions, horizon)
    generator = torch.Generator().manual_seed(0)

    def drawn(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64)

    logits, prior = drawn(*tree.child.shape), drawn(tree.n_leaves).log_softmax(-1)
    return Problem(tree, logits, prior, torch.rand(tree.n_leaves, generator=generator, dtype=torch.float64))


def solve(p: Problem) -> Answers:
    """The posterior, the KL to it and the exact policy gradient of the KL-regularised objective."""
    log_pi = leaf_log_probs(p.tree, p.logits)
    target = posterior(p.log_prior, p.rewards, BETA)
    value = p.rewards.sub(log_pi - p.log_prior, alpha=BETA)
    return Answers(log_pi, target, kl(log_pi, target), policy_gradient(p.tree, p.logits, value))


def _against_copy(size: str, peer: bool) -> list[Case]:
    given = problem(*((3, 3) if size == TINY else (10, 6)))
    arrays = given.must_pass(solve(given))
    copies = {name: torch.empty_like(array) for name, array in arrays.items()}

    def copy() -> None:
        for name, array in arrays.items():
            copies[name].copy_(array)

    def notes() -> str:
        sizes = {name: array.numel() * array.element_size() / 1e6 for name, array in arrays.items()}
        said = ", ".join(f"{name} {mb:.3g}" for name, mb in sizes.items())
        return f"copied, {sum(sizes.values()):.3g} MB: {said}"

    return [Case("", lambda: solve(given), copy if peer else None, notes)]


def solutions(n_actions: int, horizon: int) -> Loop:
    """Solves the problem of a full tree once a turn."""

    def loop(turn: Turn) -> None:
        keep_freed()
        given = problem(n_actions, horizon)
        while turn():
            solve(given)

    return loop


def _in_own_process(size: str, peer: bool) -> list[Case]:
    """In a process of its own, so that the peak memory is that of this work alone."""
    work = Apart(f"{__name__}:solutions", *((3, 2) if size == TINY else LARGE))

    def notes() -> str:
        held = "not told by this system" if work.peak is None else f"{work.peak / 2**30:.2f} GiB"
        return (
            f"peak memory of the whole process {held}, to be at most 3 GiB; "
            f"the tree's making, not counted, took {work.ready_s:.2f} s"
        )

    return [Case("", work, None, notes, work.close)]


@dataclass(frozen=True)
class Sweep:
    """Settings of a tabular run: `beta` and `lr` [...], `rewards` [..., L]; the prior [L] is theirs in common."""

    tree: Tree
    log_prior: Tensor
    beta: Tensor
    lr: Tensor
    rewards: Tensor

    def one(self, i: int) -> Sweep:
        """A setting by itself, without an axis for settings, as one who runs only that would write it."""
        return Sweep(self.tree, self.log_prior, self.beta[i], self.lr[i], self.rewards[i])


def sweep(n: int) -> Sweep:
    """`n` settings on a tree of 64 completions."""
    tree, generator = Tree(4, 3), torch.Generator().manual_seed(0)
    beta, lr = torch.rand(2, n, generator=generator, dtype=torch.float64) + torch.tensor([[0.05], [0.5]])
    rewards = torch.rand(n, tree.n_leaves, generator=generator, dtype=torch.float64)
    prior = torch.randn(tree.n_leaves, generator=generator, dtype=torch.float64).log_softmax(-1)
    return Sweep(tree, prior, beta, lr, rewards)


def ascended(s: Sweep, steps: int) -> Tensor:
    """The logits [..., N, V] of all settings after `steps` steps on E r - beta KL(pi || prior), from zeros."""

    def gradient(theta: Tensor) -> Tensor:
        value = s.rewards - s.beta[..., None] * (leaf_log_probs(s.tree, theta) - s.log_prior)
        return policy_gradient(s.tree, theta, value)

    start = torch.zeros(*s.beta.shape, *s.tree.child.shape, dtype=torch.float64)
    return ascend(gradient, start, s.lr[..., None, None], [steps])[0]


def _all_settings(size: str, peer: bool) -> list[Case]:
    n, steps = (4, 5) if size == TINY else (SETTINGS, STEPS)
    every = sweep(n)
    one = every.one(0)
    single: Callable[[], Tensor] | None = (lambda: ascended(one, steps)) if peer else None
    return [Case("", lambda: ascended(every, steps), single)]


EXACT = (
    Benchmark(
        "exact_vs_copy",
        "posterior, KL and exact policy gradient on a tree of 1e6 leaves",
        "copying every array once",
        0.2,
        _against_copy,
        "time of the copies / ours",
    ),
    Benchmark(
        "exact_1e7",
        "the same on 1e7 leaves, in a process of its own",
        None,
        3.0,
        _in_own_process,
        "seconds, at most the goal",
    ),
    Benchmark(
        "sweep_256",
        f"{SETTINGS} settings of a {STEPS}-step exact tabular run, together",
        "one setting",
        0.125,
        _all_settings,
        "time of one setting / ours",
    ),
)
