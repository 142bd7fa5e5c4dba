"""Perplexity of completions under any model: how surprising one model's answers are to another."""

from __future__ import annotations

import torch
from torch import Tensor

from toykit._checks import one_of

PER = ("prompt", "completion")


def completion_perplexity(logp: Tensor, mask: Tensor) -> Tensor:
    """exp(-(1/T) sum of log m) [...] of each completion over its own T tokens.

    `logp` [..., T] are the model's log-probabilities of the completion's tokens (see
    `toykit.rollouts.token_logps`), `mask` bool [..., T]; infinite where the model gives a token no chance, 1 for a
    completion without tokens.
    """
    return torch.where(mask, -logp, 0.0).sum(-1).div(mask.sum(-1).clamp(min=1)).exp()


def perplexity(logp: Tensor, mask: Tensor, weights: Tensor | None = None, per: str = "prompt") -> Tensor:
    """The perplexity [...] under a model of the completions that another model makes of each prompt.

    `logp` and `mask` are [..., G, T]; `weights` [..., G] make the mean over completions: 1/G where None, the other
    model's own probabilities for an enumeration (a completion of weight 0 does not count). per="prompt" is exp of
    the mean nats a token, the geometric mean of the completions' perplexities; per="completion" their arithmetic
    mean, which is never smaller. Raises ValueError for another `per`. Source: arXiv 2504.13837.
    """
    one_of("per", per, PER)
    own = completion_perplexity(logp, mask)
    share = torch.full_like(own, 1 / own.shape[-1]) if weights is None else weights
    counted = torch.where(share > 0, own, 1.0)
    if per == "completion":
        return (share * counted).sum(-1)
    return (share * counted.log()).sum(-1).exp()
