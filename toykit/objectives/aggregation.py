"""Aggregation: how much each token of a batch counts in the loss."""

from __future__ import annotations

import torch
from torch import Tensor

from toykit._checks import one_of

AGGREGATIONS = ("token_sum", "token_mean", "sequence_mean", "constant_norm")


def token_weights(kind: str, weights: Tensor, mask: Tensor, horizon: int | None = None) -> Tensor:
    """What each token's loss is multiplied by before one sum over the batch: [..., B, G, T].

    weights [..., B, G] sum to 1 over G, mask bool [..., B, G, T]; L is a completion's number of tokens:

        token_sum      mean over prompts of the group's expectation of sum_t l_t         LUSPO
        sequence_mean  the same of (1/L) sum_t l_t                                       GRPO, GSPO
        token_mean     sum of all l_t over the number of tokens                          DAPO, Lite PPO
        constant_norm  token_sum over the fixed `horizon`                                Dr. GRPO

    A ratio of the whole sequence stands on every token, so that its token_sum is L times the sequence's own term.
    Being taken once over the whole batch they make a loss that is a plain sum, so cutting the batch changes nothing.
    Raises ValueError for an unknown kind, or constant_norm without a horizon.
    """
    one_of("aggregate", kind, AGGREGATIONS)
    share = weights[..., None] * mask / weights.shape[-2]
    if kind == "sequence_mean":
        return share / mask.sum(-1, keepdim=True).clamp(min=1)
    if kind == "token_mean":
        total = share.sum((-3, -2, -1), keepdim=True)
        return share / torch.where(total > 0, total, 1.0)
    if kind == "constant_norm":
        if horizon is None:
            raise ValueError("horizon must be given for aggregate='constant_norm', got None")
        return share / horizon
    return share
