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
    baseline = {g: _with_baseline(m) for g, m in found.items()}
    row = {"G": list(found), "variance": [m.variance for m in found.values()], "ratio": list(ratio.values())}
    row["ratio_with_baseline"] = list(baseline.values())
    share = {g: ratio[g] / baseline[g] for g in found}
    words = ", ".join(f"{short(ratio[g])} (G = {g}, x {short(share[g])})" for g in found if g in (2, 4, 8))
    words = f"squared mean over variance of a group's update, and beside that of the exact baseline E[r]: {words}"
    return [Property("noise.ratio", NOTE, row, list(baseline.values()), name, words)]


def _with_baseline(measured: Measured) -> float:
    """The ratio with the exact expected reward as a baseline: rewards minus E[r], averaged over the group."""
    p, g = measured.problem, measured.problem.group_size
    law, step = p.law[0], reward(p)[0, 0]
    advantage = p.rewards[0] - (law * p.rewards[0]).sum()
    squared = advantage.square() * (1 - 2 * law + law.square().sum())  # ||A (e_y - pi)||^2
    variance = float((law * squared).sum() - step.square().sum()) / g
    return float(step.square().sum()) / variance
