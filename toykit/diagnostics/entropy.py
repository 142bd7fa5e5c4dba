"""Entropies of tokens, of whole completions and of answers, exact and from samples, in nats."""

from __future__ import annotations

import torch
from torch import Tensor

from toykit.exact import entropy


def token_entropy(logits: Tensor, mask: Tensor) -> Tensor:
    """Entropy of the next-token law at each position [..., T], 0 where masked.

    `logits` is [..., T, V] (an entry may be -inf), `mask` bool [..., T].
    """
    log_p = torch.where(mask[..., None], logits, 0.0).log_softmax(-1)
    return torch.where(mask, -(log_p.exp() * log_p.clamp(min=torch.finfo(log_p.dtype).min)).sum(-1), 0.0)


def mean_token_entropy(logits: Tensor, mask: Tensor) -> Tensor:
    """Mean of `token_entropy` over each completion's own tokens, [...].

    Average this over completions: pooling all tokens would let the long completions dominate.
    """
    return token_entropy(logits, mask).sum(-1) / mask.sum(-1).clamp(min=1)


def sequence_entropy(logp: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """Entropy of the law of whole completions, -E log pi(y) [...], from token log-probabilities of draws from it.

    `logp` and `mask` are [..., G, T]; `weights` [..., G] make the mean (1/G where None; the probabilities of an
    enumeration give the exact entropy).
    """
    return -_mean(torch.where(mask, logp, 0.0).sum(-1), weights)


def chained_entropy(token_entropies: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """The same entropy by the chain rule, E sum_t H(. | prefix) [...]: fewer samples for the same error.

    `token_entropies` [..., G, T] are those of the law that the completions were drawn from; `mask` and `weights`
    as for `sequence_entropy`.
    """
    return _mean(torch.where(mask, token_entropies, 0.0).sum(-1), weights)


def answer_log_probs(log_p: Tensor, answers: Tensor, n_answers: int) -> Tensor:
    """Log-probabilities [..., A] of the answers 0..n_answers-1.

    `log_p` [..., L] are completions' log-probabilities, `answers` int64 [..., L] what each one answers.
    Raises ValueError for an answer outside that range.
    """
    if bool(((answers < 0) | (answers >= n_answers)).any()):
        raise ValueError(f"answers must be from 0 to {n_answers - 1}, got {answers.min()} to {answers.max()}")
    log_p, answers = torch.broadcast_tensors(log_p, answers)
    mass = log_p.new_zeros(*log_p.shape[:-1], n_answers)
    return mass.scatter_add(-1, answers, log_p.exp()).log()


def answer_entropy(log_p: Tensor, answers: Tensor) -> Tensor:
    """Entropy of the law of the answer [...], with all completions of one answer added up.

    `log_p` [..., L] sums to 1, `answers` int64 [..., L] is any label of each completion's answer.
    """
    labels, number = answers.unique(return_inverse=True)
    return entropy(answer_log_probs(log_p, number, labels.shape[0]))


def sampled_answer_entropy(answers: Tensor) -> Tensor:
    """Entropy of the answers' frequencies among samples [...], biased low by about (answers - 1) / (2 n).

    `answers` int64 [..., n] is any label; give those that could not be read one label of their own.
    Source: The Invisible Leash (arXiv 2507.14843), section 3.
    """
    n = answers.shape[-1]
    return answer_entropy(torch.full(answers.shape, 1 / n, dtype=torch.float64, device=answers.device).log(), answers)


def _mean(values: Tensor, weights: Tensor | None) -> Tensor:
    return values.mean(-1) if weights is None else (weights * values).sum(-1)
