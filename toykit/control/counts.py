"""What was seen of an MDP: counts, the model they give, and a bonus for what was seen too rarely."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from toykit._checks import at_least, one_of
from toykit.control.offline.data import UNKNOWN, TabularData


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts of transitions and sums of rewards, of one run or of B runs side by side (a leading axis).

    transitions float64 [S, A, S] or [B, S, A, S]; rewards and visits float64 [S, A] or [B, S, A]. There may be more
    visits than transitions: a next state is not always known. `add` and `clear` change them in place.
    """

    transitions: Tensor
    rewards: Tensor
    visits: Tensor

    @classmethod
    def empty(cls, n_states: int, n_actions: int, runs: int | None = None) -> Counts:
        """No visit yet; `runs` is B, None for no leading axis. Raises ValueError for sizes below 1."""
        at_least("n_states", n_states, 1)
        at_least("n_actions", n_actions, 1)
        pairs = (n_states, n_actions) if runs is None else (int(at_least("runs", runs, 1)), n_states, n_actions)
        rewards, visits = torch.zeros(2, *pairs, dtype=torch.float64)
        return cls(torch.zeros(*pairs, n_states, dtype=torch.float64), rewards, visits)

    @classmethod
    def of(cls, data: TabularData, n_states: int, n_actions: int) -> Counts:
        """The counts of logged transitions; one whose next state is UNKNOWN counts as a visit alone."""
        made = cls.empty(n_states, n_actions)
        made.add(data.states, data.actions, data.rewards, data.next_states)
        return made

    def add(self, states: Tensor, actions: Tensor, rewards: Tensor, next_states: Tensor, times: float = 1.0) -> None:
        """Counts transitions, all arguments [N], or each run's, all [B] or [B, N]; `times` = -1 takes them back."""
        pair: tuple[Tensor, ...] = (states, actions)
        if self.visits.dim() == 3:
            runs = torch.arange(len(self.visits)).view(-1, *[1] * (states.dim() - 1))
            pair = runs.expand_as(states), *pair
        amount = torch.full_like(rewards, times)
        self.visits.index_put_(pair, amount, accumulate=True)
        self.rewards.index_put_(pair, times * rewards, accumulate=True)
        known = next_states != UNKNOWN
        self.transitions.index_put_((*pair, next_states.clamp(min=0)), amount * known, accumulate=True)

    def clear(self, where: Tensor) -> None:
        """Forgets all that was seen where `where` is set: bool [B] for whole runs, [S, A] or [B, S, A] for pairs."""
        for table in (self.transitions, self.rewards, self.visits):
            table[where] = 0.0

    def law(self, unseen: str = "uniform") -> Tensor:
        """The share of each next state [..., S, A, S].

        Where none was seen the rows are "uniform", or "zero", so that nothing is expected to follow. Raises ValueError
        for another name.
        """
        one_of("unseen", unseen, ("uniform", "zero"))
        total = self.transitions.sum(-1, keepdim=True)
        other = 1 / self.transitions.shape[-1] if unseen == "uniform" else 0.0
        return torch.where(total > 0, self.transitions / total.clamp(min=1.0), other)

    def mean_rewards(self, unseen: float = 0.0) -> Tensor:
        """The mean reward [..., S, A]; `unseen` where there was no visit."""
        return torch.where(self.visits > 0, self.rewards / self.visits.clamp(min=1.0), unseen)


def bonus(visits: Tensor, log_term: float | Tensor, scale: float = 1.0) -> Tensor:
    """scale sqrt(log_term / max(1, n)) [..., S, A] of `visits` n [..., S, A]: how far a mean over n draws may be off.

    Added to a reward it is optimism in the face of uncertainty (UCRL2); taken from it, pessimism (VI-LCB). Raises
    ValueError for a negative `scale` or `log_term`. Source: Hoeffding (1963); Jaksch, Ortner and Auer (2010), eq. 3;
    Rashidinejad et al. (arXiv 2103.12021), algorithm 3.
    """
    at_least("scale", scale, 0)
    log_term = torch.as_tensor(log_term, dtype=torch.float64)
    at_least("log_term", float(log_term.min()), 0)
    return scale * (log_term / visits.clamp(min=1.0)).sqrt()
