"""Property 1. The true objective: of what is the expected update the gradient?"""

from __future__ import annotations

from torch import Tensor

from toykit.audit.candidates import BETAS, REVERSE, conditioned, entropy, penalties, reward, to_posteriors
from toykit.audit.findings import (
    BIASED,
    EXACT,
    FAULT,
    NONE,
    NOTE,
    SAME,
    Fit,
    Property,
    cosine,
    fit,
    relative,
    same,
    short,
)
from toykit.audit.measure import Probe
from toykit.audit.problems import Problem, problem

TREE, TOKEN, BINARY = "steps", "graded", "binary"
KINDS = {BINARY: "with rewards 0 and 1", TREE: "with graded rewards"}
NOTHING = 1e-10  # an update this small beside another is 0


def properties(probe: Probe) -> list[Property]:
    """The objective as a whole, its reward part and its KL part, and whether they add up."""
    rewards = [reward_part(probe, name) for name in (BINARY, TREE)]
    return [whole(probe), *rewards, *(kl_part(probe, name) for name in (TOKEN, TREE)), additive(probe)]


def whole(probe: Probe) -> Property:
    found, p = probe.on(TREE).gradient, problem(TREE)
    fits = {"E[r]": fit(found, reward(p))}
    if probe.reference:
        fits |= {f"E[r] - beta {name}": fit(found, reward(p), part) for name, part in penalties(p).items()}
        if (given := conditioned(p)) is not None:
            fits["-KL(ref given r > 1/2||pi)"] = fit(found, given)
    if probe.takes("vocab_logp"):
        fits["E[r] + beta entropy of each next token"] = fit(found, reward(p), entropy(p))
    best = _simplest(fits)
    if float(found.norm()) == 0:
        return Property("direction.objective", FAULT, 0.0, None, TREE, "the expected update is 0")
    if fits[best].error > SAME and probe.reference:
        fits |= {f"-{name}": _over_betas(found, rows) for name, rows in to_posteriors(p).items()}
        best = _simplest(fits)
    wanted = ("E[r]", f"E[r] - beta {REVERSE}")
    close, row = fits[best].error < SAME, {name: _row(one) for name, one in fits.items()}
    right = close and best in wanted and fits[best].weights[0] > 0 and _beta(fits[best]) >= 0
    words = _in_words(best, fits[best]) if close else f"of none of the candidates; the nearest is {best}"
    return Property(
        "direction.objective",
        EXACT if right else BIASED,
        {"best": best} | row,
        " or ".join(wanted),
        TREE,
        f"the expected update is the gradient {words}: relative error {short(fits[best].error)}, "
        f"cosine {short(fits[best].cosine)}",
    )


def reward_part(probe: Probe, base: str) -> Property:
    """Without the KL, because the reference is the policy."""
    name, label = f"{base}/at_reference", "direction.reward." + ("tree" if base == TREE else "token")
    if not probe.takes("rewards", "advantages"):
        return Property(label, NONE, None, None, name, "it takes neither rewards nor advantages")
    measured = probe.on(name)
    near, pulled = fit(measured.gradient, reward(measured.problem)), float(measured.pull.abs().max())
    row = _row(near) | {"scale": near.weights[0], "largest_pull": pulled, "against": False}
    without = " and without the KL" if probe.reference else ""
    if pulled == 0:
        words = f"{KINDS[base]}{without} no group has any gradient, although the loss is differentiable in logp"
        return Property(label, FAULT, row, 1.0, name, words)
    words = (
        f"{KINDS[base]}{without} the update is {short(near.weights[0])} times the gradient of E[r]: "
        f"relative error {short(near.error)}, cosine {short(near.cosine)}"
    )
    if near.weights[0] < 0:
        equal = probe.on(f"{base}/ones/at_reference").gradient
        own = fit(measured.gradient - equal, reward(measured.problem)).weights[0]
        row["against"] = own < 0
        words += "" if own < 0 else f"; equal rewards pull so, and the rewards' own part is {short(own)} times it"
    return Property(label, FAULT if row["against"] else same(near.error), row, "cosine 1", name, words)


