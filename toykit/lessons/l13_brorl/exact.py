"""Lesson 13 on the exact rung: six tokens of which every draw is enumerated, and the paper's simulator."""

from __future__ import annotations

import math
from dataclasses import fields

import torch
from torch import Tensor

from toykit.exact import (
    MassBalance,
    enumerate_draws,
    exact_step,
    informative,
    mass_balance,
    probability_change,
    subset_law,
    subsets,
    surrogate_step,
    unsampled_second_moment,
)
from toykit.lessons.base import Results
from toykit.lessons.l13_brorl.simulator import CORRECT, SIGN, STEPS, SURROGATES, Run, simulate, start

RIGHT = torch.arange(6) < 3  # of the six tokens, the first three are correct
PARTS = tuple(field.name for field in fields(MassBalance))
NEVER = 1e-15  # what is smaller in size is rounding

DRAWS = {"equal": (4, 16, 64, 512, 8192), "unequal": (4, 16, 64, 8192)}
SPREADS = {"equal": 0.0, "unequal": 0.3}
KEEP = tuple(range(0, STEPS + 1, 100))
OTHER_LOGITS = 1_000  # + seed: draws of the unequal logits that were not looked at when X4 and X5 were written
STARTS = {
    "equal": start(),
    "spread 0.3": start(0.3),
    "spread 1": start(1.0),
    "one correct token far ahead": start(anchor=0),
    "one wrong token far ahead": start(anchor=-1),
}


def position(spread: float = 1.0) -> Tensor:
    """Log-probabilities [6] of the example: `spread` is that of the correct tokens' logits, 1 gives the card's."""
    correct = 0.6 + spread * torch.tensor([1.4, -0.3, -1.1], dtype=torch.float64)
    return torch.cat([correct, torch.tensor([1.5, 0.0, -1.0], dtype=torch.float64)]).log_softmax(0)


def run(seeds: tuple[int, ...] = (0, 1, 2, 3, 4)) -> Results:
    """All exact results of the lesson.

    `seeds` are those of the simulator's draws, and of the limit's unequal logits; `seeds[0]` draws the laws of C2.
    """
    return {
        "table": [moments(n) for n in (1, 2, 3, 5)],
        "identity": identity(),
        "signs": signs(seeds[0]),
        "lemma": lemma(),
        "chance": chance(),
        "multiplicity": multiplicity(),
        "losers": {name: losers(logits) for name, logits in STARTS.items()},
        "informative": broadening(),
    } | simulations(seeds)


def moments(n: int) -> Results:
    """P(dQ < 0) and the mean of each term over all draws of `n` tokens, without the step's eta / N."""
    log_p = position()
    counts, log_weight = enumerate_draws(log_p, n)
    weight, terms = log_weight.exp(), mass_balance(log_p, RIGHT, counts > 0)
    means = {name: float(weight @ getattr(terms, name)) for name in PARTS}
    return {"N": n, "P(dQ < 0)": float(weight[terms.total < -NEVER].sum())} | means


def identity() -> Results:
    """C1 and D2: the terms against central differences of Q_pos, over all draws of 1 to 4 tokens."""
    log_p, errors = position(), {"sets": 0.0, "counts": 0.0}
    for n in range(1, 5):
        counts, _ = enumerate_draws(log_p, n)
        for kind, drawn in (("sets", counts > 0), ("counts", counts)):
            terms, found = mass_balance(log_p, RIGHT, drawn), measured_terms(log_p, drawn)
            ours = torch.stack([getattr(terms, name) for name in PARTS])
            errors[kind] = max(errors[kind], float((ours - found).abs().max()))
    return errors


def measured_terms(log_p: Tensor, drawn: Tensor, eta: float = 1e-4) -> Tensor:
    """[4, M]: the slope of Q_pos along the part of the step that falls on the tokens of each term."""
    hit = drawn > 0
    owners = torch.stack([hit & RIGHT, hit & ~RIGHT, ~hit & ~RIGHT, ~hit & RIGHT])
    step = eta * surrogate_step(log_p, RIGHT, drawn) * owners
    up, down = ((log_p + s).softmax(-1)[..., RIGHT].sum(-1) for s in (step, -step))
    return (up - down) / (2 * eta)


def signs(seed: int, laws: int = 100) -> Results:
    """C2: the terms of every set of six tokens, at random laws, correct tokens and rewards."""
    draw = torch.Generator().manual_seed(seed)
    log_p = (2 * torch.randn(laws, 1, 6, generator=draw, dtype=torch.float64)).log_softmax(-1)
    correct = torch.rand(laws, 1, 6, generator=draw, dtype=torch.float64) < 0.5
    sampled, guilty, harmful = [], [], 0
    for right, wrong in ((1.0, -1.0), (1.0, 0.0), (0.0, -1.0), (2.0, -0.3), (0.2, -3.0)):
        terms = mass_balance(log_p, correct, subsets(6), right, wrong)
        sampled.append(torch.minimum(terms.sampled_correct, terms.sampled_wrong).min())
        harm = terms.total < -NEVER
        harmful += int(harm.sum())
        guilty.append(terms.unsampled[harm].max())
    return {
        "smallest_sampled": float(torch.stack(sampled).min()),
        "harmful_sets": harmful,
        "largest_unsampled_in_harm": float(torch.stack(guilty).max()),
    }


def lemma() -> Results:
    """C3: the unsampled second moment, by its formula and by all draws."""
    log_p = position()
    error = 0.0
    for n in range(1, 6):
        counts, log_weight = enumerate_draws(log_p, n)
        brute = log_weight.exp() @ ((counts == 0) * log_p.exp().square()).sum(1)
        error = max(error, float((brute - unsampled_second_moment(log_p, n)).abs()))
    return {"error": error, "values": [float(unsampled_second_moment(log_p, n)) for n in range(65)]}


