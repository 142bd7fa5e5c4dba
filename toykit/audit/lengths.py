"""Property 5. Length: does the update prefer short or long completions of equal reward?"""

from __future__ import annotations

import math

from torch import Tensor

from toykit.audit.candidates import reward
from toykit.audit.findings import BIASED, EXACT, NONE, NOTE, SAME, Property, fit, relative, short
from toykit.audit.measure import Measured, Probe
from toykit.audit.problems import Problem
from toykit.exact import policy_gradient

NAME = "lengths/at_reference"
EQUAL = "lengths/ones/at_reference"
LOUDER = "lengths/ones/times=2/at_reference"
ROUNDING = 1e-5  # of an update; some libraries normalise in float32


def properties(probe: Probe) -> list[Property]:
    """The push on a token by its completion's length, for right and wrong ones, and what it does to their lengths."""
    if not probe.takes("rewards", "advantages"):
        return [Property("lengths.weight", NONE, None, None, NAME, "it takes neither rewards nor advantages")]
    measured = probe.on(NAME)
    right = measured.problem.rewards[0] > 0.5
    return [
        _weight(measured, right, "correct"),
        _weight(measured, ~right, "wrong"),
        _growth(measured, right, "correct"),
        _growth(measured, ~right, "wrong"),
        _equal(probe),
    ]


def _weight(measured: Measured, among: Tensor, kind: str) -> Property:
    p = measured.problem
    counts = p.mask.sum(-1)
    mean = (measured.coefficient[0] * p.mask).sum(-1) / counts
    lengths, push = counts[among], mean[among]
    one = float(push[lengths == 1][0])
    shares = {str(int(n)): float(push[lengths == n][0]) / one if one else math.nan for n in lengths.sort().values}
    flat = bool(one) and all(abs(s - 1) < SAME for s in shares.values())
    row = {"weight": {n: None if math.isnan(s) else s for n, s in shares.items()}}
    words = "is the same at every length"
    if not one and not bool(push.any()):
        return Property(f"lengths.weight.{kind}", NOTE, None, 1.0, NAME, f"the push on a {kind} completion is 0")
    if not flat:
        shown = shares if one else {str(int(n)): float(push[lengths == n][0]) for n in lengths.sort().values}
        words = f"is {', '.join(f'{short(s)} at length {n}' for n, s in shown.items())}"
        words += ", of that at length 1" if one else ""
        if all(abs(s * int(n) - 1) < SAME for n, s in shares.items()):
            words += ": 1 / length"
    words = f"the push on a token of a {kind} completion {words}"
    return Property(f"lengths.weight.{kind}", EXACT if flat else BIASED, row, 1.0, NAME, words)


def _growth(measured: Measured, among: Tensor, kind: str) -> Property:
    """d E[length | right] along the update, beside that along the exact gradient of the same size."""
    p = measured.problem
    slope = _mean_length_gradient(p, among)
    wanted = reward(p)
    times = fit(measured.gradient, wanted).weights[0]
    found, exact = float((measured.gradient * slope).sum()), float((times * wanted * slope).sum())
    away = abs(found - exact) / float((times * wanted).norm() * slope.norm()) if times else math.inf
    words = f"the mean length of {kind} completions changes by {short(found)} a step, by {short(exact)} along E[r]"
    verdict = EXACT if away < SAME else BIASED
    return Property(f"lengths.growth.{kind}", verdict, found, exact, NAME, words)


def _mean_length_gradient(p: Problem, among: Tensor) -> Tensor:
    """The gradient of E[length | among] in the node logits."""
    keep = among.double()
    length = p.tree.mask.sum(-1).double()
    mass = (p.law * keep).sum(-1)
    mean = (p.law * keep * length).sum(-1) / mass
    return policy_gradient(p.tree, p.logits, keep * (length - mean[..., None]) / mass[..., None])


def _equal(probe: Probe) -> Property:
    measured = probe.on(EQUAL)
    p = measured.problem
    size = float(measured.gradient.norm())
    drift = float((measured.gradient * policy_gradient(p.tree, p.logits, p.tree.mask.sum(-1).double()[None])).sum())
    still = size <= ROUNDING * max(float(probe.on(NAME).gradient.norm()), float(measured.pull.norm()))
    grows = 0.0 if still else relative(probe.on(LOUDER).gradient, measured.gradient)
    row = {"size": size, "length": drift, "still": still, "grows": grows}
    words = "with all rewards 1 the expected update is 0"
    if not still:
        words = f"with all rewards 1 there is an expected update of size {short(size)}"
        words += f", which changes the mean length by {short(drift)}"
        words += "" if grows < SAME else f"; with all rewards 2 it differs by {short(grows)}"
    return Property("lengths.equal_rewards", EXACT if still else BIASED, row, 0.0, EQUAL, words)
