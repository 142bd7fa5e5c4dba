"""What is known of a policy's wrong answers: how much of them its training has put there, and how spread they are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from toykit.exact import entropy


@dataclass(frozen=True)
class WrongAnswers:
    """Each [...], exact.

    overconfident  the mass of wrong completions that the policy prefers to its reference (c = log pi - log ref > 0)
    severity       the mean of c over them, nats, 0 where there is none
    entropy        of the law of the wrong completions alone, nats, 0 where there is none
    """

    overconfident: Tensor
    severity: Tensor
    entropy: Tensor


def wrong_answers(log_pi: Tensor, log_ref: Tensor, correct: Tensor) -> WrongAnswers:
    """Figures of wrong completions under log-probabilities `log_pi` and `log_ref` [..., L]; `correct` is bool [..., L].

    Source: ACE (arXiv 2602.21420), derived.
    """
    c = log_pi - log_ref
    mass = torch.where(correct | ~(c > 0), 0.0, log_pi.exp())
    over = mass.sum(-1)
    mean = (mass * torch.where(mass > 0, c, 0.0)).sum(-1) / torch.where(over > 0, over, 1.0)
    some = (~correct & (log_pi > -torch.inf)).any(-1)
    alone = torch.where(some[..., None], log_pi.masked_fill(correct, -torch.inf), 0.0).log_softmax(-1)
    return WrongAnswers(over, mean, torch.where(some, entropy(alone), 0.0))
