"""Stitching: two half-good trajectories, what their returns teach, and what rollouts of a model add."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import torch
from torch import Tensor

from toykit.control import Counts, TabularData, TabularMDP, backward_induction, policy_of
from toykit.control.offline import Imagined, ReturnConditioned, mbrcsl
from toykit.control.offline.data import KEYS
from toykit.control.simulation import enumerate_episodes
from toykit.lessons.base import Results

LENGTHS = (2, 4, 6, 8, 10)
ERRORS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)  # probabilities that a step without reward is predicted to pay 1
LONGEST = 6  # tokens, where every prefix is a state and where the model errs


def run(seeds: tuple[int, ...]) -> Results:
    """Card 06, C and D; the seeds are those of the random MDPs."""
    return {
        "lengths": {str(h): stitch(h) for h in LENGTHS},
        "prefixes": {str(h): by_prefix(h) for h in LENGTHS if h <= LONGEST},
        "random": [attained(seed) for seed in seeds],
        "step": without_step(),
        "errors": {f"{q:g}": misled(q) for q in ERRORS},
    }


def positions(length: int) -> TabularMDP:
    """Tokens 0 and 1, of which 0 pays 1; the state is the position alone."""
    after = (torch.arange(length + 1) + 1).clamp(max=length)
    R = torch.tensor([1.0, 0.0], dtype=torch.float64).expand(length + 1, 2)
    return deterministic(after[:, None].expand(-1, 2), R, length, terminal=[length])


def prefixes(length: int) -> TabularMDP:
    """The same tokens, and the whole prefix is the state: state n goes on to 2 n + 1 + token."""
    inner = 2**length - 1
    after = 2 * torch.arange(inner)[:, None] + 1 + torch.arange(2)
    ends = torch.arange(inner, 2 * inner + 1)
    R = torch.tensor([1.0, 0.0], dtype=torch.float64).expand(2 * inner + 1, 2)
    return deterministic(torch.cat([after, ends[:, None].expand(-1, 2)]), R, length, terminal=ends)


def deterministic(after: Tensor, rewards: Tensor, horizon: int, terminal: Tensor | list[int]) -> TabularMDP:
    """Starts in state 0; `after` int64 [S, A] are the next states."""
    P = torch.ones(*after.shape, 1, dtype=torch.float64)
    made = TabularMDP(P, rewards, horizon=horizon, start=0, successors=after[..., None], terminal=terminal)
    return made.to_dense()


def follow(mdp: TabularMDP, actions: list[list[int]]) -> TabularData:
    """The episodes of given actions, one list an episode, in a deterministic MDP."""
    rows = []
    for episode in actions:
        state = int(mdp.start.argmax())
        for h, action in enumerate(episode):
            after = int(mdp.P[state, action].argmax())
            rows.append((state, action, mdp.R[state, action].item(), h + 1 == len(episode), False, after))
            state = after
    columns = map(np.array, zip(*rows, strict=True))
    return TabularData.of(dict(zip((*KEYS, "next_observations"), columns, strict=True)), mdp.n_states, mdp.n_actions)


def halves(mdp: TabularMDP, length: int) -> TabularData:
    """0101... and 1010..., each with half of the best return; together they hold every token at every position."""
    return follow(mdp, [[(h + first) % 2 for h in range(length)] for first in range(2)])


def behaviour(data: TabularData, mdp: TabularMDP) -> Tensor:
    """The share [S, A] of each action in the data; uniform in a state that they do not hold."""
    return policy_of(mdp, Counts.of(data, mdp.n_states, mdp.n_actions).visits)


def earns(imagined: Imagined, mdp: TabularMDP) -> Results:
    """What was kept, and what the policy that learned from it earns in an MDP."""
    kept = {name: getattr(imagined, name) for name in ("kept", "mean", "best")}
    return {name: None if math.isnan(x) else x for name, x in kept.items()} | {
        "return": imagined.policy.expected_return(mdp)
    }


def stitch(length: int) -> Results:
    """C4 and C5 with the position as the state: the card's table, and the law of the imagined returns."""
    mdp = positions(length)
    data = halves(mdp, length)
    mu, plain = behaviour(data, mdp), ReturnConditioned.fit(data, 2)
    episodes, chances = enumerate_episodes(mdp, mu)
    law = torch.zeros(length + 1, dtype=torch.float64).index_add_(0, episodes.returns().long(), chances)
    return {
        "covered": bool((Counts.of(data, length + 1, 2).visits[:length] > 0).all()),
        "best of data": data.returns().max().item(),
        "best": backward_induction(mdp).v[0, 0].item(),
        "RCSL": plain.expected_return(mdp),
        "RCSL, asked for the best": plain.expected_return(mdp, target=length),
        "MBRCSL": earns(mbrcsl(mdp, mu, data), mdp),
        "law": law.tolist(),
    }