def chance(n: int = 12) -> Results:
    """C3: P(dQ < 0) after 1, 2, ... draws: in the example, and at a law where it rises first."""
    log_p = position()
    found = harm(log_p, RIGHT, n)
    brute = [moments(k)["P(dQ < 0)"] for k in range(1, 6)]
    other = torch.tensor([0.1, 0.44, 0.45, 0.01], dtype=torch.float64).log()
    return {
        "path": found.tolist(),
        "error": max(abs(a - b) for a, b in zip(found.tolist(), brute, strict=False)),
        "rising_path": harm(other, torch.arange(4) < 3, n).tolist(),
    }


def harm(log_p: Tensor, correct: Tensor, n: int, reward_wrong: float = -1.0) -> Tensor:
    """P(dQ < 0) [n] after 1, ..., n draws from `log_p` [V]."""
    terms = mass_balance(log_p, correct, subsets(len(log_p)), reward_wrong=reward_wrong)
    return subset_law(log_p, n)[1:, terms.total < -NEVER].sum(-1)


def multiplicity() -> Results:
    """D2: two correct tokens, p = 0.7 drawn once and 0.1 drawn six times: the first term by counts and by sets."""
    log_p = torch.tensor([0.7, 0.1, 0.2], dtype=torch.float64).log()
    correct, counts = torch.tensor([True, True, False]), torch.tensor([1, 6, 0])
    return {
        "counts": float(mass_balance(log_p, correct, counts).sampled_correct),
        "sets": float(mass_balance(log_p, correct, counts > 0).sampled_correct),
    }


def losers(logits: Tensor, eta: float = 1e-3) -> Results:
    """D1: which of the 100 correct tokens lose in one plain step of the expected gradient, by rule and by taking it.

    "ratio" is the gradient of E R: every token counts once, or a draw is weighed by the ratio. "p" is the limit of
    the paper's simulator, where a draw is weighed by its probability, so that a token counts by its square.
    """
    log_p = logits.log_softmax(0)
    p = log_p.exp()
    a = SIGN - (p * SIGN).sum()
    second, third = (p**2 * a).sum(), (p**3 * a).sum()
    rules = {
        "ratio": (p * a < second, exact_step(log_p, SIGN)),
        "p": (p * (p * a - second) < third - second * (p**2).sum(), p * (p * a - second)),
    }
    found = {}
    for name, (rule, step) in rules.items():
        change = ((log_p + eta * step).softmax(0) - p)[:CORRECT]
        first_order = probability_change(log_p, step)[:CORRECT]
        found[name] = {
            "by rule": int(rule[:CORRECT].sum()),
            "by step": int((change < 0).sum()),
            "disagree": int((rule[:CORRECT] != (change < 0)).sum() + (rule[:CORRECT] != (first_order < 0)).sum()),
        }
    return found


def broadening() -> Results:
    """C6: the least growth, from one group size to the next, of the chance that a group has right and wrong answers."""
    p = torch.linspace(0.02, 0.98, 49, dtype=torch.float64)
    sizes = (2, 4, 8, 16, 32, 64)
    share = torch.stack([informative(p, g) for g in sizes])
    return {"sizes": list(sizes), "least_growth": float(share.diff(dim=0).min()), "at 0.02": share[:, 0].tolist()}


def simulations(seeds: tuple[int, ...]) -> Results:
    """C4 and the counter-experiment ("sampled"), and the limit N = inf of every start and surrogate ("limit")."""
    plan = [(name, n) for name, draws in DRAWS.items() for n in draws]
    sampled = [Run(start(SPREADS[name]), n, seed) for name, n in plan for seed in seeds]
    every = [*STARTS.values(), *(start(SPREADS["unequal"], OTHER_LOGITS + seed) for seed in seeds)]
    endless = [Run(logits, math.inf, surrogate=kind) for kind in SURROGATES for logits in every]
    outcome = simulate([*sampled, *endless], KEEP)
    n = len(sampled)
    mass, improved, worst = outcome.mass.T, outcome.improved, outcome.worst
    return {
        "steps": list(KEEP),
        "sampled": _by_start(plan, len(seeds), mass[:n], improved[:n], worst[:n]),
        "limit": _by_surrogate(mass[n:, -1], improved[n:], worst[n:]),
    }


def _by_start(plan: list[tuple[str, int]], seeds: int, mass: Tensor, improved: Tensor, worst: Tensor) -> Results:
    """{start: {figure: [by draws [by seed]]}}."""
    shape = (len(plan), seeds)
    parts = {"mass": mass.reshape(*shape, -1), "improved": improved.view(shape), "worst": worst.view(shape)}
    found: Results = {}
    for name, draws in DRAWS.items():
        rows = [i for i, (which, _) in enumerate(plan) if which == name]
        found[name] = {"draws": list(draws)} | {key: part[rows].tolist() for key, part in parts.items()}
    return found


def _by_surrogate(mass: Tensor, improved: Tensor, worst: Tensor) -> Results:
    """{surrogate: {figure: [by start]}}, and what is lost for other draws of the unequal logits."""
    found: Results = {"start": list(STARTS)}
    k = len(STARTS)
    parts = (x.view(len(SURROGATES), -1) for x in (mass, 1 - improved, worst))
    for kind, q, lost, low in zip(SURROGATES, *parts, strict=True):
        found[kind] = {
            "mass": q[:k].tolist(),
            "losing": lost[:k].tolist(),
            "worst": low[:k].tolist(),
            "losing_by_draw": lost[k:].tolist(),
            "worst_by_draw": low[k:].tolist(),
        }
    return found
