"""Return-conditioned supervised learning: the action as a function of the state and of the return that is asked for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from toykit._checks import shape
from toykit.control.mdp import TabularMDP
from toykit.control.offline.data import TabularData
from toykit.control.simulation import enumerate_episodes

DIGITS = 9  # returns-to-go that agree to so many decimals are one


@dataclass(frozen=True, eq=False)
class ReturnConditioned:
    """pi(a | s, g), the share of each action among the transitions from state s whose return-to-go was g.

    laws holds [A] by (s, g); a pair that was never seen gives the uniform law. target is the largest return of the
    episodes it was fitted to.
    """

    laws: dict[tuple[int, float], Tensor]
    n_actions: int
    target: float

    @classmethod
    def fit(cls, data: TabularData, n_actions: int, weights: Tensor | None = None) -> ReturnConditioned:
        """The maximum of sum_episodes weight sum_h log pi(a_h | s_h, g_h); `weights` is [number of episodes], None: 1.

        Raises ValueError for weights of another shape, and where none is > 0.
        Source: MBRCSL (arXiv 2310.19308), section 2, with context length 1.
        """
        episode = data.episode
        each = torch.ones(int(episode[-1]) + 1, dtype=torch.float64) if weights is None else weights.double()
        shape("weights", each, (int(episode[-1]) + 1,))
        if not bool((each > 0).any()):
            raise ValueError("weights must have one > 0: there is no episode to learn from")
        laws: dict[tuple[int, float], Tensor] = {}
        columns = (data.states, data.actions, data.returns_to_go(), each[episode])
        for s, a, g, weight in zip(*(column.tolist() for column in columns), strict=True):
            if weight > 0:
                laws.setdefault((s, round(g, DIGITS)), torch.zeros(n_actions, dtype=torch.float64))[a] += weight
        target = data.returns()[each > 0].max().item()
        return cls({key: law / law.sum() for key, law in laws.items()}, n_actions, target)

    def law(self, state: int, going: float) -> Tensor:
        """[A] the law of the action in a state where a return-to-go is asked for."""
        uniform = torch.full((self.n_actions,), 1 / self.n_actions, dtype=torch.float64)
        return self.laws.get((state, round(going, DIGITS)), uniform)

    def expected_return(self, mdp: TabularMDP, target: float | None = None) -> float:
        """What it earns where `target` (None: the own one) is asked for at the start, exact.

        After each step the reward is taken from what is asked for. The MDP must have a horizon; rewards are the
        expected ones of state and action. Raises ValueError without a horizon.
        """
        if mdp.horizon is None:
            raise ValueError("horizon must be a number of steps to follow a policy of returns, got None")
        P = mdp.to_dense().P
        known: dict[tuple[int, int, float], float] = {}

        def value(h: int, s: int, going: float) -> float:
            if h == mdp.horizon or bool(mdp.terminal[s]):
                return 0.0
            key = (h, s, round(going, DIGITS))
            if key not in known:
                total = 0.0
                for a, p in enumerate(self.law(s, going).tolist()):
                    if p > 0:
                        reward = mdp.R[s, a].item()
                        after = P[s, a].nonzero()[:, 0].tolist()
                        later = sum(P[s, a, t].item() * value(h + 1, t, going - reward) for t in after)
                        total += p * (reward + later)
                known[key] = total
            return known[key]

        asked = self.target if target is None else target
        starts = mdp.start.nonzero()[:, 0].tolist()
        return sum(mdp.start[s].item() * value(0, s, asked) for s in starts)


@dataclass(frozen=True, eq=False)
class Imagined:
    """What model-based return-conditioned learning made of episodes in a model.

    policy, fitted to the episodes that were kept, or to the data where none was; kept, the probability of an episode to
    be kept; mean and best, of the returns of those, nan where none was
    """

    policy: ReturnConditioned
    kept: float
    mean: float
    best: float


def mbrcsl(model: TabularMDP, behaviour: Tensor, data: TabularData) -> Imagined:
    """MBRCSL with every episode of the model written out: the limit of infinitely many rollouts.

    model      the learned dynamics and rewards, with a horizon
    behaviour  [S, A] the learned behaviour policy; episodes of it in the model are kept where their return in the model
               is larger than that of every episode of `data`

    Raises ValueError as `enumerate_episodes` does. Source: arXiv 2310.19308, algorithm 1.
    """
    imagined, chances = enumerate_episodes(model, behaviour)
    returns = imagined.returns()
    threshold = data.returns().max()
    better = returns > threshold + 10.0**-DIGITS
    if not bool(better.any()):
        return Imagined(ReturnConditioned.fit(data, model.n_actions), 0.0, float("nan"), float("nan"))
    weights = chances * better
    policy = ReturnConditioned.fit(imagined, model.n_actions, weights)
    return Imagined(policy, weights.sum().item(), ((weights @ returns) / weights.sum()).item(), policy.target)
