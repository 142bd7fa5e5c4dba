"""Log-probabilities and entropies of tokens from a large vocabulary, a chunk of tokens at a time.

The logits of a batch [B, G, T, V] in float32 can need more memory than the network: 8 completions of 1024 tokens from
a vocabulary of 150,000 are 4.9 GB, and as much again for their gradient. Here the logits of a chunk are made, used and
forgotten, and made again in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toykit.policies.base import FORBIDDEN_LOGIT, places, takes

LARGE = 2**26  # logits of a batch beyond which they are made in chunks: 256 MB in float32
CHUNK = 2**24  # logits of a chunk

Score = Callable[[Tensor, Tensor], tuple[Tensor, ...]]  # of logits [M, V] and tokens [M]: each [M]


def logp_of(logits: Tensor, tokens: Tensor) -> Tensor:
    """The log-probabilities [...] of tokens [...] under logits [..., V], in float32 or better."""
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return -F.cross_entropy(precise.flatten(0, -2), tokens.flatten(), reduction="none").view(tokens.shape)


def entropy_of(logits: Tensor) -> Tensor:
    """The entropies [...] in nats of the laws with logits [..., V], in float32 or better."""
    logp = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    return -(logp.exp() * logp).sum(-1)


def mean_of_allowed(values: Tensor) -> Tensor:
    """The mean [...] of logits or log-probabilities [..., V] over the tokens that may come: forbidden ones are not."""
    may = values > FORBIDDEN_LOGIT / 2
    return values.masked_fill(~may, 0.0).sum(-1) / may.sum(-1)


def mean_logp_of(logits: Tensor) -> Tensor:
    """The mean log-probability [...] over the vocabulary, nats, of laws with logits [..., V], in float32 or better."""
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return mean_of_allowed(precise) - precise.logsumexp(-1)


def in_chunks(score: Score, head: nn.Module | None, states: Tensor, tokens: Tensor, vocab: int) -> tuple[Tensor, ...]:
    """`score` of M tokens, each of its results [M], with the gradient of the same at once.

    states [M, d] become logits [M, V] by `head`; where it is None they are logits already, of the network's own
    precision, and only their float32 copies are made in chunks.
    """
    from torch.utils.checkpoint import checkpoint

    def of_chunk(chunk: Tensor, asked: Tensor) -> tuple[Tensor, ...]:
        return score(chunk if head is None else head(chunk), asked)

    size = max(1, CHUNK // vocab)
    pieces = zip(states.split(size), tokens.split(size), strict=True)
    if not torch.is_grad_enabled():
        found = [of_chunk(*piece) for piece in pieces]
    else:
        found = [checkpoint(of_chunk, *piece, use_reentrant=False) for piece in pieces]
    return tuple(torch.cat(x) for x in zip(*found, strict=True))


def states_and_head(policy: nn.Module, tokens: Tensor, mask: Tensor) -> tuple[Tensor, nn.Module | None]:
    """What a policy gives after each of `tokens` [N, L]: (last states [N, L, d], the head that makes their logits).

    A model whose logits are more than its head's, scaled or capped for instance, gives (logits [N, L, V], None), and
    so does one that cannot leave them out.
    """
    given: Any = policy
    head = given.get_output_embeddings() if hasattr(policy, "get_output_embeddings") else None
    known: dict[str, Any] = {"attention_mask": mask.long(), "position_ids": places(mask), "use_cache": False}
    known = {name: value for name, value in known.items() if takes(policy, name)}
    if head is not None and takes(policy, "logits_to_keep"):
        out = policy(input_ids=tokens, output_hidden_states=True, logits_to_keep=1, **known)
        states = out.hidden_states[-1]
        with torch.no_grad():
            if torch.allclose(head(states[:, -1]), out.logits[:, -1], rtol=1e-3, atol=1e-3):
                return states, head
    return policy(input_ids=tokens, **known).logits, None
