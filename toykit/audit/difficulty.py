"""Property 4. Difficulty: by what factor is a prompt of success probability p weighted?"""

from __future__ import annotations

import torch

from toykit.audit.candidates import reward
from toykit.audit.findings import BIASED, EXACT, NONE, SAME, Property, fit, short
from toykit.audit.measure import Probe
from toykit.audit.problems import problem
from toykit.exact import group_weight, informative

GRID = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)
SIZE = 8
CLOSE = 1e-3  # relative difference of curves that are called the same: an eps in a denominator makes 1e-5

P = torch.tensor(GRID, dtype=torch.float64)
CURVES = {  # of what the weights are known, up to a constant factor
    "1: the gradient of E[r]": torch.ones_like(P),
    f"the group's standard deviation (G = {SIZE})": group_weight(P, SIZE, mean="group", std="group") / (P * (1 - P)),
    f"that of a group of both labels, whatever p (G = {SIZE})": informative(P, SIZE) / (P * (1 - P)),
    "1 / p: the gradient of log p": 1 / P,
    "1 / sqrt(p (1 - p))": (P * (1 - P)).rsqrt(),
    "1 - p": 1 - P,
    "p": P,
}


def properties(probe: Probe) -> list[Property]:
    name = f"coin/p=0.1@{SIZE}"
    if not probe.takes("rewards", "advantages"):
        return [Property("difficulty.weight", NONE, None, None, name, "it takes neither rewards nor advantages")]
    problems = [problem(f"coin/p={p}@{SIZE}") for p in GRID]
    factors = [fit(probe.on(q.name).gradient, reward(q)).weights[0] for q in problems]
    weights = torch.tensor(factors, dtype=torch.float64)
    near = {curve: fit(weights, values) for curve, values in CURVES.items()}
    best = next((c for c, one in near.items() if one.error < CLOSE), min(near, key=lambda c: near[c].error))
    row = {"p": list(GRID), "weight": weights.tolist(), "curve": best, "error": near[best].error}
    row["curves"] = {curve: (near[curve].weights[0] * values).tolist() for curve, values in CURVES.items()}
    said = zip(GRID, weights.tolist(), strict=True)
    words = ", ".join(f"{short(w)} (p = {p})" for p, w in said if p in (0.02, 0.5, 0.9))
    away = near[best].error
    fits = f"the curve is {best}" if away < CLOSE else f"the nearest curve is {best}, {short(away)} away"
    flat = near["1: the gradient of E[r]"].error < SAME
    verdict = EXACT if flat else BIASED
    return [Property("difficulty.weight", verdict, row, 1.0, name, f"a prompt is weighted {words}; {fits}")]
