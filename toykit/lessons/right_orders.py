"""What a policy gives to every right answer of the alternating sum, exactly."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from toykit.policies import device_of
from toykit.rollouts import token_logps
from toykit.tasks import AlternatingSum


@torch.no_grad()
def right_logps(policy: nn.Module, task: AlternatingSum, split: str) -> Tensor:
    """Log-probabilities [B, R] of the right orders of a split's prompts, as in `task.right`, float64 on the CPU.

    -inf where a prompt has fewer than R.
    """
    prompts, device = task.prompts(split), device_of(policy)
    orders, known = (x[prompts.ids].to(device) for x in task.right)
    there = prompts.to(device)
    mask = torch.ones_like(orders, dtype=torch.bool)
    logp = token_logps(policy, there.tokens, there.mask, orders, mask).sum(-1).double()
    return logp.masked_fill(~known, -torch.inf).cpu()
