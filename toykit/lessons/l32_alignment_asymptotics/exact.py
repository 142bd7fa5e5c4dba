"""Lesson 32 on the exact rung: tilts, best-of-n laws and their limits, over letters and over all strings of letters."""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from toykit.exact import (
    MarkovSource,
    best_of_n,
    enumerate_groups,
    kl,
    log_evidence,
    posterior,
    tilt_to_kl,
    total_variation,
)
from toykit.lessons.base import Results
from toykit.lessons.l32_alignment_asymptotics.vowels import memory

P = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
REWARDS = torch.tensor([0, 1, 2, 4])
R = REWARDS.double()
DELTA = 0.4  # nats a letter
GAMMA = 0.5772156649015329  # Euler's: a Gumbel law of scale 1 / alpha has entropy 1 + gamma - log alpha
LENGTHS = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
CARD_LENGTHS = 7  # of these are the card's
LEVEL = 2.6  # a reward a letter that the tilt seldom reaches
FAR = (160, 640, 2560)  # lengths at which it is looked for


@cache
def tilt() -> tuple[float, Tensor]:
    """(alpha, the tilted letter's log-probabilities [4]) at DELTA."""
    found = tilt_to_kl(P.log(), R, DELTA)
    return 1 / found.beta.item(), found.log_p


def log_moment(alpha: float | Tensor) -> Tensor:
    """Lambda(alpha) = log E exp(alpha r) of one letter [...], by its definition."""
    return (P.log() + torch.as_tensor(alpha, dtype=torch.float64)[..., None] * R).logsumexp(-1)


def run(seeds: tuple[int, ...] = (0,)) -> Results:
    """All exact results of the lesson. `seeds[0]` draws the random problems of C2 and C4; the letters are fixed."""
    return {
        "letter": letter(),
        "maximiser": maximiser(),
        "identity": identity(seeds[0]),
        "curve": curve(),
        "bound": bound(seeds[0]),
        "table": [row(m) for m in LENGTHS],
        "deviations": deviations(),
        "cumulants": cumulants(),
        "two_levels": two_levels(),
        "strings": strings(),
        "memory": memory(),
        "pitfalls": pitfalls(),
    }


def letter() -> Results:
    """The tilt of one letter in a few numbers, and the closeness identity at the card's three draws.

    `width` is c of KL(best-of-n, RL) = log(m) / 2 + c for long strings: the cross entropy of the sum's normal law
    less the entropy of the best's Gumbel law.
    """
    alpha, phi = tilt()
    reward = (phi.exp() @ R).item()
    variance = (phi.exp() @ R**2).item() - reward**2
    draw = np.random.default_rng(0)
    others = torch.from_numpy(np.stack([draw.dirichlet(np.ones(4)) for _ in range(3)])).log()
    left, right = closeness(others, P.log(), R, phi, alpha)
    return {
        "alpha": alpha,
        "base_reward": (P @ R).item(),
        "reward": reward,
        "error": abs(kl(phi, P.log()).item() - (alpha * reward - log_moment(alpha).item())),
        "width": 0.5 * math.log(2 * math.pi * variance * alpha**2) - 1 - GAMMA,
        "left": left.tolist(),
        "right": right.tolist(),
    }


