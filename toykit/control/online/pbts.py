"""Preference-based Thompson sampling: finitely many rewards and transition tables, exact posteriors of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from toykit._checks import at_least, shape
from toykit.control.checks import NEAR_ONE
from toykit.control.horizon import steps_of
from toykit.control.mdp import TabularMDP
from toykit.control.online.asking import answer, finite_disagreement
from toykit.control.online.episodes import best_policies, policy_values, trajectories
from toykit.control.online.posterior import FinitePosterior
from toykit.rewards import Judge


@dataclass(frozen=True, eq=False)
class ThompsonRun:
    """What happened in T episodes, for each threshold and seed.

    regret  [eps, seeds, T] what both policies of each episode lack of the optimum
    asked   bool [eps, seeds, T]
    reward_mass, transition_mass  [eps, seeds] the posterior probability of the truth at the end
    """

    regret: Tensor
    asked: Tensor
    reward_mass: Tensor
    transition_mass: Tensor


def pbts(
    mdp: TabularMDP,
    rewards: Tensor,
    eps: Sequence[float],
    seeds: Sequence[int],
    episodes: int,
    transitions: Tensor | None = None,
    judge: Judge | None = None,
) -> ThompsonRun:
    """Thompson sampling from comparisons: the optimal policy of a draw, beside that of the episode before.

    mdp          start and horizon H; its P, where `transitions` is None, and nothing of its R
    rewards      [seeds, K, S, A] hypotheses, each seed its own; the truth is drawn from the uniform prior
    eps          thresholds on E |(r - r')(first) - (r - r')(second)| under two draws of the posterior
    transitions  [J, S, A, S] hypotheses, uniform too, of which the truth is drawn; None: P is known
    judge        who answers, and by whom answers are explained; None: Bradley and Terry's model

    The posterior of the reward changes with each answer, that of the transitions with each first trajectory. The
    policy before the first is action 0. Raises ValueError for other shapes, rows that are no distribution, an `eps`
    below 0, and answers that no hypothesis allows. Source: PR-LSVI (arXiv 2310.14554), algorithm 2.
    """
    steps, judge = steps_of(mdp), judge or Judge()
    tables = mdp.to_dense().P[None] if transitions is None else transitions.double()
    s, a = mdp.n_states, mdp.n_actions
    rewards = shape("rewards", rewards.double(), (len(seeds), *rewards.shape[1:2], s, a))
    shape("transitions", tables, (len(tables), s, a, s))
    if bool((tables < 0).any()) or bool(((tables.sum(-1) - 1).abs() > NEAR_ONE).any()):
        raise ValueError("transitions must be distributions over the next states, got rows that are not")
    for each in eps:
        at_least("eps", each, 0)
    lead, n, k = (len(eps), len(seeds)), len(seeds), rewards.shape[1]
    luck = _luck(seeds, int(at_least("episodes", episodes, 1)), steps)
    true_reward, true_table = (FinitePosterior.uniform(n, m).draw(luck[0][:, i]) for i, m in ((0, k), (1, len(tables))))
    one, P = torch.arange(n), tables[true_table]  # [seeds, S, A, S]
    R = rewards[one, true_reward]
    every = best_policies(tables[None, :, None], rewards[:, None], steps)  # [seeds, J, K, H, S]
    worth = policy_values(P[:, None, None], R[:, None, None], mdp.start, every)
    best = worth[one, true_table, true_reward]
    threshold = torch.tensor(eps, dtype=torch.float64)[:, None]
    of_reward, of_table = FinitePosterior.uniform(*lead, k), FinitePosterior.uniform(*lead, len(tables))
    policy = torch.zeros(*lead, steps, s, dtype=torch.int64)
    value = policy_values(P, R, mdp.start, policy)
    regret, asked = [], []
    for t in range(episodes):
        u = luck[1][:, t]
        j, i = of_table.draw(u[:, 0].expand(lead)), of_reward.draw(u[:, 1].expand(lead))
        before, policy = policy, every[one.expand(lead), j, i]
        both = torch.stack([policy, before], 2)
        walk = u[:, 3:].unflatten(-1, (2, steps + 1)).expand(*lead, -1, -1)
        states, actions = trajectories(P[:, None], mdp.start, both, walk)
        earned = _by_hypothesis(rewards, states, actions)  # [eps, seeds, 2, K]
        gaps = earned[:, :, 0] - earned[:, :, 1]
        ask = finite_disagreement(gaps, of_reward.probabilities) > threshold
        truth = earned.gather(-1, true_reward[:, None, None].expand(*lead, 2, 1))[..., 0]
        bit = answer(judge, truth[..., 0], truth[..., 1], u[:, 2].expand(lead))
        p = judge.preference(earned[:, :, 0], earned[:, :, 1])
        said = torch.where(bit[..., None] == 1, p, 1 - p).log()
        of_reward = of_reward.after(said.masked_fill(~ask[..., None], 0.0))
        of_table = of_table.after(_moves(tables, states[:, :, 0], actions[:, :, 0]))
        now = worth[one.expand(lead), j, i]
        regret.append(2 * best - now - value)
        asked.append(ask)
        value = now
    return ThompsonRun(
        torch.stack(regret, -1),
        torch.stack(asked, -1),
        of_reward.probabilities.gather(-1, true_reward.expand(lead)[..., None])[..., 0],
        of_table.probabilities.gather(-1, true_table.expand(lead)[..., None])[..., 0],
    )


def _luck(seeds: Sequence[int], episodes: int, steps: int) -> tuple[Tensor, Tensor]:
    """Uniform draws of each seed: [seeds, 2] for the truth, and [seeds, T, 3 + 2 (H + 1)] for the episodes."""
    draws = [torch.Generator().manual_seed(seed) for seed in seeds]
    first = [torch.rand(2, generator=draw, dtype=torch.float64) for draw in draws]
    later = [torch.rand(episodes, 3 + 2 * (steps + 1), generator=draw, dtype=torch.float64) for draw in draws]
    return torch.stack(first), torch.stack(later)


def _by_hypothesis(rewards: Tensor, states: Tensor, actions: Tensor) -> Tensor:
    """[eps, seeds, 2, K]: the return of trajectories [eps, seeds, 2, ...] under each of `rewards` [seeds, K, S, A]."""
    n, k, _, a = rewards.shape
    flat = rewards.flatten(2)  # [seeds, K, S A]
    at = states[..., :-1] * a + actions  # [eps, seeds, 2, H]
    taken = flat[None, :, None].expand(len(at), n, 2, k, -1)
    return taken.gather(-1, at[..., None, :].expand(*at.shape[:3], k, -1)).sum(-1)


def _moves(tables: Tensor, states: Tensor, actions: Tensor) -> Tensor:
    """[..., J]: the log-probability of trajectories [..., H + 1], [..., H] under each table of transitions."""
    return tables[:, states[..., :-1], actions, states[..., 1:]].log().sum(-1).movedim(0, -1)
