"""Property 10. Noise: the variance and the signal-to-noise ratio of one group's update, against G."""

from __future__ import annotations

from toykit.audit.candidates import reward
from toykit.audit.findings import NONE, NOTE, Property, short
from toykit.audit.measure import Failure, Measured, Probe

SIZES = (2, 3, 4, 6, 8)
BASE = "binary/at_reference"


def properties(probe: Probe) -> list[Property]:
    if not probe.takes("rewards", "advantages"):
        return [Property("noise.ratio", NONE, None, None, BASE, "it takes neither rewards nor advantages")]
    found: dict[int, Measured] = {}
    for g in SIZES:
        try:
            found[g] = probe.on(f"{BASE}@{g}")
        except Failure:
            continue
    name = f"{BASE}@4"
    if not found:
        return [Property("noise.ratio", NONE, None, None, name, "no group size gives an update")]
    signal = {g: float(m.gradient.square().sum()) for g, m in found.items()}
    ratio = {g: signal[g] / m.variance if m.variance else 0.0 for g, m in found.items()}
    best = {g: _best(m) for g, m in found.items()}
    row = {"G": list(found), "variance": [m.variance for m in found.values()], "ratio": list(ratio.values())}
    row["ratio_of_best"] = list(best.values())
    share = {g: ratio[g] / best[g] for g in found}
    words = ", ".join(f"{short(ratio[g])} (G = {g}, {short(share[g])} of the best)" for g in found if g in (2, 4, 8))
    words = f"squared mean over variance of one group's update is {words}"
    return [Property("noise.ratio", NOTE, row, list(best.values()), name, words)]


def _best(measured: Measured) -> float:
    """The ratio of the exact expected reward as a baseline: rewards minus E[r], averaged over the group."""
    p, g = measured.problem, measured.problem.group_size
    law, step = p.law[0], reward(p)[0, 0]
    advantage = p.rewards[0] - (law * p.rewards[0]).sum()
    squared = advantage.square() * (1 - 2 * law + law.square().sum())  # ||A (e_y - pi)||^2
    variance = float((law * squared).sum() - step.square().sum()) / g
    return float(step.square().sum()) / variance
