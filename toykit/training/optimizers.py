"""What an objective is followed with: the optimizer, and a policy that is compiled."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from toykit.policies import GPT
from toykit.policies.hub_cursor import compile_step
from toykit.training.config import TrainConfig


def optimizer_of(config: TrainConfig, parameters: list[Any]) -> torch.optim.Optimizer | None:
    """torch's optimizer for the parameters, None for the natural gradient."""
    if config.optimizer == "natural":
        return None
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, config.lr)
    return torch.optim.AdamW(parameters, config.lr, weight_decay=0.0, fused=True)


def compiled(policy: nn.Module) -> None:
    """Compiles a GPT, and of a transformers model how it reads the tokens that it draws.

    Raises ValueError for any other policy, whose cursor would be compiled anew for each token.
    """
    if isinstance(policy, GPT):
        policy.compile()
    elif hasattr(policy, "save_pretrained"):
        compile_step(policy)
    else:
        raise ValueError(
            f"compile must be False for a {type(policy).__name__}, only a GPT or a transformers model is compiled"
        )
