"""A policy with values on the same body: logits, Q of every next token, and V of the prefix."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from toykit.policies.base import Cursor, Output, cursor, read, vocab_size
from toykit.policies.gpt import GPT


class ValueHeads(nn.Module):
    """A GPT or a transformers causal LM, `body`, and linear heads on its last hidden state that start at 0.

    Called like a policy, `.logits` is [N, L, 2 A + 1]: the policy's own logits, Q and V (see `split_heads`).
    Completions are drawn from `body`, which is the policy alone. Raises ValueError for a body of another kind.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        given: Any = body
        if not isinstance(body, GPT) and not hasattr(body, "save_pretrained"):
            raise ValueError(f"body must be a GPT or a transformers causal LM, got {type(body).__name__}")
        width = given.config.width if isinstance(body, GPT) else given.config.hidden_size
        self.body, self.vocab_size = body, vocab_size(body)
        self.heads = nn.Linear(width, self.vocab_size + 1).to(next(body.parameters()))
        nn.init.zeros_(self.heads.weight)
        nn.init.zeros_(self.heads.bias)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Output:
        if isinstance(self.body, GPT):
            hidden = self.body.hidden(input_ids, attention_mask)
            logits = hidden @ self.body.embedding.weight.T
        else:
            inner: Any = self.body
            mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            hidden = read(inner.base_model, input_ids, mask).last_hidden_state
            logits = inner.get_output_embeddings()(hidden)
        values = self.heads(hidden.to(self.heads.weight.dtype))
        return Output(torch.cat([logits.to(values.dtype), values], -1))

    def cursor(self, tokens: Tensor, mask: Tensor, room: int) -> Cursor:
        return cursor(self.body, tokens, mask, room)


def split_heads(out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(logits [..., A], Q [..., A], V [...]) of what `ValueHeads` gives, [..., 2 A + 1]."""
    a = out.shape[-1] // 2
    return out[..., :a], out[..., a : 2 * a], out[..., -1]