def kl_part(probe: Probe, base: str) -> Property:
    """Without the reward, because all rewards are equal (to 1)."""
    name, label = f"{base}/ones", "direction.kl." + ("tree" if base == TREE else "token")
    if not probe.reference:
        return Property(label, NONE, None, None, name, "it takes no reference: there is no KL")
    measured = probe.on(name)
    fits = {key: fit(measured.gradient, part) for key, part in penalties(measured.problem).items()}
    size, beside = float(measured.gradient.norm()), float(measured.pull.norm())
    if size <= NOTHING * max(beside, 1e-300):
        words = "with equal rewards no group has a gradient: there is no KL apart from the reward"
        if beside > 0:
            words = "with equal rewards the expected update is 0, although groups have gradients: the KL has no effect"
        return Property(label, BIASED, {"best": "0", "groups": beside > 0}, REVERSE, name, words)
    best = _simplest(fits)
    beta, error = fits[best].weights[0], fits[best].error
    close = error < SAME
    what = f"that of {best}" if close else f"of none of the candidates; the nearest is {best}"
    return Property(
        label,
        EXACT if close and best == REVERSE and beta > 0 else FAULT if close and beta < 0 else BIASED,
        {"best": best if close else None, "nearest": best} | {key: _row(one) for key, one in fits.items()},
        REVERSE,
        name,
        f"with equal rewards the update is {what}, times beta {short(beta)}: relative error {short(error)}"
        + (", and it goes away from the reference" if close and beta < 0 else ""),
    )


def additive(probe: Probe) -> Property:
    label = "direction.additive"
    if not (probe.reference and probe.takes("rewards", "advantages")):
        return Property(label, NONE, None, None, TREE, "it has not both a reward and a KL")
    parts = probe.on(f"{TREE}/at_reference").gradient + probe.on(f"{TREE}/ones").gradient
    error = relative(parts, probe.on(TREE).gradient)
    words = "add up to the whole" if error < SAME else f"differ from the whole by {short(error)}: they are mixed"
    return Property(label, EXACT if error < SAME else NOTE, error, 0.0, TREE, f"the reward's and the KL's part {words}")


def betas(probe: Probe) -> float | None:
    """The KL's weight beside the reward's on the one-token problem; None where there is no such KL."""
    if not probe.reference:
        return None
    p: Problem = problem(TOKEN)
    near = fit(probe.on(TOKEN).gradient, reward(p), penalties(p)[REVERSE])
    return near.weights[1] / near.weights[0] if near.error < SAME and near.weights[0] else None


def _simplest(fits: dict[str, Fit]) -> str:
    """The first of the candidates that fit (they come from the simplest on), else the nearest."""
    return next((name for name, one in fits.items() if one.error < SAME), min(fits, key=lambda name: fits[name].error))


def _beta(one: Fit) -> float:
    """The weight of the second part beside the first's."""
    return one.weights[1] / one.weights[0] if len(one.weights) == 2 and one.weights[0] else 0.0


def _row(one: Fit) -> dict[str, float]:
    more = {"beta": _beta(one)} if len(one.weights) == 2 else {"weight": one.weights[0]}
    return {"error": one.error, "cosine": one.cosine} | more


def _over_betas(found: Tensor, parts: Tensor) -> Fit:
    """The best of the gradients [n, ...], one for each of BETAS; its weights are its size and its beta."""
    rows, wanted = parts.flatten(1), found.flatten()
    sizes = rows.square().sum(-1)
    times = (rows @ wanted) / sizes.clamp(min=1e-300)
    errors = (wanted - times[:, None] * rows).norm(dim=-1)
    best = int(errors.argmin())
    near = times[best] * parts[best]
    return Fit((float(times[best]), float(BETAS[best])), float(errors[best] / found.norm()), cosine(found, near))


def _in_words(best: str, one: Fit) -> str:
    times = "" if abs(one.weights[0] - 1) < SAME else f"{short(one.weights[0])} times "
    return f"of {times}{best}" + (f" with beta {short(_beta(one))}" if len(one.weights) == 2 else "")
