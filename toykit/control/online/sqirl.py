"""SQIRL: random exploration, regression, and a few steps of value iteration from the random policy's Q."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from toykit._checks import at_least, positive
from toykit.control.horizon import steps_of
from toykit.control.mdp import TabularMDP
from toykit.control.offline.data import TabularData
from toykit.control.policies import uniform_policy
from toykit.control.simulation import simulate

Regressor = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Q float64 [S, A] from states int64 [N], actions int64 [N] and targets float64 [N]; N may be 0."""

Episodes = Callable[[Tensor, int], TabularData]
"""Episodes of a policy by step, float64 [T, S, A], of which the first so many steps are learned and the rest random."""


def table_means(n_states: int, n_actions: int) -> Regressor:
    """The mean target of each state and action, 0 where there is none."""

    def regress(states: Tensor, actions: Tensor, targets: Tensor) -> Tensor:
        return means_and_counts(states, actions, targets, n_states, n_actions)[0]

    return regress


def means_and_counts(
    states: Tensor, actions: Tensor, targets: Tensor, n_states: int, n_actions: int
) -> tuple[Tensor, Tensor]:
    """The mean target of each state and action, 0 where there is none, and how many there are, both [S, A]."""
    sums, counts = torch.zeros(2, n_states, n_actions, dtype=torch.float64)
    sums.index_put_((states, actions), targets, accumulate=True)
    counts.index_put_((states, actions), torch.ones_like(targets), accumulate=True)
    return sums / counts.clamp(min=1.0), counts


def of_network(network: nn.Module, inputs: Tensor, updates: int = 20, lr: float = 3e-3) -> Regressor:
    """A regressor that trains a network further at every fit: Q [S, A] of `inputs` [S, d], by steps of Adam.

    The squared error over all rows is, but for a constant, that of the mean of each state and action, weighed by its
    count: a step costs the same for any number of rows. The network is changed.
    """
    at_least("updates", updates, 1)
    optimizer = torch.optim.Adam(network.parameters(), positive("lr", lr))

    @torch.enable_grad()
    def regress(states: Tensor, actions: Tensor, targets: Tensor) -> Tensor:
        shape = network(inputs).shape
        wanted, counts = (x.to(inputs) for x in means_and_counts(states, actions, targets, *shape))
        weights = counts / counts.sum().clamp(min=1.0)
        for _ in range(updates):
            optimizer.zero_grad()
            (weights * (network(inputs) - wanted).square()).sum().backward()
            optimizer.step()
        return network(inputs).detach().double()

    return regress


def of_estimator(estimator: Any, features: Tensor) -> Regressor:
    """A regressor with `fit(X, y)` and `predict(X)`, as scikit-learn's, over features [S, A, d] of state and action.

    A copy is fitted every time. Where there is nothing to fit Q is 0.
    """
    rows, pairs = features.double().flatten(0, 1).numpy(), features.shape[:2]

    def regress(states: Tensor, actions: Tensor, targets: Tensor) -> Tensor:
        if not len(targets):
            return torch.zeros(pairs, dtype=torch.float64)
        model = copy.deepcopy(estimator)
        model.fit(rows[(states * pairs[1] + actions).numpy()], targets.numpy())
        return torch.as_tensor(model.predict(rows), dtype=torch.float64).view(pairs)

    return regress


@dataclass(frozen=True, eq=False)
class Sqirl:
    """policy int64 [T, S] actions; q [T, S, A] the last fit for each step; steps, how many the learner took."""

    policy: Tensor
    q: Tensor
    steps: int


