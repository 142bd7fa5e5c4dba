"""A change-point detector on a figure of training, such as the mean reward of a batch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from toykit._checks import at_least
from toykit.control.online.change_points import ChangePoints, LogPrior


class Watch:
    """Whether a figure, sorted into bins, has changed its law: says so to `toykit.training.Restarting`.

    figure     one of a step's figures
    bins       equal ones from `low` to `high`; what is outside belongs to the first or the last
    prior      see `ChangePoints`
    falls      only a change for the worse counts: one that a symbol below the mean since the last change has shown. The
               detector begins anew at any; a policy that learns changes its rewards too
    """

    def __init__(
        self,
        figure: str = "reward",
        bins: int = 4,
        low: float = 0.0,
        high: float = 1.0,
        prior: float | str | LogPrior = 1e-3,
        falls: bool = False,
    ) -> None:
        """Raises ValueError for fewer than two bins, low >= high, and a prior as `ChangePoints` does."""
        at_least("bins", bins, 2)
        if not low < high:
            raise ValueError(f"high must be > low, got {high} and {low}")
        self.figure, self.bins, self.low, self.high, self.falls = figure, bins, low, high, falls
        self.detector = ChangePoints(bins, 1, prior)
        self.seen: list[int] = []  # symbols since the last change

    def __call__(self, done: int, figures: Mapping[str, float]) -> bool:
        """Reads one step. Raises ValueError where it lacks the figure, naming those that it has."""
        if self.figure not in figures:
            raise ValueError(f"figure must be one of the step's, {', '.join(sorted(figures))}, got {self.figure!r}")
        return self.read(self.symbol(figures[self.figure]))

    def symbol(self, value: float) -> int:
        """The bin of a value."""
        place = (value - self.low) / (self.high - self.low) * self.bins
        return min(max(int(place), 0), self.bins - 1)

    def read(self, symbol: int) -> bool:
        """Reads one symbol."""
        self.seen.append(symbol)
        if not self.detector.update([symbol])[0]:
            return False
        fell = symbol < sum(self.seen) / len(self.seen)
        self.seen = []
        return fell or not self.falls

    def state(self) -> dict[str, Tensor]:
        return {"seen": torch.tensor(self.seen, dtype=torch.int64)}

    def load(self, state: dict[str, Tensor]) -> None:
        self.detector.restart([0])
        self.seen = []
        for symbol in state["seen"].tolist():
            self.read(symbol)
