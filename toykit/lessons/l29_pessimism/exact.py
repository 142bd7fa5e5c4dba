"""Lesson 29 on the exact rung: bandits by enumeration, and a small MDP whose data are drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import linear_regression

import torch
from torch import Tensor

from toykit.control.offline.lcb import lower_bounds
from toykit.control.offline.two_arms import MOST, Score, by_lower_bound, by_mean, by_visits, pulls, worse_arm
from toykit.lessons.base import Results
from toykit.lessons.l29_pessimism import offline_mdp

SIZES = (20, 40, 80, 160)  # of the bandits
WIDE = (16, 32, 64, 128)  # of the contextual ones
GAPS = (0.5, 1.0, 1.5, 2.0, 3.0)  # over sqrt(N)
FEW_GAPS = (0.5, 1.0, 2.0, 4.0)  # over the square root of the hard context's samples
RULES = ("LCB", "empirical best", "most played")


def run(seeds: tuple[int, ...] = tuple(range(20))) -> Results:
    """All exact results of the lesson; the seeds draw the data of the MDP (the card's are 0 to 19)."""
    return {"bandit": bandit(), "contextual": contextual(), "mdp": offline_mdp.run(seeds)}


def rules(pairs: int, n: int) -> dict[str, Score]:
    """The three rules for a bandit of so many pairs of context and arm, at delta = 1 / n."""
    return dict(zip(RULES, (by_lower_bound(math.log(2 * pairs * n)), by_mean, by_visits), strict=True))


def around_half(gaps: Tensor) -> Tensor:
    """Arms [..., 2] that pay with probabilities 1/2 plus and minus half of the gap."""
    return torch.stack([0.5 + gaps / 2, 0.5 - gaps / 2], -1)


def worst(law: Tensor, gaps: Tensor, score: Score) -> float:
    """The largest expected sub-optimality over some gaps [K]."""
    return float((gaps * worse_arm(law, around_half(gaps), score)).max())


def slope(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Of log values against log sizes, by least squares."""
    return linear_regression([math.log(n) for n in sizes], [math.log(v) for v in values]).slope


def bandit() -> Results:
    """Expected sub-optimality of two arms at the `SIZES`: a gap of 0.3 on nearly expert data, and the worst of the
    `GAPS` for data of which the better arm has 1/2 or 0.8."""
    found: dict[str, dict[str, list[float]]] = {
        kind: {name: [] for name in RULES} for kind in ("nearly expert", "uniform", "C* = 1.25")
    }
    for n in SIZES:
        gaps = (torch.tensor(GAPS, dtype=torch.float64) / n**0.5).clamp(max=1.0)
        for name, score in rules(2, n).items():
            one = 0.3 * worse_arm(pulls(n, 1 - 2 / n), torch.tensor([0.6, 0.3], dtype=torch.float64), score)
            found["nearly expert"][name].append(float(one))
            found["uniform"][name].append(worst(pulls(n, 0.5), gaps, score))
            found["C* = 1.25"][name].append(worst(pulls(n, 0.8), gaps, score))
    divergence = 0.5 * math.log(0.5 / 0.8) + 0.5 * math.log(0.5 / 0.2)  # KL(Bern(1/2), Bern(1/C*))
    return {
        "sizes": list(SIZES),
        **found,
        "limit": limit_of_empirical_best(),
        "chernoff": [math.exp(-n * divergence) for n in SIZES],
        "wrong": [float(worse_arm(pulls(n, 0.8), torch.tensor([1.0, 0.0]).double(), by_visits)) for n in SIZES],
        "slopes": {kind: slope(SIZES, found[kind]["LCB"]) for kind in ("uniform", "C* = 1.25")},
    }


def limit_of_empirical_best(most: int = 40) -> float:
    """The expected sub-optimality of the empirically best arm on nearly expert data for N without end: the bad arm has
    Poisson(2) pulls, the good one a mean of 0.6, and a tie falls either way."""
    m = torch.arange(most + 1, dtype=torch.float64)[:, None]
    k = torch.arange(most + 1, dtype=torch.float64)[None, :]
    chance = (m * math.log(2.0) - 2.0 - torch.lgamma(m + 1)).exp()
    ways = torch.lgamma(m + 1) - torch.lgamma(k + 1) - torch.lgamma((m - k).clamp(min=0) + 1)
    wins = (ways + k * math.log(0.3) + (m - k) * math.log(0.7)).exp() * (k <= m)
    ahead = (5 * k > 3 * m).double() + 0.5 * ((5 * k == 3 * m) & (m > 0)).double()
    return float(0.3 * (chance * wins * ahead).sum())


def contextual() -> Results:
    """The hard context of mass C* - 1, whose two arms are logged equally often, beside one of expert data; and a rare
    context of mass 1/N with expert data alone (C* = 1)."""
    found: Results = {"sizes": list(WIDE), "hard": {}, "slopes": {}}
    for c in (1.05, 1.2, 2.0):
        mass, at = c - 1, {name: list[float]() for name in RULES}
        for n in WIDE:
            law = pulls(n, mass / c, mass / c)
            gaps = (torch.tensor(FEW_GAPS, dtype=torch.float64) / max(1.0, 2 * mass * n / c) ** 0.5).clamp(max=1.0)
            for name, score in rules(4, n).items():
                at[name].append(mass * worst(law, gaps, score))
        found["hard"][f"{c:g}"] = at
        found["slopes"][f"{c:g}"] = slope(WIDE, at["LCB"])
    found["rare"] = [rare(n) for n in WIDE]
    found["slopes"]["rare"] = slope(WIDE, found["rare"])
    found["late"] = {str(n): {"error": rare(n), "unseen alone": (1 - 1 / n) ** n / (2 * n)} for n in (372, 373, MOST)}
    bounds = [lower_bounds(torch.ones(1), torch.ones(1).double(), math.log(8 * n)).item() for n in (372, 373)]
    return found | {"bound of one pull": bounds}


def rare(n: int) -> float:
    """LCB's expected sub-optimality in a context of mass 1/n with arms that pay 1 and 0, the first of them logged."""
    return float(worse_arm(pulls(n, 1 / n, 0.0), torch.tensor([1.0, 0.0]).double(), rules(4, n)["LCB"])) / n
