"""MDPs that change with time: phases, each an MDP, and the steps at which the next one begins."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from toykit._checks import at_least
from toykit.control.mdp import TabularMDP


@dataclass(frozen=True, eq=False)
class Drifting:
    """A piecewise-stationary MDP: phase i holds from step changes[i - 1] (0 for the first) to before changes[i].

    Raises ValueError for phases of different numbers of states or actions, a number of changes that does not fit, and
    changes that are below 1 or do not rise.
    """

    phases: Sequence[TabularMDP]
    changes: Sequence[int]

    def __post_init__(self) -> None:
        sizes = {(mdp.n_states, mdp.n_actions) for mdp in self.phases}
        if len(sizes) != 1:
            raise ValueError(f"phases must have the same states and actions, got sizes {sorted(sizes)}")
        if len(self.changes) != len(self.phases) - 1:
            raise ValueError(f"changes must be {len(self.phases) - 1} for as many phases more one, got {self.changes}")
        if any(after <= before for before, after in zip((0, *self.changes), self.changes, strict=False)):
            raise ValueError(f"changes must be >= 1 and rise, got {list(self.changes)}")

    def phase(self, t: int) -> int:
        """The index of the phase at step `t` (from 0)."""
        return bisect_right(self.changes, at_least("t", t, 0))

    def at(self, t: int) -> TabularMDP:
        """The MDP at step `t` (from 0)."""
        return self.phases[self.phase(t)]

    def cumulative(self) -> NDArray[np.float64]:
        """[phases, S, A, S] cumulative probabilities of next states, for `draw`."""
        table = torch.stack([mdp.to_dense().P for mdp in self.phases]).cumsum(-1)
        return (table / table[..., -1:]).numpy()


def draw(cumulative: NDArray[np.float64], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices [...] drawn by inversion from `cumulative` probabilities [..., S], with `uniform` [...] from [0, 1)."""
    return (cumulative <= uniform[..., None]).sum(-1)


def swapped_chain(steps: int = 6000) -> Drifting:
    """A chain of three states whose two actions change places at one and at two thirds of `steps`.

    Action 0 moves left surely; action 1 moves right with probability 0.7, stays with 0.2 and falls back with 0.1; a
    move beyond an end stays. State 0 pays 0.2 and state 2 pays 1, whatever the action. The best gain is 49.2 / 57 =
    0.863158 in every phase. Raises ValueError for fewer than 3 steps.
    """
    at_least("steps", steps, 3)
    left = [[1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]]
    right = [[0.3, 0.7, 0], [0.1, 0.2, 0.7], [0, 0.1, 0.9]]
    P = torch.tensor([left, right], dtype=torch.float64).movedim(0, 1)
    R = torch.tensor([[0.2], [0.0], [1.0]], dtype=torch.float64).expand(3, 2)
    chain = TabularMDP(P, R, start=0)
    swapped = TabularMDP(P.flip(1), R, start=0)
    return Drifting((chain, swapped, chain), (steps // 3, 2 * steps // 3))
