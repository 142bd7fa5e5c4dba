"""Property 8. Invariance: what must change nothing, and by how much it does."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toykit.audit.findings import BIASED, EXACT, FAULT, NONE, NOTE, SAME, Property, fit, relative, short
from toykit.audit.measure import Groups, Probe, all_groups
from toykit.audit.problems import problem

NAME = "lengths/at_reference"
SHIFT, PADDING = 3.0, 2


def properties(probe: Probe) -> list[Property]:
    """Adding to the rewards, scaling them, permuting the group, padding, and cutting the batch by prompts."""
    found = [permutation(probe), padding(probe), micro(probe)]
    if not probe.takes("rewards", "advantages"):
        return [Property("invariance.shift", NONE, None, None, NAME, "it takes no rewards"), *found]
    return [shift(probe), scale(probe), *found]


def shift(probe: Probe) -> Property:
    name = f"lengths/plus={SHIFT:g}/at_reference"
    before, after = probe.on(NAME), probe.on(name)
    away = relative(after.gradient, before.gradient)
    louder = after.variance / before.variance if before.variance else math.inf
    row = {"change": away, "variance": louder}
    words = "leaves the expected update as it is" if away < SAME else f"changes the expected update by {short(away)}"
    words += (
        ", its variance too" if max(abs(louder - 1), away) < SAME else f", its variance {short(louder)} times as large"
    )
    return Property(
        "invariance.shift", EXACT if away < SAME else BIASED, row, 0.0, name, f"adding {SHIFT:g} to all rewards {words}"
    )


def scale(probe: Probe) -> Property:
    name = "graded/times=2/at_reference"
    found, before = probe.on(name).gradient, probe.on("graded/at_reference").gradient
    near = fit(found, before)
    times = near.weights[0]
    degree = math.log2(times) if times > 0 else None
    straight = near.error < 1e-4  # the eps of a standard deviation
    row = {"times": times, "degree": degree, "error": near.error}
    words = f"multiplies the update by {short(times)}" + ("" if straight else f" and turns it by {short(near.error)}")
    words += ": it does not depend on the rewards' scale" if straight and abs(times - 1) < 1e-4 else ""
    return Property("invariance.scale", NOTE, row, None, name, f"doubling all rewards {words}")


def symmetric(probe: Probe) -> float:
    """The largest relative change of the pulls when groups are permuted, over some groups with distinct members."""
    p = problem("lengths/at_reference")
    index = torch.tensor([[[0, 3, 4]], [[5, 2, 1]], [[1, 4, 5]]])
    order = torch.tensor([2, 0, 1])
    weight = torch.ones(len(index))
    straight, moved = Groups(p, index, weight), Groups(p, index[..., order], weight)
    before, after = (probe.call(groups.inputs(), groups).pull for groups in (straight, moved))
    return relative(after[..., : len(order), :], before[..., order, :])


def permutation(probe: Probe) -> Property:
    away = symmetric(probe)
    words = "permutes the update with it" if away < SAME else f"changes the update by {short(away)}"
    verdict = EXACT if away < SAME else BIASED
    return Property("invariance.permutation", verdict, away, 0.0, NAME, f"permuting the group {words}")


def padding(probe: Probe) -> Property:
    """Columns of padding, with junk on them and on the masked positions before."""
    name = f"lengths/padding={PADDING}/at_reference"
    before, after = probe.on(NAME).gradient, probe.on(name).gradient
    away, near = relative(after, before), fit(after, before)
    row = {"change": away, "times": near.weights[0], "error": near.error}
    words = "change nothing" if away < SAME else f"change the update by {short(away)}"
    if away >= SAME and near.error < SAME:
        words = f"multiply the update by {short(near.weights[0])}"
    verdict = EXACT if away < SAME else FAULT
    return Property("invariance.padding", verdict, row, 0.0, name, f"{PADDING} more columns of padding {words}")


def micro(probe: Probe) -> Property:
    """A batch of two prompts beside the mean of two batches of one."""
    whole = probe.on("pair").gradient
    parts = torch.cat([probe.on(f"pair/only={i}").gradient for i in (0, 1)]) / 2
    away = relative(parts, whole)
    words = "are their mean" if away < SAME else f"differ from their mean by {short(away)}"
    words = f"the losses of two prompts in one batch {words}"
    words += "" if away < SAME else ": what is taken over the batch must be taken before it is cut"
    return Property("invariance.microbatch", EXACT if away < SAME else BIASED, away, 0.0, "pair", words)


def padded_pulls(probe: Probe) -> tuple[Tensor, Tensor]:
    """(pulled, mask), bool [L, T]: on which tokens of a completion some group has a gradient, and which are its own."""
    p = problem(f"lengths/padding={PADDING}/at_reference")
    groups = all_groups(p, ordered=False)
    measured = probe.call(groups.inputs(), groups)
    pulled = torch.zeros_like(p.mask)
    for leaf in range(len(p.mask)):
        pulled[leaf] = (measured.pull[measured.groups.index == leaf] != 0).any(0)
    return pulled, p.mask