def closeness(
    other: Tensor, log_p: Tensor, rewards: Tensor, phi: Tensor, alpha: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Both sides of KL(w, phi) = KL(w, p) - KL(phi, p) + alpha (E_phi r - E_w r), each [...]."""
    ahead = (phi.exp() * rewards).sum(-1) - (other.exp() * rewards).sum(-1)
    return kl(other, phi), kl(other, log_p) - kl(phi, log_p) + alpha * ahead


def maximiser(steps: int = 100) -> Results:
    """C1: every law of four letters on a grid of `steps`, against the tilt at three budgets, and the largest one."""
    cuts = torch.combinations(torch.arange(steps + 3), 3)
    walls = torch.cat([torch.full((len(cuts), 1), -1), cuts, torch.full((len(cuts), 1), steps + 3)], 1)
    laws = (walls.diff(dim=1) - 1).double() / steps  # [C(103, 3), 4]
    cost, reward = torch.xlogy(laws, laws / P).sum(1), laws @ R
    rows = []
    for budget in (0.1, DELTA, 1.0):
        best = (tilt_to_kl(P.log(), R, budget).log_p.exp() @ R).item()
        within = reward[cost <= budget].max().item()
        rows.append({"budget": budget, "tilt": best, "grid": within})
    largest = tilt_to_kl(P.log(), R, -math.log(0.05)).log_p.exp()
    return {"laws": len(laws), "rows": rows, "missing_at_largest": (1 - largest[3]).item()}


def identity(seed: int, problems: int = 200, laws: int = 50) -> Results:
    """C2: the identity at random problems of six completions, and alpha eps for the laws within the budget."""
    draw = torch.Generator().manual_seed(seed)
    log_p = torch.randn(problems, 1, 6, generator=draw, dtype=torch.float64).log_softmax(-1)
    rewards = torch.randn(problems, 1, 6, generator=draw, dtype=torch.float64)
    budget = -0.5 * log_p.gather(-1, rewards.argmax(-1, keepdim=True))[..., 0]
    phi = tilt_to_kl(log_p, rewards, budget)
    noise = 2 * torch.rand(problems, laws, 1, generator=draw, dtype=torch.float64)
    away = torch.randn(problems, laws, 6, generator=draw, dtype=torch.float64)
    other = (phi.log_p + noise * away).log_softmax(-1)
    alpha = 1 / phi.beta
    left, right = closeness(other, log_p, rewards, phi.log_p, alpha)
    within = kl(other, log_p) <= budget
    behind = (phi.log_p.exp() * rewards).sum(-1) - (other.exp() * rewards).sum(-1)
    return {
        "error": ((left - right).abs() / (1 + alpha)).max().item(),  # as alpha grows, so does the rounding
        "within": int(within.sum()),
        "excess": (left - alpha * behind)[within].max().item(),
        "most_reward": (-behind[within]).max().item(),
    }


def curve(points: int = 200) -> Results:
    """C3: along the tilt, E r against Lambda' and KL against alpha Lambda' - Lambda; slopes of reward in KL."""
    alpha = torch.linspace(0.01, 3.0, points, dtype=torch.float64, requires_grad=True)
    moment = log_moment(alpha)
    (slope,) = torch.autograd.grad(moment.sum(), alpha)
    with torch.no_grad():
        phi = (P.log() + alpha[:, None] * R).log_softmax(-1)
        reward, cost = phi.exp() @ R, kl(phi, P.log().expand_as(phi))
        variance = phi.exp() @ R**2 - reward**2
        gain, spent = reward.diff(), cost.diff()
        speed = (cost[2:] - cost[:-2]) / (alpha[2:] - alpha[:-2])
        return {
            "reward_error": (reward - slope).abs().max().item(),
            "kl_error": (cost - (alpha * slope - moment)).abs().max().item(),
            "speed_error": (speed - (alpha * variance)[1:-1]).abs().max().item(),
            "least_gain": gain.min().item(),
            "most_bend": (gain / spent).diff().max().item(),
        }


def bound(seed: int, problems: int = 100) -> Results:
    """C4: the least slack of log n - (n - 1)/n over random problems, with ties and without, and over fine laws."""
    draw = torch.Generator().manual_seed(seed)
    log_p = (2 * torch.randn(problems, 8, generator=draw, dtype=torch.float64)).log_softmax(-1)
    rewards = torch.randn(problems, 8, generator=draw, dtype=torch.float64)
    slack = []
    for n in (1.5, 2.0, 8.0, 100.0, 1e6):
        for r in (rewards, (2 * rewards).round()):
            law = best_of_n(log_p, r, n)
            slack.append((law.bound - law.kl).min().item())
    fine = []
    for k in (10, 100, 1000, 10_000):
        law = best_of_n(torch.full((k,), -math.log(k), dtype=torch.float64), torch.arange(k), 8)
        fine.append((law.bound - law.kl).item())
    return {"least_slack": min(slack), "fine": fine}


@cache
def sums(m: int) -> tuple[Tensor, Tensor]:
    """(rewards [R], log-probabilities [R]) of strings of m independent letters."""
    return MarkovSource.independent(P, REWARDS).reward_law(m)


def row(m: int) -> dict[str, float]:
    """C5: best-of-n with n = exp(m DELTA) beside the tilt with budget m DELTA, over strings of m letters."""
    values, log_p = sums(m)
    alpha, phi = tilt()
    law = best_of_n(log_p, values, log_n=m * DELTA)
    tilted = posterior(log_p, values, 1 / alpha)
    return {
        "m": m,
        "log_n": m * DELTA,
        "bon": (law.log_p.exp() @ values).item() / m,
        "rl": (phi.exp() @ R).item(),
        "kl": law.kl.item(),
        "bound": law.bound.item(),
        "distance": kl(law.log_p, tilted).item(),
    }


def deviations() -> Results:
    """C6: P(r / m >= LEVEL) under the tilt, against its rate I and the sharper m I + log(m) / 2 + c."""
    alpha, phi = tilt()
    low, high = 0.0, 10.0
    for _ in range(100):  # a(x): the tilt whose mean is LEVEL
        middle = (low + high) / 2
        mean = (P.log() + middle * R).softmax(-1) @ R
        low, high = (middle, high) if mean < LEVEL else (low, middle)
    there = (P.log() + high * R).log_softmax(-1)
    variance = (there.exp() @ R**2 - (there.exp() @ R) ** 2).item()
    gap = high - alpha
    source, rows = MarkovSource.independent(phi.exp(), REWARDS), []
    for m in FAR:
        values, log_p = source.reward_law(m)
        rows.append({"m": m, "minus_log": -log_p[values >= LEVEL * m - 1e-9].logsumexp(0).item()})
    return {
        "rate": kl(there, phi).item(),
        "rate_by_moments": gap * LEVEL - log_moment(high).item() + log_moment(alpha).item(),
        "constant": math.log(-math.expm1(-gap) * math.sqrt(2 * math.pi * variance)),
        "rows": rows,
    }


def cumulants(m: int = 64) -> Results:
    """C6: (1/m) log E_phi exp(t r) by the law of the sum, as a difference of Lambda, and by Renyi cross entropies."""
    alpha, _ = tilt()
    values, log_p = sums(m)
    tilted = posterior(log_p, values, 1 / alpha)
    q, log_z = R.log_softmax(-1), R.logsumexp(-1)
    errors = []
    for t in (-0.5, -0.1, 0.1, 0.5, 1.0):
        by_sum = (tilted + t * values).logsumexp(0) / m
        errors.append((by_sum - (log_moment(alpha + t) - log_moment(alpha))).abs())
        renyi = -((P.log() + t * q).logsumexp(-1)) / t  # H_{1 + t}(p, q) = (1 / -t) log sum p q^t
        errors.append((log_moment(t) - (-t * renyi + t * log_z)).abs())
    return {"error": torch.stack(errors).max().item()}


def two_levels() -> Results:
    """C7: a reward of two levels, over success rates and n; and four levels, where best-of-n is no tilt."""
    worst, solver, at_log_n = 0.0, 0.0, []
    for p, n in itertools.product((1e-6, 0.01, 0.1, 0.5, 0.9), (1.5, 2.0, 4.0, 64.0)):
        log_p = torch.tensor([p, 1 - p], dtype=torch.float64).log()
        r = torch.tensor([1.0, 0.0], dtype=torch.float64)
        law = best_of_n(log_p, r, n)
        alpha = (law.log_p[0] - law.log_p[1]) - (log_p[0] - log_p[1])
        worst = max(worst, kl(law.log_p, posterior(log_p, r, (1 / alpha).item())).abs().item())
        if -math.log(p) > law.kl + 1e-6:
            solver = max(solver, (tilt_to_kl(log_p, r, law.kl).log_p - law.log_p).exp().sub(1).abs().max().item())
        if math.log(n) < -math.log(p):
            at_log_n.append(kl(law.log_p, tilt_to_kl(log_p, r, math.log(n)).log_p).item())
    log_p = torch.tensor([0.1, 0.9], dtype=torch.float64).log()
    law = best_of_n(log_p, torch.tensor([1.0, 0.0]), 4)
    lift = (law.log_p[0] - law.log_p[1] - (log_p[0] - log_p[1])).item()
    four = best_of_n(P.log(), R, 4)
    return {
        "worst": worst,
        "solver": solver,
        "least_at_log_n": min(at_log_n),
        "example": {"success": law.log_p[0].exp().item(), "alpha": lift, "beta": 1 / lift, "kl": law.kl.item()},
        "four_levels": kl(four.log_p, tilt_to_kl(P.log(), R, four.kl).log_p).item(),
    }


def strings(m: int = 6) -> Results:
    """All 4^m strings, one by one: the sums' numbers again, and a reward that is no sum."""
    every = torch.tensor(list(itertools.product(range(4), repeat=m)))
    log_p, rewards = P.log()[every].sum(1), R[every].sum(1)
    by_sum, (alpha, phi) = row(m), tilt()
    law, tilted = best_of_n(log_p, rewards, log_n=m * DELTA), tilt_to_kl(log_p, rewards, m * DELTA)
    found = {
        "bon": (law.log_p.exp() @ rewards).item() / m,
        "rl": (tilted.log_p.exp() @ rewards).item() / m,
        "kl": law.kl.item(),
        "distance": kl(law.log_p, tilted.log_p).item(),
    }
    other = torch.from_numpy(np.random.default_rng(0).normal(size=4**m))
    bent = posterior(log_p, other, 1 / 0.8)
    left, right = closeness(law.log_p, log_p, other, bent, 0.8)
    best = best_of_n(log_p, other, 64)
    return {
        "error": max(abs(found[name] - by_sum[name]) for name in found),
        "product_error": (tilted.log_p - phi[every].sum(1)).abs().max().item(),
        "identity_error": (left - right).abs().item(),
        "from_product": total_variation(bent, product_of_marginals(bent, m)).item(),
        "kl": best.kl.item(),
        "bound": best.bound.item(),
        "evidence_error": abs(log_evidence(log_p, rewards, 1 / alpha).item() - m * log_moment(alpha).item()),
    }


def product_of_marginals(log_p: Tensor, m: int) -> Tensor:
    """The law [4^m] of m independent letters with the marginals of a law over all strings."""
    p = log_p.exp().view(*[4] * m)
    marginals = [p.sum([j for j in range(m) if j != i]).log() for i in range(m)]
    total = torch.zeros((), dtype=torch.float64)
    for marginal in marginals:
        total = total[..., None] + marginal
    return total.flatten()


def pitfalls() -> Results:
    """What goes wrong: an n that does not grow, ties broken by name, tails that were summed from the wrong end."""
    fixed = []
    for m in LENGTHS[:CARD_LENGTHS]:
        values, log_p = sums(m)
        fixed.append((best_of_n(log_p, values, 64).log_p.exp() @ values).item() / m - (P @ R).item())
    naive = []
    for m in (16, 64, 128, 256):
        values, log_p = sums(m)
        up_to = log_p.exp().cumsum(0)
        power = (up_to / up_to[-1]) ** math.exp(m * DELTA)
        naive.append((power.diff(prepend=torch.zeros(1, dtype=torch.float64)) @ values).item() / m)
    return {"fixed_n": fixed, "naive": naive, "naive_at": [16, 64, 128, 256]} | tie_breaking()


def tie_breaking(n: int = 3) -> Results:
    """Total variation from the law of best-of-n when ties go to the first draw, or to the completion first by name."""
    log_p = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64).log()
    rewards = torch.tensor([1.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    groups, log_weight = enumerate_groups(log_p, n)
    first = groups.gather(1, rewards[groups].argmax(1, keepdim=True))[:, 0]
    won = rewards[groups] == rewards[groups].amax(1, keepdim=True)
    by_name = groups.masked_fill(~won, len(log_p)).amin(1)
    exact = best_of_n(log_p, rewards, n).log_p
    found = {}
    for name, chosen in (("first_draw", first), ("by_name", by_name)):
        law = torch.zeros(4, dtype=torch.float64).index_add(0, chosen, log_weight.exp())
        found[name] = 0.5 * (law - exact.exp()).abs().sum().item()
    return {"ties": found}
