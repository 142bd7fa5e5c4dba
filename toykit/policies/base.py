"""How every policy is called, and the cursor that grows completions one token at a time."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

FORBIDDEN_LOGIT = -1e9  # finite, so that 0 * log 0 stays 0 in entropies; its exp is exactly 0


@dataclass
class Output:
    """What a policy returns: `logits` [N, L, V], as transformers causal LMs do."""

    logits: Tensor


class Cursor(Protocol):
    """N sequences under a policy, each ready for its next token."""

    @property
    def logits(self) -> Tensor:
        """[N, V]: unnormalised log-probabilities of the next token."""
        ...

    def pick(self, rows: Tensor) -> None:
        """Keeps, repeats or reorders the sequences: int64 [M] of rows, so that there are M afterwards."""
        ...

    def append(self, tokens: Tensor) -> None:
        """Adds one token int64 [N] to each sequence."""
        ...


def cursor(policy: nn.Module, tokens: Tensor, mask: Tensor, room: int) -> Cursor:
    """A cursor after the left-padded prompts `tokens` [N, P], `mask` [N, P], with room for `room` more tokens.

    Each prompt is evaluated once; `pick` then repeats it for its completions. A policy with a method `cursor` makes
    its own; a transformers causal LM with a key-value cache keeps one; any other reads its tokens anew each time.
    """
    make = getattr(policy, "cursor", None)
    if make is not None:
        return make(tokens, mask, room)
    if keeps_cache(policy):
        from toykit.policies.hub_cursor import HubCursor

        at = HubCursor(policy, tokens, mask, room)
        if at.has_rows:
            return at
    return Rereading(policy, tokens, mask)


class Rereading:
    """Sequences under a policy that keeps nothing from one token to the next: all their tokens."""

    def __init__(self, policy: nn.Module, tokens: Tensor, mask: Tensor) -> None:
        self.policy, self.tokens, self.mask = policy, tokens, mask.bool()
        self.logits = self._last()

    def _last(self) -> Tensor:
        return read(self.policy, self.tokens, self.mask).logits[:, -1]

    def pick(self, rows: Tensor) -> None:
        self.tokens, self.mask, self.logits = self.tokens[rows], self.mask[rows], self.logits[rows]

    def append(self, tokens: Tensor) -> None:
        self.tokens = torch.cat([self.tokens, tokens[:, None]], 1)
        self.mask = torch.nn.functional.pad(self.mask, (0, 1), value=True)
        self.logits = self._last()


def places(mask: Tensor) -> Tensor:
    """int64 [N, L]: the position of each token of left-padded sequences with `mask` [N, L], 0 for padding."""
    return (mask.long().cumsum(1) - 1).clamp(min=0)


def read(policy: nn.Module, tokens: Tensor, mask: Tensor) -> Any:
    """Calls a policy (or a critic, or a network's body) on left-padded `tokens` [N, L] with `mask` bool [N, L].

    A transformers model with positions is told them: by itself it would count the padding.
    """
    if not hasattr(policy, "save_pretrained"):
        return policy(input_ids=tokens, attention_mask=mask)
    options = {"position_ids": places(mask), "use_cache": False}
    known = {name: value for name, value in options.items() if takes(policy, name)}
    return policy(input_ids=tokens, attention_mask=mask.long(), **known)


def takes(policy: nn.Module, argument: str) -> bool:
    """Whether a policy's forward has an argument of this name."""
    return argument in inspect.signature(policy.forward).parameters


def keeps_cache(policy: nn.Module) -> bool:
    """Whether a policy is a transformers causal LM with a key-value cache; recurrent states stay whole."""
    return takes(policy, "past_key_values") and not getattr(policy, "_is_stateful", False)


def vocab_size(policy: nn.Module) -> int:
    """Number of token ids that a policy gives logits for."""
    given: Any = policy
    return int(getattr(policy, "vocab_size", None) or given.config.vocab_size)


def context(policy: nn.Module) -> int | None:
    """Most tokens that a policy can read at once, None where there is no limit."""
    if hasattr(policy, "context"):
        return policy.context  # type: ignore[return-value]
    return getattr(getattr(policy, "config", None), "max_position_embeddings", None)


def device_of(policy: nn.Module) -> torch.device:
    """Where a policy's parameters are."""
    return next(policy.parameters()).device


def check_fits(policy: nn.Module, vocab: Any, prompt_tokens: int, horizon: int) -> None:
    """Raises ValueError where a task's tokens do not fit the policy's vocabulary or context."""
    known = vocab_size(policy)
    if vocab.size > known or (getattr(policy, "exact_vocab", False) and vocab.size != known):
        raise ValueError(f"policy must know the task's vocabulary of {vocab.size} tokens, its own has {known}")
    limit = context(policy)
    if limit is not None and prompt_tokens + horizon > limit:
        raise ValueError(
            f"prompts must fit the policy's context: {prompt_tokens} prompt tokens and a horizon of {horizon} "
            f"need {prompt_tokens + horizon}, the context is {limit}"
        )