def sqirl(
    mdp: TabularMDP, k: int, m: int, regress: Regressor | None = None, seed: int = 0, episodes: Episodes | None = None
) -> Sqirl:
    """Learns the step-by-step policy of an MDP with a horizon T from T m episodes.

    k         the sweeps: 1 fits the returns of random actions alone, with no bootstrapping
    m         episodes for each step; they follow what was learned for the steps before it and then act at random
    regress   how Q is fitted at a step (None: the mean of each state and action)
    episodes  where episodes come from in place of `simulate`; then `m` and `seed` are not read

    At step i, with j = min(i + k - 1, T): Q_j is fitted to the returns-to-go from step j, and from j - 1 down to i Q_t
    to r + max Q_(t + 1); the policy of step i is greedy in Q_i, the lowest index of equals. Rewards are the expected
    ones of state and action; the discount counts. Raises ValueError for k or m below 1 and an MDP without a horizon.
    Source: the effective horizon (arXiv 2312.08369), algorithm 1.
    """
    n_steps = steps_of(mdp)
    at_least("k", k, 1)
    at_least("m", m, 1)
    regress = table_means(mdp.n_states, mdp.n_actions) if regress is None else regress
    behaviour = uniform_policy(mdp).repeat(n_steps, 1, 1)
    policy = torch.zeros(n_steps, mdp.n_states, dtype=torch.int64)
    kept = torch.zeros(n_steps, mdp.n_states, mdp.n_actions, dtype=torch.float64)
    taken = 0
    for i in range(n_steps):
        data = simulate(mdp, behaviour, m, seed=seed * n_steps + i) if episodes is None else episodes(behaviour, i)
        taken += len(data)
        going, step, last = data.returns_to_go(mdp.discount), data.step, min(i + k, n_steps) - 1
        q = torch.zeros_like(kept[0])
        for t in range(last, i - 1, -1):
            at = step == t
            later = q.amax(-1)[data.next_states[at]].masked_fill(data.terminated[at], 0.0)
            target = going[at] if t == last else data.rewards[at] + mdp.discount * later
            q = regress(data.states[at], data.actions[at], target).masked_fill(~mdp.allowed, -torch.inf)
        kept[i], policy[i] = q, q.argmax(-1)
        behaviour[i] = torch.nn.functional.one_hot(policy[i], mdp.n_actions)
    return Sqirl(policy, kept, taken)


def pooled_sqirl(mdp: TabularMDP, m: int, heads: Sequence[Regressor], seed: int = 0) -> Sqirl:
    """SQIRL as it is run in practice: Q knows no step, and all transitions that random actions follow are used again.

    m      episodes for each step, as for `sqirl`
    heads  k regressors: the first is fitted to returns-to-go, each other one to r + max of the one before it; they may
           go on from their last fit

    The policy of step i is greedy in the last head, fitted to the transitions from step i on of all episodes so far.
    Raises ValueError for no head, m below 1 and an MDP without a horizon.
    Source: the released code of the effective horizon (arXiv 2312.08369), with exact batches of all that is kept.
    """
    n_steps = steps_of(mdp)
    at_least("number of heads", len(heads), 1)
    at_least("m", m, 1)
    behaviour = uniform_policy(mdp).repeat(n_steps, 1, 1)
    policy = torch.zeros(n_steps, mdp.n_states, dtype=torch.int64)
    kept = torch.zeros(n_steps, mdp.n_states, mdp.n_actions, dtype=torch.float64)
    pool: list[Tensor] = []
    taken = 0
    for i in range(n_steps):
        data = simulate(mdp, behaviour, m, seed=seed * n_steps + i)
        taken += len(data)
        fresh = [data.step, data.states, data.actions, data.rewards, data.next_states, data.terminated]
        fresh.append(data.returns_to_go(mdp.discount))
        pool = [torch.cat(columns) for columns in zip(pool, fresh, strict=True)] if pool else fresh
        pool = [column[pool[0] >= i] for column in pool]
        _, states, actions, rewards, after, over, target = pool
        for fit in heads:
            q = fit(states, actions, target).masked_fill(~mdp.allowed, -torch.inf)
            target = rewards + mdp.discount * q.amax(-1)[after].masked_fill(over, 0.0)
        kept[i], policy[i] = q, q.argmax(-1)
        behaviour[i] = torch.nn.functional.one_hot(policy[i], mdp.n_actions)
    return Sqirl(policy, kept, taken)
