"""Property 7. Interference: what does an update on one prompt do to another?"""

from __future__ import annotations

import torch
from torch import Tensor

from toykit.audit.candidates import reward
from toykit.audit.findings import BIASED, EXACT, NONE, Property, fit, relative, same, short
from toykit.audit.measure import Probe
from toykit.audit.problems import problem
from toykit.diagnostics.interference import linear_interference

NAME = "pair"
OTHER = "pair/partner=0.2"


def properties(probe: Probe) -> list[Property]:
    """Through shared features, and through the loss of a batch alone."""
    if not probe.takes("rewards", "advantages"):
        return [Property("interference.features", NONE, None, None, NAME, "it takes neither rewards nor advantages")]
    return [_features(probe), _coupling(probe)]


def _features(probe: Probe) -> Property:
    p = problem(NAME)
    assert p.features is not None
    target = reward(p) * len(p.rewards)  # each prompt's own gradient of its success
    found = _matrix(probe.on(NAME).gradient, target, p.features)
    exact = _matrix(reward(p), target, p.features)
    times = fit(found, exact).weights[0]
    away = relative(found, times * exact) if times else torch.inf
    row = {"matrix": found.tolist(), "along_reward": exact.tolist(), "scale": times}
    one, back = (float(found[i, 1 - i] / found[i, i]) if float(found[i, i]) else 0.0 for i in (0, 1))
    words = f"an update on the hard prompt moves the easy one by {short(one)} of its own gain, and back {short(back)}"
    words += f"; the prompts' own gains are {short(float(found[0, 0]))} and {short(float(found[1, 1]))}, "
    words += f"{short(float(exact[0, 0]))} and {short(float(exact[1, 1]))} along E[r]"
    return Property("interference.features", same(away), row, exact.tolist(), NAME, words)


def _matrix(steps: Tensor, targets: Tensor, features: Tensor) -> Tensor:
    """What prompt i's part of the step adds to prompt k's success, [B, B]."""
    return linear_interference(steps.flatten(1), targets.flatten(1), features)


def _coupling(probe: Probe) -> Property:
    """Whether a prompt's update depends on which prompt stands beside it, without any shared parameter."""
    away = relative(probe.on(OTHER).gradient[0], probe.on(NAME).gradient[0])
    words = "does not depend on" if same(away) == EXACT else f"changes by {short(away)} with"
    return Property(
        "interference.batch",
        EXACT if same(away) == EXACT else BIASED,
        away,
        0.0,
        OTHER,
        f"a prompt's update {words} the prompt beside it in the batch",
    )
