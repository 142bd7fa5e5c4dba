"""Property 11. Edge cases: equal rewards, empty completions, masked positions, overflow, precision, unread inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from toykit.audit.findings import BIASED, EXACT, FAULT, NONE, NOTE, Property, relative, short
from toykit.audit.invariance import padded_pulls
from toykit.audit.measure import Failure, Groups, Probe
from toykit.audit.problems import problem

NAME = "lengths"
OVERFLOW = 100.0  # of a log-ratio: its exponential is beyond float32
INDEX = [[[0, 3, 4]], [[5, 2, 1]], [[1, 4, 5]]]  # groups with right and wrong completions of several lengths


def properties(probe: Probe) -> list[Property]:
    """Each case on its own: a failure in one leaves the others to be seen."""
    cases: dict[str, Callable[[Probe], Property]] = {
        "edges.deterministic": deterministic,
        "edges.inputs": unread,
        "edges.equal_rewards": equal_rewards,
        "edges.empty": empty,
        "edges.masked": masked,
        "edges.overflow": overflow,
        "edges.float32": lambda p: precision(p, torch.float32),
        "edges.bfloat16": lambda p: precision(p, torch.bfloat16),
    }
    return [attempt(name, case, probe) for name, case in cases.items()]


def attempt(name: str, case: Callable[[Probe], Property], probe: Probe) -> Property:
    """The property, or the failure as one."""
    try:
        return case(probe)
    except Failure as failure:
        return Property(name, FAULT, failure.kind, None, failure.where, failure.words)


def _groups(name: str = NAME) -> Groups:
    return Groups(problem(name), torch.tensor(INDEX), torch.ones(len(INDEX)))


def deterministic(probe: Probe) -> Property:
    groups = _groups()
    first, again = (probe.call(groups.inputs(), groups) for _ in range(2))
    same = torch.equal(first.loss, again.loss) and torch.equal(first.pull, again.pull)
    words = "the same input gives the same loss and gradient"
    words = words if same else "the same input gives another loss or gradient: it draws, or keeps a state"
    return Property("edges.deterministic", EXACT if same else FAULT, same, True, NAME, words)


def unread(probe: Probe) -> Property:
    """Which of the inputs that it asks for change neither the loss nor the gradient."""
    groups = _groups()
    inputs = groups.inputs()
    base = probe.call(inputs, groups)
    ignored = []
    for name in probe.objective.takes:
        if name == "logp":
            continue
        found = probe.call({**inputs, name: _changed(inputs[name])}, groups)
        if torch.equal(found.loss, base.loss) and torch.equal(found.pull, base.pull):
            ignored.append(name)
    words = f"it asks for {', '.join(ignored)} and does not read it" if ignored else "it reads all that it asks for"
    return Property("edges.inputs", FAULT if ignored else EXACT, ignored, [], NAME, words)


def _changed(values: Tensor) -> Tensor:
    if values.dtype == torch.bool:
        changed = values.clone()
        changed[..., 1, 1] = ~changed[..., 1, 1]
        return changed
    noise = torch.linspace(0.1, 0.7, values.numel(), dtype=values.dtype).view_as(values)
    return values + noise


def equal_rewards(probe: Probe) -> Property:
    """Groups in which all rewards are 1, without a KL."""
    groups = _groups(f"{NAME}/ones/at_reference")
    pull = probe.call(groups.inputs(), groups).pull
    largest = float(pull.abs().max())
    words = (
        "a group of equal rewards has no gradient"
        if largest < 1e-9
        else (f"a group of equal rewards has a gradient, up to {short(largest)} on a token")
    )
    return Property("edges.equal_rewards", NOTE, largest, None, groups.problem.name, words)


def empty(probe: Probe) -> Property:
    """The first completion of each group has no token."""
    groups = _groups()
    inputs = groups.inputs()
    keep = torch.ones_like(inputs["mask"])
    keep[..., 0, :] = False
    changed = {k: torch.where(keep, v, torch.zeros_like(v)) if v.shape == keep.shape else v for k, v in inputs.items()}
    pull = probe.call(changed, groups).pull
    largest = float(pull[..., 0, :].abs().max())
    words = "an empty completion in a group is taken" + (", and has a gradient" if largest else "")
    return Property("edges.empty", FAULT if largest else EXACT, largest, 0.0, NAME, words)


def masked(probe: Probe) -> Property:
    """On which tokens there is a gradient, where masked positions hold junk; completions without any do not count."""
    pulled, mask = padded_pulls(probe)
    pulled, mask = pulled[some := pulled.any(-1)], mask[some]
    outside, missing = int((pulled & ~mask).sum()), int((~pulled & mask).sum())
    pattern = _pattern(pulled, mask)
    row = {"outside": outside, "missing": missing, "pattern": pattern}
    words = {
        "own": "every token of a completion has a gradient, and nothing else",
        "later": "the tokens with a gradient are those of the completion, each one place too late",
        "earlier": "the tokens with a gradient are those of the completion, each one place too early",
        "all": "masked positions have a gradient like a completion's own tokens",
        "none": "no token has a gradient",
        "other": f"{outside} masked positions have a gradient, {missing} tokens have none",
    }[pattern]
    verdict = EXACT if pattern == "own" else FAULT if outside or pattern in ("later", "earlier", "none") else BIASED
    return Property("edges.masked", verdict, row, "own", f"{NAME}/padding=2/at_reference", words)


def _pattern(pulled: Tensor, mask: Tensor) -> str:
    if not bool(pulled.any()):
        return "none"
    later, earlier = mask.roll(1, -1), mask.roll(-1, -1)
    later[:, 0] = earlier[:, -1] = False
    named = {"own": mask, "later": later, "earlier": earlier, "later ": later & mask, "all": torch.ones_like(mask)}
    return next((name.strip() for name, wanted in named.items() if torch.equal(pulled, wanted)), "other")


def overflow(probe: Probe) -> Property:
    """A right and a wrong completion, in float32, whose log-ratio to the behaviour policy is 100: the ratio is inf."""
    if not probe.takes("old_logp"):
        return Property("edges.overflow", NONE, None, None, NAME, "it takes no behaviour policy: there is no ratio")
    row: dict[str, float | str] = {}
    groups = _groups()
    for i, kind in enumerate(("right", "wrong")):
        inputs = _as(groups.inputs(), torch.float32)
        inputs["old_logp"] = inputs["old_logp"].clone()
        inputs["old_logp"][i, :, 0, 0] -= OVERFLOW
        try:
            row[kind] = float(probe.call(inputs, groups).pull.abs().max())
        except Failure as failure:
            row[kind] = failure.words
    kinds = {v: [k for k, other in row.items() if other == v] for v in row.values() if isinstance(v, str)}
    broken = [f"{words} (a {' or a '.join(of)} completion)" for words, of in kinds.items()]
    words = f"at a log-ratio of {OVERFLOW:g} in float32 {'; '.join(broken) or 'loss and gradient are finite'}"
    return Property("edges.overflow", BIASED if broken else EXACT, row, "finite", NAME, words)


def precision(probe: Probe, dtype: torch.dtype) -> Property:
    """The gradient on inputs of low precision beside that in float64."""
    groups = _groups()
    inputs = groups.inputs()
    exact = probe.call(inputs, groups).pull
    found = probe.call(_as(inputs, dtype), groups).pull
    name = str(dtype).removeprefix("torch.")
    away, allowed = relative(found.double(), exact), 40 * torch.finfo(dtype).eps
    words = f"in {name} the gradient is {short(away)} away from that in float64"
    return Property(f"edges.{name}", EXACT if away < allowed else BIASED, away, allowed, NAME, words)


def _as(inputs: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {k: v if v.dtype == torch.bool else v.to(dtype) for k, v in inputs.items()}
