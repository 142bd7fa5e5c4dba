"""Token and answer entropy: four prompts whose answer may come at once, or after four tokens that nobody rewards."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from toykit.exact import ascend, entropy
from toykit.lessons.base import Results

PROMPTS = 4  # the right answer is the prompt's number
STYLE = 4  # tokens of reasoning, each one of four with equal chances
SHORT, LONG = 2, 2 + STYLE
DIRECT, GUESS, KNOWN = 0.9, (0.34, 0.26, 0.22, 0.18), 0.55
LR, STEPS = 2.0, 400


def start() -> Tensor:
    """Logits [2 + 4 + 16]: of answering at once or reasoning, of an answer at once (both shared), and of each prompt's
    answer after reasoning."""
    known = torch.full((PROMPTS, 4), (1 - KNOWN) / 3, dtype=torch.float64).fill_diagonal_(KNOWN)
    shared = torch.tensor((DIRECT, 1 - DIRECT, *GUESS), dtype=torch.float64)
    return torch.cat([shared, known.flatten()]).log()


def parts(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities [..., 2] of the first token, [..., 4] of an answer at once, [..., 4, 4] of one after it."""
    first, guess, known = logits.split((2, 4, 16), -1)
    return first.log_softmax(-1), guess.log_softmax(-1), known.unflatten(-1, (PROMPTS, 4)).log_softmax(-1)


def answers(logits: Tensor) -> Tensor:
    """Log-probabilities [..., 4, 4] of each prompt's answers, all paths to an answer added up."""
    first, guess, known = parts(logits)
    at_once = first[..., :1, None] + guess[..., None, :]
    return torch.logaddexp(at_once.expand(known.shape), first[..., 1:, None] + known)


def success(logits: Tensor) -> Tensor:
    """Success rates [..., 4]."""
    return answers(logits).diagonal(dim1=-2, dim2=-1).exp()


def gradient(logits: Tensor) -> Tensor:
    """Of the mean success, with each prompt's own logits times 4: the gradient of that prompt's own success."""
    with torch.enable_grad():
        theta = logits.clone().requires_grad_()
        found = torch.autograd.grad(success(theta).mean(), theta)[0]
    found[6:] *= PROMPTS
    return found


def token_entropy(logits: Tensor) -> Tensor:
    """Mean over prompts of the expected mean over a sample's own tokens of their laws' entropies [...], nats."""
    first, guess, known = parts(logits)
    at_first, at_guess, at_known = entropy(first)[..., None], entropy(guess)[..., None], entropy(known)
    p = first.exp()
    short = (at_first + at_guess) / SHORT
    long = (at_first + STYLE * math.log(4) + at_known) / LONG
    return (p[..., :1] * short + p[..., 1:] * long).mean(-1)


def run() -> Results:
    """C6: success, both entropies, P(reason) and the mean length at every step of exact ascent."""
    path = ascend(gradient, start(), LR, range(STEPS + 1))
    reason = parts(path)[0][:, 1].exp()
    figures = {
        "success": success(path).mean(-1),
        "answer entropy": entropy(answers(path)).mean(-1),
        "token entropy": token_entropy(path),
        "reason": reason,
        "length": SHORT + (LONG - SHORT) * reason,
    }
    return {name: values.tolist() for name, values in figures.items()}
