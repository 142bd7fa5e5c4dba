"""Several policies as one: their logits or their probabilities are combined, token by token."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from toykit._checks import one_of
from toykit.policies.base import Cursor, Output, context, cursor, read, vocab_size

KINDS = ("logits", "probabilities")


class Combined(nn.Module):
    """The law of the next token made of those of several policies, with weights w_i.

        logits         proportional to prod_i p_i^w_i; a negative weight steers away from its policy
        probabilities  sum_i w_i p_i, for weights that are a law

    The weights of a policy are the policies' own parameters. Raises ValueError for no policy, other vocabularies,
    other than one weight each, and an unknown kind. Sources: product of experts (Hinton 2002), contrastive decoding
    (arXiv 2210.15097), proxy tuning (arXiv 2401.08565).
    """

    def __init__(self, policies: Sequence[nn.Module], weights: Sequence[float], kind: str = "logits") -> None:
        super().__init__()
        one_of("kind", kind, KINDS)
        if not policies:
            raise ValueError("policies must hold at least one, got none")
        if len(weights) != len(policies):
            raise ValueError(f"weights must be one for each of the {len(policies)} policies, got {len(weights)}")
        if len(sizes := {vocab_size(p): None for p in policies}) > 1:
            raise ValueError(f"policies must share one vocabulary, got sizes {' and '.join(map(str, sizes))}")
        if kind == "probabilities" and (min(weights) < 0 or abs(sum(weights) - 1) > 1e-9):
            raise ValueError(f"weights must be >= 0 and sum to 1 for probabilities, got {tuple(weights)}")
        self.policies, self.weights, self.kind = nn.ModuleList(policies), tuple(weights), kind
        self.vocab_size = vocab_size(policies[0])
        limits = [limit for p in policies if (limit := context(p)) is not None]
        self.context = min(limits, default=None)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Output:
        """`.logits` [N, L, V]: log-probabilities of the combined law."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return Output(self.combine([read(p, input_ids, mask.bool()).logits for p in self.policies]))

    def combine(self, logits: Sequence[Tensor]) -> Tensor:
        """The combined law's log-probabilities [..., V] from each policy's logits [..., V]."""
        logps = [x.to(torch.promote_types(x.dtype, torch.float32)).log_softmax(-1) for x in logits]
        weighed = zip(self.weights, logps, strict=True)
        if self.kind == "probabilities":
            return torch.stack([logp + math.log(w) for w, logp in weighed if w]).logsumexp(0)
        return torch.stack([w * logp for w, logp in weighed]).sum(0).log_softmax(-1)

    def cursor(self, tokens: Tensor, mask: Tensor, room: int) -> CombinedCursor:
        return CombinedCursor(self, [cursor(p, tokens, mask, room) for p in self.policies])


class CombinedCursor:
    """Sequences under all policies at once."""

    def __init__(self, policy: Combined, cursors: Sequence[Cursor]) -> None:
        self.policy, self.cursors = policy, cursors
        self._combine()

    def _combine(self) -> None:
        self.logits = self.policy.combine([at.logits for at in self.cursors])

    def pick(self, rows: Tensor) -> None:
        for at in self.cursors:
            at.pick(rows)
        self._combine()

    def append(self, tokens: Tensor) -> None:
        for at in self.cursors:
            at.append(tokens)
        self._combine()
