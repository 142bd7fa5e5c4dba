"""Lesson 47 on the exact rung: the detector's identities, its false alarms and delays, and regret in a changing MDP."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch

from toykit.control import TabularMDP
from toykit.control.online import UCRL2, QLearning, Regret, detect, log_marginal, regret_curves, theorem_prior
from toykit.control.online.regret import Algorithm
from toykit.control.worlds import Drifting, swapped_chain
from toykit.lessons.base import Results

BEFORE = (0.7, 0.2, 0.1)  # the law of the symbols until the change
AFTER = (0.2, 0.3, 0.5)
FARTHER = ((0.6, 0.25, 0.15), (0.5, 0.3, 0.2), (0.3, 0.4, 0.3), (0.1, 0.2, 0.7))
CHANGE = 300
ETAS = (0.5, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
STEPS, CHANGES, WINDOW, ETA, SCALE = 6000, (2000, 4000), 500, 1e-3, 0.1
EVERY = 40  # steps between the points of a curve that are kept


def run(seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)) -> Results:
    """All exact results of the lesson. The seeds draw the runs in the MDPs; the streams have the card's own."""
    return {
        "identities": identities(),
        "streams": streams(),
        "farther": farther(),
        "etas": etas(),
        "regret": chain(seeds),
        "unvisited": unvisited(seeds),
    }


def kl(p: Sequence[float], q: Sequence[float]) -> float:
    return float(np.sum(np.array(p) * np.log(np.array(p) / np.array(q))))


def everything(n_symbols: int, n: int) -> np.ndarray:
    """All sequences [n_symbols ** n, n]."""
    return np.array(list(itertools.product(range(n_symbols), repeat=n)))


def counts_of(symbols: np.ndarray, n_symbols: int) -> np.ndarray:
    """[..., O] of symbols [..., n]."""
    return (symbols[..., None] == np.arange(n_symbols)).sum(-2)


def identities() -> Results:
    """C1 and C2, and false alarms of the detector itself under the prior predictive, over all sequences."""
    draw = np.random.default_rng(0)
    orders = []
    for n_symbols in (1, 2, 3, 5):
        x = draw.integers(0, n_symbols, 40)
        whole = log_marginal(counts_of(x, n_symbols))
        for order in (x, draw.permutation(x)):
            seen, product = np.zeros(n_symbols), 0.0
            for symbol in order:
                product += np.log((seen[symbol] + 1) / (seen.sum() + n_symbols))
                seen[symbol] += 1
            orders.append(abs(product - whole))
    sums = {}
    for n_symbols, n in ((2, 10), (3, 6), (4, 5)):
        x = everything(n_symbols, n)
        for s in range(1, n):
            parts = (log_marginal(counts_of(part, n_symbols)) for part in (x[:, :s], x[:, s:]))
            sums[f"{n_symbols},{n},{s}"] = float(np.exp(sum(parts)).sum())
    return {"orders": float(max(orders)), "sums": sums, "alarms": alarms()}


def alarms(n_symbols: int = 3, n: int = 8) -> Results:
    """Of all sequences, weighted by the prior predictive: the largest chance that the test of a start s at a time t
    fires, and the chance of any restart, both over their bounds eta and eta times the pairs that were tested."""
    x = everything(n_symbols, n)
    weight = np.exp(log_marginal(counts_of(x, n_symbols)))
    pairs: list[tuple[int, int]] = [(s, t) for t in range(2, n + 1) for s in range(1, t)]
    largest: dict[str, float] = {}
    for eta in (0.01, 0.1, 0.3, 1.0):
        each = []
        for s, t in pairs:
            parts = [log_marginal(counts_of(part, n_symbols)) for part in (x[:, :s], x[:, s:t], x[:, :t])]
            each.append(float(weight[parts[0] + parts[1] - parts[2] + np.log(eta) > 1e-10].sum()))
        first = detect(x, n_symbols, eta).any(1)
        largest[f"{eta:g}"] = max(each) / eta
        largest[f"{eta:g}, any"] = float(weight[first].sum()) / (eta * len(pairs))
    return {"share": largest, "pairs": len(pairs)}


def drawn(after: Sequence[float], seeds: int, length: int) -> np.ndarray:
    """Streams [seeds, CHANGE + length], as the card draws them."""
    rows = []
    for seed in range(seeds):
        draw = np.random.default_rng(seed)
        rows.append(np.concatenate([draw.choice(3, CHANGE, p=BEFORE), draw.choice(3, length, p=after)]))
    return np.stack(rows)


