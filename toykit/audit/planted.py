"""Ten classic bugs of policy-gradient losses, each beside its correct twin.

All are functions of the common signature (see `toykit.audit.Objective`), written as people write them: one batch
[B, G, T], a scalar to be minimised. `PLANTED` lists them as (wrong, right) by the name of the bug, which is what
`toykit.audit.diagnose` calls it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

BETA, EPS = 0.1, 0.2


def _advantage(rewards: Tensor) -> Tensor:
    """Rewards [B, G] minus the mean of the others of the group."""
    g = rewards.shape[-1]
    return (rewards - rewards.mean(-1, keepdim=True)) * g / (g - 1)


def _mean_of_sums(per_token: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, per_token, 0.0).sum(-1).mean()


def kl_in_reward(logp: Tensor, ref_logp: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    kl = torch.where(mask, logp - ref_logp, 0.0).sum(-1).detach()
    return -_mean_of_sums(_advantage(rewards - BETA * kl)[..., None] * logp, mask)


def kl_sign(logp: Tensor, ref_logp: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    kl = torch.where(mask, logp - ref_logp, 0.0).sum(-1).detach()
    return -_mean_of_sums(_advantage(rewards + BETA * kl)[..., None] * logp, mask)


def kl_k3(logp: Tensor, ref_logp: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    delta = ref_logp - logp
    kl = delta.exp() - delta - 1
    return -_mean_of_sums(_advantage(rewards)[..., None] * logp - BETA * kl, mask)


def kl_swapped(logp: Tensor, ref_logp: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    delta = logp - ref_logp
    kl = delta.exp() - delta - 1
    return -_mean_of_sums(_advantage(rewards)[..., None] * logp - BETA * kl, mask)


def ratio_detached(logp: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    ratio = (logp - logp.detach()).exp()
    return -_mean_of_sums(_advantage(rewards)[..., None] * ratio, mask)


def ratio_attached(logp: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    old_logp = logp  # on policy they are equal
    ratio = (logp - old_logp).exp()
    return -_mean_of_sums(_advantage(rewards)[..., None] * ratio, mask)


def token_mean(logp: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    per_token = _advantage(rewards)[..., None] * logp
    return -torch.where(mask, per_token, 0.0).sum() / mask.sum()


def mask_missing(logp: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    return -(_advantage(rewards)[..., None] * logp).sum() / mask.sum()


def sequence_mean(logp: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    per_token = torch.where(mask, _advantage(rewards)[..., None] * logp, 0.0)
    return -(per_token.sum(-1) / mask.sum(-1).clamp(min=1)).mean()


def mean_over_padding(logp: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    per_token = torch.where(mask, _advantage(rewards)[..., None] * logp, 0.0)
    return -per_token.mean(-1).mean()


def not_centred(logp: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    per_token = torch.where(mask, rewards[..., None] * logp, 0.0)
    return -(per_token.sum(-1) / mask.sum(-1).clamp(min=1)).mean()


def aligned(logp: Tensor, old_logp: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    return -_mean_of_sums((logp - old_logp).exp() * _advantage(rewards)[..., None], mask)


def shifted(logp: Tensor, old_logp: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    ratio = (logp[..., 1:] - old_logp[..., 1:]).exp()  # as if the first were the prompt's last token
    return -_mean_of_sums(ratio * _advantage(rewards)[..., None], mask[..., :-1])


def clip_right(logp: Tensor, old_logp: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    ratio, advantage = (logp - old_logp).exp(), _advantage(rewards)[..., None]
    clipped = ratio.clamp(1 - EPS, 1 + EPS) * advantage
    return -_mean_of_sums(torch.minimum(ratio * advantage, clipped), mask)


def clip_sign(logp: Tensor, old_logp: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    ratio, advantage = (logp - old_logp).exp(), _advantage(rewards)[..., None]
    clipped = torch.minimum(ratio, ratio.clamp(1 - EPS, 1 + EPS)) * advantage  # before the advantage's sign is known
    return -_mean_of_sums(clipped, mask)


def kl_per_token(logp: Tensor, ref_logp: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    kl = (logp - ref_logp).detach()
    return -_mean_of_sums((_advantage(rewards)[..., None] - BETA * kl) * logp, mask)


def leave_one_out(logp: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    return -_mean_of_sums(_advantage(rewards)[..., None] * logp, mask)


def std_leak(logp: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    baseline = rewards.std(-1, keepdim=True)  # an optimistic baseline: the mean of the others and a deviation of all
    return -_mean_of_sums((_advantage(rewards) - baseline)[..., None] * logp, mask)


PLANTED: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "kl_sign": (kl_sign, kl_in_reward),
    "kl_swapped": (kl_swapped, kl_k3),
    "ratio_attached": (ratio_attached, ratio_detached),
    "mask_missing": (mask_missing, token_mean),
    "mean_over_padding": (mean_over_padding, sequence_mean),
    "not_centred": (not_centred, sequence_mean),
    "shifted": (shifted, aligned),
    "clip_sign": (clip_sign, clip_right),
    "kl_per_token": (kl_per_token, kl_in_reward),
    "std_leak": (std_leak, leave_one_out),
}
