"""Restarted Bayesian detection of change points in streams of symbols, many streams side by side."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import ArrayLike

from toykit._checks import at_least, inside

TIE = 1e-10  # scores that rounding alone may have lifted above 0
LogPrior = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of the numbers of symbols before and since a change


@lru_cache(maxsize=4)
def _log_factorials(most: int) -> np.ndarray:
    return torch.lgamma(torch.arange(1, most + 2, dtype=torch.float64)).numpy()


def _factorials(most: int) -> np.ndarray:
    """log n! for n from 0 to (at least) `most`; few different tables are made."""
    return _log_factorials(1 << max(10, most.bit_length()))


def log_marginal(counts: ArrayLike) -> np.ndarray:
    """log of the probability [...] of a sequence with counts [..., O] where every law of the symbols is as likely.

    Gamma(O) prod_o Gamma(c_o + 1) / Gamma(n + O), the Dirichlet(1)-multinomial marginal of the ordered sequence: the
    product of Laplace's predictions (c_o + 1) / (n + O), in any order.
    """
    c = np.asarray(counts, dtype=np.int64)
    return _log_marginal(c, c.sum(-1), -1)


def _log_marginal(counts: np.ndarray, n: np.ndarray, axis: int) -> np.ndarray:
    """`log_marginal` of counts with the symbols along `axis`, whose sums are `n`; any number for negative counts."""
    n_symbols = counts.shape[axis]
    table = _factorials(int(n.max(initial=0)) + n_symbols)
    return table[n_symbols - 1] + table.take(counts, mode="clip").sum(axis) - table[n + n_symbols - 1]


def constant_prior(eta: float) -> LogPrior:
    """The same eta for every start. Raises ValueError unless 0 < eta <= 1."""
    if not 0 < eta <= 1:
        raise ValueError(f"prior must be > 0 and at most 1, got {eta}")
    log_eta = np.array(math.log(eta))
    return lambda before, since: log_eta


def falling_prior() -> LogPrior:
    """1 / n of the n symbols since the last restart."""
    return lambda before, since: -np.log(before + since)


def theorem_prior(delta: float, a: float = 2.0) -> LogPrior:
    """The value below which a theorem bounds the probability of any false alarm by `delta`.

    sqrt(m k) / (10 (n + 1)) (log(4 a + 2) delta^2 / (4 n log((a + 3) n)))^a for m symbols before the start, k since,
    n = m + k. Raises ValueError unless 0 < delta < 1 and a > 1. Source: Alami, Maillard and Féraud (2020), theorem 1,
    for two symbols.
    """
    inside("delta", delta)
    if not a > 1:
        raise ValueError(f"a must be > 1, got {a}")

    def log_prior(before: np.ndarray, since: np.ndarray) -> np.ndarray:
        n = before + since
        share = math.log(4 * a + 2) * delta**2 / (4 * n * np.log((a + 3) * n))
        return 0.5 * np.log(before * since) - np.log(10 * (n + 1)) + a * np.log(share)

    return log_prior


def prior_of(prior: float | str | LogPrior) -> LogPrior:
    """A number from 0 (excluded) to 1, "1/n", or a function such as `theorem_prior` makes.

    Such a function is symmetric in its arguments, for n symbols in all largest where both are n / 2, and that falls
    with n. Raises ValueError for another name or number.
    """
    if callable(prior):
        return prior
    if isinstance(prior, str):
        if prior != "1/n":
            raise ValueError(f"prior must be a number, '1/n' or a function, got {prior!r}")
        return falling_prior()
    return constant_prior(prior)


@dataclass(eq=False)
class ChangePoints:
    """Detectors of change points, one for each of N streams over symbols 0, ..., O - 1.

    For every possible start s of a new law since the last restart r a forecaster predicts by the counts since s. It
    stands for "one law from r to s - 1, another from s on", whose evidence is DM(r..s-1) DM(s..t) with prior eta,
    against DM(r..t) for "no change". The detector restarts at t, and forgets, where

        log DM(r..s-1) + log DM(s..t) - log DM(r..t) + log eta > 0   for some s in (r, t].

    n_symbols         O
    streams           N
    prior             eta: a number in (0, 1], "1/n", or a function (`prior_of`)
    skip_first_loss   the birth of a forecaster as it was published: it does not pay for its first symbol, which adds
                      log O to the score of every start
    most              the age cap: only the last `most` starts are kept (None: all since the restart). A change that is
                      not seen within so many symbols is then taken for what the stream has always been.

    Time and memory of a test grow with the age, the symbols since the restart. Most tests need not be made: one symbol
    cannot raise a score by more than -log of its probability under the counts since r, so a bound says when the next
    may fire, and restarts are the same as with a test at every symbol. Raises ValueError for what is out of range.
    Source: Alami, Maillard and Féraud (2020), for two symbols; Alami, Mahfoud and Moulines (arXiv 2304.00232).
    """

    n_symbols: int
    streams: int = 1
    prior: float | str | LogPrior = 1e-3
    skip_first_loss: bool = False
    most: int | None = None

    def __post_init__(self) -> None:
        at_least("n_symbols", self.n_symbols, 1)
        at_least("streams", self.streams, 1)
        if self.most is not None:
            at_least("most", self.most, 1)
        self._log_prior = prior_of(self.prior)
        self._more = math.log(self.n_symbols) if self.skip_first_loss else 0.0
        room = min(64, self.most or 64)
        self.ages = np.zeros(self.streams, dtype=np.int64)  # symbols since the restart
        self._counts = np.zeros((self.streams, self.n_symbols), dtype=np.int64)
        # Of the start with j symbols before it, in column j % room: their counts, and their log_marginal.
        self._before = np.zeros((self.streams, self.n_symbols, room), dtype=np.int32)
        self._log_before = np.zeros((self.streams, room))
        self._log_whole = np.zeros(self.streams)
        self._bound = np.full(self.streams, -np.inf)  # of log evidence for a start, over all starts

    def update(self, symbols: ArrayLike, streams: ArrayLike | None = None) -> np.ndarray:
        """Reads one symbol [M] of each of `streams` [M], all different (None: all N); bool [M], which restarted.

        Raises ValueError for symbols that are not from 0 to O - 1.
        """
        x = np.atleast_1d(np.asarray(symbols))
        at = np.arange(self.streams) if streams is None else np.atleast_1d(np.asarray(streams))
        if x.shape != at.shape:
            raise ValueError(f"symbols must have one entry for each of {len(at)} streams, got {list(x.shape)}")
        if x.size and not (x.dtype.kind in "iu" and x.min() >= 0 and x.max() < self.n_symbols):
            raise ValueError(f"symbols must be whole numbers from 0 to {self.n_symbols - 1}, got {x.tolist()}")
        n, room = self.ages[at], self._log_before.shape[1]
        if room != self.most and n.max(initial=0) >= room:
            room = self._grow()
        column = n % room
        self._before[at, :, column] = self._counts[at]
        self._log_before[at, column] = self._log_whole[at]
        surprise = np.log((n + self.n_symbols) / (self._counts[at, x] + 1))
        self._bound[at] = np.where(n > 0, np.maximum(self._bound[at], -math.log(self.n_symbols)) + surprise, -np.inf)
        self._counts[at, x] += 1
        self._log_whole[at] -= surprise
        self.ages[at] = n = n + 1
        half = n / 2
        due = (n > 1) & (self._bound[at] + self._log_prior(half, half) + self._more > TIE)
        restarted = np.zeros(len(at), dtype=bool)
        if due.any():
            restarted[due] = self._test(at[due])
            self.restart(at[restarted])
        return restarted

    def restart(self, streams: ArrayLike) -> None:
        """Forgets what was seen of some streams (their indices, or bool [N])."""
        streams = np.asarray(streams)
        self.ages[streams] = 0
        self._counts[streams] = 0
        self._log_whole[streams] = 0.0
        self._bound[streams] = -np.inf

    def _test(self, rows: np.ndarray) -> np.ndarray:
        """Whether some start of each of the streams `rows` [M] wins; the bounds become what they bound."""
        n, room = self.ages[rows][:, None], self._log_before.shape[1]
        columns = np.arange(min(int(n.max()), room))
        first = n - 1 - (n - 1 - columns) % room  # how many symbols there are before the start in each column
        since = self._counts[rows][..., None] - self._before[rows, :, : len(columns)]
        evidence = self._log_before[rows, : len(columns)] + _log_marginal(since, n - first, 1)
        evidence -= self._log_whole[rows][:, None]
        evidence[first < 1] = -np.inf
        first = np.maximum(first, 1)
        self._bound[rows] = evidence.max(-1)
        return (evidence + self._log_prior(first, n - first)).max(-1) + self._more > TIE

    def _grow(self) -> int:
        """Twice the room for starts, which is returned. Until then no column was used twice."""
        room = self._log_before.shape[1]
        more = min(room, (self.most or 2 * room) - room)
        self._before = np.pad(self._before, ((0, 0), (0, 0), (0, more)))
        self._log_before = np.pad(self._log_before, ((0, 0), (0, more)))
        return room + more


def detect(
    symbols: ArrayLike,
    n_symbols: int,
    prior: float | str | LogPrior = 1e-3,
    skip_first_loss: bool = False,
    most: int | None = None,
) -> np.ndarray:
    """bool [N, T]: after which symbols the detectors of streams [N, T] restart; see `ChangePoints`."""
    x = np.asarray(symbols)
    if x.ndim != 2:
        raise ValueError(f"symbols must have shape [N, T], got {list(x.shape)}")
    detectors = ChangePoints(n_symbols, len(x), prior, skip_first_loss, most)
    return np.stack([detectors.update(column) for column in x.T], 1) if x.shape[1] else np.zeros(x.shape, dtype=bool)


def forecasters(
    symbols: ArrayLike, n_symbols: int, prior: float | str | LogPrior = 1e-3, skip_first_loss: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The log weights [T, T] of all forecasters of one stream [T], and bool [T], after which symbols it restarts.

    Row s is the forecaster that starts at s, column t the weights after symbol t; NaN where there is none. Each weight
    is made step by step from the losses -log (c + 1) / (n + O), as the detector is defined: slow, and to be looked at.
    """
    x = np.asarray(symbols, dtype=np.int64)
    log_prior, steps = prior_of(prior), len(x)
    weights, restarted = np.full((steps, steps), np.nan), np.zeros(steps, dtype=bool)
    counts = np.zeros((steps, n_symbols))  # since each start
    logs = np.zeros(steps)  # of each forecaster, with what the first lost before it was born, without its prior
    r = 0
    for t in range(steps):
        starts = np.arange(r, t + 1)
        logs[t] = logs[r] if t > r else 0.0
        gains = np.log((counts[starts, x[t]] + 1) / (counts[starts].sum(-1) + n_symbols))
        if skip_first_loss and t > r:
            gains[-1] = 0.0
        logs[starts] += gains
        counts[starts, x[t]] += 1
        prior_logs = np.zeros(len(starts))
        prior_logs[1:] = log_prior(starts[1:] - r, t + 1 - starts[1:])
        weights[r : t + 1, t] = logs[starts] + prior_logs
        if (weights[r + 1 : t + 1, t] > weights[r, t] + TIE).any():
            restarted[t], r = True, t + 1
    return weights, restarted
