"""What is logged of a step's rollouts."""

from __future__ import annotations

import torch

from toykit.rollouts import Rollouts, own_weights


def of_rollouts(rollouts: Rollouts) -> dict[str, float]:
    """Means over the batch: reward, length, entropy of the policy's own completions, KL to the reference, informative
    groups; where there are external rows, the mean probability of their tokens."""
    whole = rollouts.old_logp.sum(-1)
    values = {
        "reward": rollouts.rewards,
        "length": rollouts.lengths.to(whole),
        "entropy": -whole,
    }
    if rollouts.ref_logp is not None:
        values["kl"] = whole - rollouts.ref_logp.sum(-1)
    own = own_weights(rollouts)
    means = torch.stack([(own * v.to(whole)).sum(-1).mean() for v in values.values()])
    informative = rollouts.rewards.amax(-1) > rollouts.rewards.amin(-1)
    figures = dict(zip(values, means.tolist(), strict=True)) | {"informative": float(informative.double().mean())}
    external = rollouts.extras.get("external")
    if external is not None and bool(external.any()):
        figures["external_p"] = float(rollouts.old_logp[external].exp().mean())
    return figures
