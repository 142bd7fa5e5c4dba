"""What is logged of a step's rollouts."""

from __future__ import annotations

import torch

from toykit.rollouts import Rollouts


def of_rollouts(rollouts: Rollouts) -> dict[str, float]:
    """Means over the batch: reward, length, entropy of the completions, KL to the reference, informative groups."""
    whole = rollouts.old_logp.sum(-1)
    values = {
        "reward": rollouts.rewards,
        "length": rollouts.lengths.to(whole),
        "entropy": -whole,
    }
    if rollouts.ref_logp is not None:
        values["kl"] = whole - rollouts.ref_logp.sum(-1)
    means = torch.stack([rollouts.mean(v.to(whole)).mean() for v in values.values()])
    informative = rollouts.rewards.amax(-1) > rollouts.rewards.amin(-1)
    return dict(zip(values, means.tolist(), strict=True)) | {"informative": float(informative.double().mean())}