def by_prefix(length: int) -> Results:
    """The same with the whole prefix as the state: the behaviour model can only copy."""
    mdp = prefixes(length)
    data = halves(mdp, length)
    plain = ReturnConditioned.fit(data, 2)
    return {
        "RCSL": plain.expected_return(mdp),
        "RCSL, asked for the best": plain.expected_return(mdp, target=length),
        "MBRCSL": earns(mbrcsl(mdp, behaviour(data, mdp), data), mdp),
    }


def with_step(mdp: TabularMDP) -> TabularMDP:
    """A deterministic MDP with a horizon whose states are pairs of a step h and a state s, h S + s."""
    steps, n = int(mdp.horizon or 0), mdp.n_states
    after = mdp.P.argmax(-1) + n * torch.arange(1, steps + 1)[:, None, None]
    ends = torch.arange(steps * n, (steps + 1) * n)
    after = torch.cat([after.flatten(0, 1), ends[:, None].expand(-1, mdp.n_actions)])
    return deterministic(after, mdp.R.repeat(steps + 1, 1), steps, terminal=ends)


def attained(seed: int, n: int = 3, steps: int = 4) -> Results:
    """C5 on a random deterministic MDP with the step in its states, of which four random episodes are the data.

    The kept set is made twice: by `mbrcsl`, and by trying every sequence of actions.
    """
    draws = np.random.default_rng(seed)
    after, rewards = draws.integers(n, size=(n, 2)), draws.integers(3, size=(n, 2)).astype(float)
    mdp = with_step(deterministic(torch.from_numpy(after), torch.from_numpy(rewards), steps, terminal=[]))
    data = follow(mdp, draws.integers(2, size=(4, steps)).tolist())
    mu = behaviour(data, mdp)
    found, threshold = mbrcsl(mdp, mu, data), data.returns().max().item()
    kept = best = 0.0
    for actions in product(range(2), repeat=steps):
        tried = follow(mdp, [list(actions)])
        chance, earned = mu[tried.states, tried.actions].prod().item(), tried.returns().item()
        if chance > 0 and earned > threshold:
            kept, best = kept + chance, max(best, earned)
    return {
        "kept": found.kept,
        "kept error": abs(found.kept - kept),
        "best error": abs(found.best - best) if kept else 0.0,
        "return error": abs(found.policy.expected_return(mdp) - best) if kept else 0.0,
    }


def without_step() -> Results:
    """Where one state is met at two steps, the step matters: in state 1, one may be quick, slow, or wait.

    State 0 pays 1 (action 1) or 0 (0) and leads to 1, where action 0 is quick (pays 1, over), 1 slow (to 2, which pays
    1), 2 waits. Three episodes, each of return 1, are the data.
    """
    after = torch.tensor([[1, 1, 1], [3, 2, 1], [3, 3, 3], [3, 3, 3]])
    R = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    logged = [[0, 0, 0], [0, 1, 0], [1, 2, 2]]
    found = {}
    for name, mdp in (("without", short := deterministic(after, R, 3, terminal=[])), ("with", with_step(short))):
        data = follow(mdp, logged)
        found[name] = earns(mbrcsl(mdp, behaviour(data, mdp), data), mdp)
    return found


def misled(error: float, length: int = LONGEST) -> Results:
    """D: rollouts in a model that predicts a reward of 1, with probability `error`, for a step that pays 0.

    The reward is drawn anew in each rollout, as a sampled model does. To write that out, an action is a token with the
    reward that is predicted for it; token 0 is there twice, so that uniform actions are uniform tokens.
    """
    mdp, data = positions(length), halves(positions(length), length)
    mu = behaviour(data, mdp)
    chances = torch.stack([mu[:, 0] / 2, mu[:, 0] / 2, mu[:, 1] * (1 - error), mu[:, 1] * error], -1)
    after = mdp.P.argmax(-1)[:, [0, 0, 1, 1]]
    predicted, true = (
        deterministic(after, torch.tensor(row, dtype=torch.float64).expand(length + 1, 4), length, terminal=[length])
        for row in ([1.0, 1.0, 0.0, 1.0], [1.0, 1.0, 0.0, 0.0])
    )
    return earns(mbrcsl(predicted, chances, data), true)