def judged(restarts: np.ndarray) -> Results:
    """For each stream whether there was a false alarm, how many, and the symbols after the change up to the first
    restart there (all there are, where there is none)."""
    before, after = restarts[:, :CHANGE], restarts[:, CHANGE:]
    found = after.any(1)
    delay = np.where(found, after.argmax(1) + 1, after.shape[1])
    return {
        "false": before.any(1).tolist(),
        "false alarms": before.sum(1).tolist(),
        "delay": delay.tolist(),
        "missed": int((~found).sum()),
    }


def streams() -> Results:
    """Section B of the card: three priors, with and without the first loss; then the theorem's and an age cap."""
    x = drawn(AFTER, 60, 200)
    settings = {
        f"{eta}{', skipped' if skip else ''}": detect(x, 3, eta, skip)
        for skip in (False, True)
        for eta in (1e-3, 1e-5, "1/n")
    }
    settings |= {"theorem": detect(x, 3, theorem_prior(0.05)), "0.001, capped": detect(x, 3, 1e-3, most=50)}
    return {"kl": kl(AFTER, BEFORE)} | {name: judged(restarts) for name, restarts in settings.items()}


def farther() -> list[Results]:
    """Delay against KL, at eta = 1/n."""
    return [
        {"kl": kl(law, BEFORE), "after": list(law)} | judged(detect(drawn(law, 30, 600), 3, "1/n")) for law in FARTHER
    ]


def etas() -> list[Results]:
    """False alarms and delays by eta, on the streams of `streams`."""
    x = drawn(AFTER, 60, 200)
    return [{"eta": eta} | judged(detect(x, 3, eta)) for eta in ETAS]


def algorithms(changes: tuple[int, ...] = CHANGES) -> dict[str, Algorithm]:
    return {
        "UCRL2": UCRL2(scale=SCALE),
        "window": UCRL2(scale=SCALE, window=WINDOW),
        "R-BOCPD-UCRL2": UCRL2(scale=SCALE, prior=ETA),
        "oracle": UCRL2(scale=SCALE, restarts=changes),
        "local restarts": UCRL2(scale=SCALE, prior=ETA, scope="local"),
        "Q-learning": QLearning(),
    }


def kept(found: Regret, every: int = EVERY) -> Results:
    """The curves [seeds, points] from 0 on, the ends, and the restarts."""
    curves = torch.cat([torch.zeros(len(found.regret), 1), found.regret[:, every - 1 :: every]], 1)
    return {
        "curves": [[round(x, 3) for x in row] for row in curves.tolist()],
        "regret": found.regret[:, -1].tolist(),
        "thirds": [found.regret[:, t - 1].tolist() for t in (*CHANGES, STEPS) if t <= found.regret.shape[1]],
        "restarts": [list(marks) for marks in found.restarts],
    }


def chain(seeds: Sequence[int]) -> Results:
    """C5: section C of the card."""
    world = swapped_chain(STEPS)
    found = {name: regret_curves(how, world, seeds, STEPS) for name, how in algorithms().items()}
    made = {name: kept(one) for name, one in found.items()}
    return {"gains": list(found["UCRL2"].gains), "every": EVERY, "runs": made}


def hidden_door(change: int) -> Drifting:
    """Two rooms: in room 0 (reward 0.5) one may stay or try the door to room 1 (reward 1, and back to room 0), which
    opens with 0.02 at first and with 0.9 after the change; trying costs the reward."""
    phases = []
    for p in (0.02, 0.9):
        law = torch.zeros(3, 2, 3, dtype=torch.float64)  # state 2: before the closed door, from where one comes back
        law[0, 0, 0] = 1.0
        law[0, 1, 1], law[0, 1, 2] = p, 1 - p
        law[1, :, 0] = law[2, :, 0] = 1.0
        rewards = torch.tensor([0.5, 1.0, 0.0], dtype=torch.float64)[:, None].expand(3, 2)
        phases.append(TabularMDP(P=law, R=rewards, start=0))
    return Drifting(tuple(phases), (change,))


def unvisited(seeds: Sequence[int], change: int = 1000, steps: int = 2000) -> Results:
    """X1: a change that is seen only by who does what was not worth doing."""
    world = hidden_door(change)
    found = {
        name: regret_curves(algorithms((change,))[name], world, seeds, steps) for name in ("R-BOCPD-UCRL2", "oracle")
    }
    return {
        "gains": list(found["oracle"].gains),
        "change": change,
        **{
            name: {"regret": one.regret[:, -1].tolist(), "restarts": [list(m) for m in one.restarts]}
            for name, one in found.items()
        },
    }
