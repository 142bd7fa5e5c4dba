"""beta: how much a reference policy weighs against the reward, in all prompts or in each."""

from __future__ import annotations

import torch
from torch import Tensor

from toykit._checks import positive
from toykit.rollouts.batch import Rollouts

Beta = float | Tensor  # one number, or a tensor [n] with the number of each prompt id


def check_beta(beta: Beta) -> None:
    """Raises ValueError unless every number is finite and > 0."""
    for value in beta.flatten().tolist() if isinstance(beta, Tensor) else (beta,):
        positive("beta", value)


def beta_of(beta: Beta, rollouts: Rollouts) -> Tensor:
    """beta shaped to multiply values [..., B, G] of a batch."""
    value = torch.as_tensor(beta, dtype=rollouts.rewards.dtype, device=rollouts.rewards.device)
    return value[rollouts.prompt_ids][..., None] if value.dim() else value
