"""Random numbers for runs side by side: each has its own stream, whatever runs beside it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

AHEAD = 1024  # numbers of each run that are drawn at once; it changes none of them


class Draws:
    """Uniform numbers from [0, 1), one of each run at a time: run b's are `default_rng(seeds[b]).random()` in turn.

    `stream` > 0 gives others for the same seeds.
    """

    def __init__(self, seeds: Iterable[int], stream: int = 0) -> None:
        self._generators = [np.random.default_rng([seed, stream] if stream else seed) for seed in seeds]
        self._drawn = np.empty((0, len(self._generators)))
        self._at = 0

    def __len__(self) -> int:
        return len(self._generators)

    def next(self) -> np.ndarray:
        """The next number of each run, float64 [B]."""
        if self._at == len(self._drawn):
            self._drawn = np.stack([g.random(AHEAD) for g in self._generators], 1)
            self._at = 0
        self._at += 1
        return self._drawn[self._at - 1]
