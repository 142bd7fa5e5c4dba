"""Property 3. Group size: how does the expected update depend on G?"""

from __future__ import annotations

from torch import Tensor

from toykit.audit.candidates import reward
from toykit.audit.findings import BIASED, EXACT, FAULT, LEAK, NONE, NOTE, SAME, Fit, Property, fit, short
from toykit.audit.measure import Failure, Probe

SIZES = (1, 2, 3, 4, 6, 8)


def properties(probe: Probe) -> list[Property]:
    """The size of the update over G, its direction over G, and whether an advantage is linear in its own reward."""
    if not probe.takes("rewards", "advantages"):
        return [Property("groups.scale", NONE, None, None, "binary", "it takes neither rewards nor advantages")]
    return [scale(probe), direction(probe), own_reward(probe)]


def over_sizes(probe: Probe, base: str, sizes: tuple[int, ...] = SIZES) -> dict[int, Fit]:
    """How the update fits the gradient of E[r] at each group size that the loss takes."""
    found = {}
    for g in sizes:
        try:
            measured = probe.on(f"{base}/at_reference@{g}")
        except Failure:
            continue
        found[g] = fit(measured.gradient, reward(measured.problem))
    return found


def scale(probe: Probe) -> Property:
    found = {g: one.weights[0] for g, one in over_sizes(probe, "binary").items()}
    name, row = "binary/at_reference@4", {str(g): c for g, c in found.items()}
    refused = [g for g in SIZES if g not in found]
    more = f"; it fails at G = {', '.join(map(str, refused))}" if refused else ""
    many = {g: c for g, c in found.items() if g > 1}
    if not many:
        return Property("groups.scale", NONE, row, 1.0, name, f"no group size gives an update{more}")
    first = next(iter(many.values()))
    if first == 0 or all(abs(c / first - 1) < SAME for c in many.values()):
        words = f"the update is {short(first)} times the gradient of E[r] at every G from 2{more}"
        return Property("groups.scale", EXACT if first else FAULT, row, "constant", name, words)
    shares = [c / (1 - 1 / g) / first for g, c in many.items()]
    own = max(shares) - min(shares) < SAME * abs(shares[0])
    law = ", as 1 - 1/G: the mean that is subtracted holds the sample itself" if own else ""
    words = f"the update is {', '.join(f'{short(c)} (G = {g})' for g, c in many.items())} times the gradient of E[r]"
    return Property("groups.scale", BIASED, row, "constant", name, words + law + more)


def direction(probe: Probe) -> Property:
    found = over_sizes(probe, "graded", (2, 3, 4, 6))
    row = {str(g): {"error": one.error, "cosine": one.cosine} for g, one in found.items()}
    name = "graded/at_reference@3"
    if not found:
        return Property("groups.direction", NONE, row, None, name, "no group size gives an update")
    worst = max(one.error for one in found.values())
    words = "has the direction of the gradient of E[r] at every G"
    if worst >= SAME:
        errors = ", ".join(f"{short(one.error)} (G = {g})" for g, one in found.items())
        words = f"leaves the direction of the gradient of E[r] by {errors}"
    return Property(
        "groups.direction", EXACT if worst < SAME else BIASED, row, 0.0, name, f"with graded rewards the update {words}"
    )


def own_reward(probe: Probe) -> Property:
    """Whether a completion's expected push is a linear function of its own reward, as an unbiased advantage's is."""
    name = "graded/at_reference@4"
    measured = probe.on(name).of_sampled() if probe.objective.solution else probe.on(name)
    push, rewards = measured.coefficient[0, :, 0], measured.problem.rewards[0]
    away = _not_linear(push, rewards)
    words = "is linear in its own reward" if away < LEAK else f"is not linear in its own reward, by {short(away)} of it"
    why = "what it is divided by, or compared with, holds the reward itself"
    why = "nor are the labels or the preferences that are made of it" if probe.objective.offline else why
    words += "" if away < LEAK else f": {why}"
    return Property(
        "groups.own_reward",
        EXACT if away < LEAK else NOTE,
        {"not_linear": away, "rewards": rewards.tolist(), "push": push.tolist()},
        0.0,
        name,
        f"a completion's expected push {words}",
    )


def _not_linear(push: Tensor, rewards: Tensor) -> float:
    centred = push - push.mean()
    near = fit(centred, rewards - rewards.mean())
    return near.error if float(centred.norm()) > 0 else 0.0
