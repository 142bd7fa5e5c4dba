"""Critics: policies whose output has one column, the value of the prefix."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from toykit.policies.base import Output, device_of, read
from toykit.policies.gpt import GPT
from toykit.policies.tabular import TabularLM


class Critic(nn.Module):
    """A copy of a network's body with a linear head; called like a policy, `.logits` is [N, L, 1]."""

    def __init__(self, body: nn.Module, width: int) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(width, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Output:
        if isinstance(self.body, GPT):
            hidden = self.body.hidden(input_ids, attention_mask)
        else:
            mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            hidden = read(self.body, input_ids, mask).last_hidden_state
        return Output(self.head(hidden.to(self.head.weight.dtype)))


def make_critic(policy: nn.Module) -> nn.Module:
    """A critic that starts at value 0: a table over the same states, or a copy of the policy's body with a new head.

    The head of a transformers model's critic is in float32 where the body is in less.
    """
    if isinstance(policy, TabularLM):
        critic = copy.deepcopy(policy)
        rows, _, *features = policy.table.shape
        critic.table = nn.Parameter(torch.zeros(rows, 1, *features, dtype=policy.table.dtype))
        critic.forbidden, critic.vocab_size = None, 1
        return critic
    if isinstance(policy, GPT):
        return Critic(copy.deepcopy(policy), policy.config.width).to(policy.norm)
    given: Any = policy
    made = Critic(copy.deepcopy(given.base_model), given.config.hidden_size).to(device_of(policy))
    made.head.to(torch.promote_types(next(made.body.parameters()).dtype, torch.float32))
    return made
